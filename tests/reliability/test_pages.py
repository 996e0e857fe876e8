"""R33: texts that try to become elements or to run, each in every field, on every page, in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loom.explorer import rendering
from loom.reports import report
from tests.explorer.conftest import CHROMIUM, Tab
from tests.explorer.hostile import SKELETON, TEXTS, injected, looked_at
from tests.explorer.test_hostile_texts import filled, two_worlds
from tests.reliability.board import Tally, row

EACH = 3
DECISIONS = -(-len(TEXTS) // EACH)
AT_ONCE = 21
"""So many decisions with texts of their own are in one world, one with the texts of the first, and one that waits.

Every field has had all texts after the last world.
"""


@pytest.mark.seconds(400)
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
@row("R33")
async def test_no_text_becomes_an_element_or_runs(
    tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for number in range(0, DECISIONS, AT_ONCE):
            tab, start = await Tab.made(browser, tmp_path), number * EACH
            async with two_worlds(tmp_path / str(number), start=start, reasons=AT_ONCE * EACH) as place:
                await filled(place, decisions=AT_ONCE + 2, each=EACH, start=start, exact=True)
                await tab.sign_in(place.url, place.keys["hostile", "admin"])
                plain = await place.signed_in("admin", workspace="plain")
                pages, found = await looked_at(tab.page, place, plain, decisions=AT_ONCE + 2)
                blank = await tab.page.context.new_page()  # reports have a style sheet of their own, which pages refuse
                theirs = await blank.evaluate(SKELETON, await report(place.loom("hostile").queries, "all"))
                ours = await blank.evaluate(SKELETON, await report(place.loom("plain").queries, "all"))
                found += [f"report: {name}" for name in injected(theirs, ours)] + tab.said
            tally.tried(AT_ONCE * EACH)
            tally.heard["pages"] += pages + 1
            for each in found:
                tally.fail(each)
            await tab.page.context.close()
            shutil.rmtree(tmp_path / str(number))
        tab = await Tab.made(browser, tmp_path)
        async with two_worlds(tmp_path / "control") as place:
            await filled(place, decisions=3, each=EACH)
            careless = rendering.templates().overlay(autoescape=False)
            careless.cache = None
            monkeypatch.setattr(rendering, "templates", lambda: careless)
            await tab.sign_in(place.url, place.keys["hostile", "admin"])
            plain = await place.signed_in("admin", workspace="plain")
            pages, found = await looked_at(tab.page, place, plain, decisions=3)
            broken = {each.partition(": ")[0] for each in found}
            tally.control(trials=1, found=int(len(broken) > pages // 2))
        await browser.close()
