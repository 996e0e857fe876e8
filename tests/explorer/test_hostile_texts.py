"""No text of anyone becomes an element or runs, on any page: 500 of them, in a real browser."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from loom.explorer import rendering
from loom.reports import report
from loom.web.keys import keys_of
from tests.explorer.conftest import Tab
from tests.explorer.hostile import PLAIN, SKELETON, TEXTS, Source, clerk_of, fill, injected, looked_at
from tests.explorer.support import Place, asked, house

DECISIONS = 6


def two_worlds(path: Path, *, start: int = 0, reasons: int = 60) -> Any:
    """Serve the hostile world and the plain one, each with a clerk whose policy has texts as its reasons."""
    end = start + reasons
    clerks = {"hostile": [clerk_of((TEXTS * 2)[start:end])], "plain": [clerk_of((PLAIN * 2)[start:end])]}
    return house(path, workspaces=("hostile", "plain"), actors=clerks)


async def filled(place: Place, *, decisions: int, each: int, start: int = 0, exact: bool = False) -> None:
    for name, texts in (("hostile", TEXTS), ("plain", PLAIN)):
        source = Source(texts, start=start, each=each, exact=exact)
        await fill(place.loom(name), place.actors[name][0], source, decisions=decisions)


def test_the_corpus_is_what_it_claims_to_be() -> None:
    assert len(set(TEXTS)) == len(TEXTS) == 500
    assert sum("pwned" in each for each in TEXTS) > 300


async def test_nothing_is_injected_into_any_page_and_nothing_runs(tmp_path: Path, tab: Tab) -> None:
    async with two_worlds(tmp_path) as place:
        await filled(place, decisions=DECISIONS, each=4)
        await tab.sign_in(place.url, place.keys["hostile", "admin"])
        browser = await place.signed_in("admin", workspace="plain")
        pages, found = await looked_at(tab.page, place, browser, decisions=DECISIONS)
        assert pages >= 2 * DECISIONS
        assert not found
        assert not tab.said, "a browser says what a policy kept from running, or was asked for elsewhere"
        await tab.shot("hostile-request")
        theirs = await tab.page.evaluate(SKELETON, await report(place.loom("hostile").queries, "all"))
        ours = await tab.page.evaluate(SKELETON, await report(place.loom("plain").queries, "all"))
        assert not injected(theirs, ours)


async def test_nothing_that_a_browser_sends_is_injected_into_the_answer(tmp_path: Path, tab: Tab) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        [waiting] = await place.loom().approvals.pending()
        where = f"/inbox/{waiting.approval_id}"
        hostile, plain = (" ".join(texts)[:9_000] for texts in (TEXTS, PLAIN))

        async def seen(text: str, name: str) -> list[list[str]]:
            """Return the elements of pages that repeat what was sent, by a person of that name."""
            key = await keys_of(place.loom()).issue(name, "approver", by="mira")
            browser = place.browser()
            await browser.sign_in(key)
            short = quote(text[:1_500])
            for path in (f"/inbox?{short}=1", f"/inbox/{short}", f"/inbox?after={short}", f"/{short}"):
                assert (await browser.open(path)).status in (404, 422), path
            answers = [await browser.open(f"/inbox?{short}=1"), await browser.open(f"/inbox?after={short}")]
            await browser.answer(waiting.approval_id, "deny", comment=" ", distinguished=text)
            answers.append(await browser.open(where))
            assert text[:20] in html.unescape(answers[-1].text)
            answers.append(await place.browser().open(f"/sign-in?next=/{short}"))
            answers.append(await place.browser().sign_in(text[:300], wanted=f"/{text[:300]}"))
            return [await tab.page.evaluate(SKELETON, each.text) for each in answers]

        name = next(each for each in TEXTS if "<script>" in each and each.isprintable())
        for theirs, ours in zip(await seen(hostile, name), await seen(plain, "vera"), strict=True):
            assert len(ours) > 10
            assert not injected(theirs, ours)
        await place.loom().approvals.deny(waiting.approval_id, by="vera", comment="no")
        await turn


async def test_a_template_that_does_not_escape_is_found(
    tmp_path: Path, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_worlds(tmp_path) as place:
        await filled(place, decisions=3, each=4)
        careless = rendering.templates().overlay(autoescape=False)
        careless.cache = None
        monkeypatch.setattr(rendering, "templates", lambda: careless)
        await tab.sign_in(place.url, place.keys["hostile", "admin"])
        browser = await place.signed_in("admin", workspace="plain")
        _, found = await looked_at(tab.page, place, browser, decisions=3)
        assert len(found) > 20
        assert tab.said
