"""The state of the house: what it says is so, an examination, and the tail of the journal as it is written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from loom.explorer.pages.house import WORDS
from loom.journal.entry import KINDS
from tests.explorer.conftest import Tab
from tests.explorer.support import DiscountAgent, RequestDiscount, asked, house
from tests.explorer.test_timeline import Clerk, stuck
from tests.importing import import_all
from tests.sqlite_files import connected


def number_of(tab: Tab, position: int) -> Any:
    """Find the line of an entry by its number, which may be a part of a time as well."""
    return tab.page.locator("#entries .number").get_by_text(f"{position}", exact=True)


async def test_the_tail_follows_the_journal_until_it_is_paused(tmp_path: Path, chromium: Any, shots: Path) -> None:
    async with house(tmp_path) as place:
        loom = place.loom()
        tab = await Tab.made(chromium, shots)
        await tab.sign_in(place.url, place.keys["one", "operator"])
        await tab.open(f"{place.url}/house")
        lines = tab.page.locator("#entries li")
        await tab.page.get_by_text("as they are written").wait_for()
        await loom.actor(DiscountAgent, "acme").ask(RequestDiscount(percent=5), by="robin")
        last = loom.store.acknowledged
        await number_of(tab, last).wait_for()
        assert await lines.first.locator(".what").inner_text() == "an agent replied"
        shown = [int(each) for each in await tab.page.locator("#entries .number").all_inner_texts()]
        hidden = [each.position async for each in loom.store.read("web/keys")]
        assert shown == sorted(set(range(min(shown), last + 1)) - set(hidden), reverse=True), "none is missed or twice"
        await tab.page.get_by_role("button", name="Pause").click()
        while place.app.state.api.live.streams.open:
            await asyncio.sleep(0.01)
        await loom.actor(DiscountAgent, "acme").ask(RequestDiscount(percent=6), by="robin")
        assert await lines.count() == len(shown)
        await tab.page.get_by_role("button", name="Follow").click()
        await number_of(tab, loom.store.acknowledged).wait_for()
        shown_now = await tab.page.locator("#entries .number").all_inner_texts()
        assert len(set(shown_now)) == len(shown_now)
        await tab.shot("house")
        assert tab.said == []


async def test_an_examination_finds_what_was_changed_and_the_signs_say_what_is_wrong(
    tmp_path: Path, chromium: Any, shots: Path
) -> None:
    await stuck(tmp_path)
    async with house(tmp_path, actors=(DiscountAgent, Clerk)) as place:
        loom = place.loom()
        while not loom.actors.stuck("clerk/c", "t-stuck"):
            await asyncio.sleep(0.01)
        wide = await Tab.made(chromium, shots, width=1280, scheme="dark")
        await wide.sign_in(place.url, place.keys["one", "operator"])
        await wide.open(f"{place.url}/house")
        await wide.page.get_by_text("stuck: clerk/c").wait_for()
        await wide.page.get_by_role("button", name="Examine now").click()
        examinations = place.app.state.api.examinations
        while (last := examinations.last("one")) is None or last.ended_at is None:
            await asyncio.sleep(0.01)
        assert last.verification is not None
        assert last.verification.ok
        await wide.page.reload()
        await wide.page.get_by_text("the chain is whole").wait_for()
        await wide.page.get_by_text("What else was looked at").click()
        await wide.shot("house")
        assert await wide.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        journal = loom.files.journal
        with connected(journal) as connection:
            for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f'DROP TRIGGER "{trigger}"')
            connection.execute("UPDATE entries SET body = X'7B7D' WHERE position = 3")
        await wide.page.get_by_role("button", name="Examine now").click()
        while (last := examinations.last("one")) is None or last.ended_at is None:
            await asyncio.sleep(0.01)
        await wide.page.reload()
        await wide.page.get_by_text("something is wrong").wait_for()


async def test_a_stream_ends_with_its_session_and_a_reader_examines_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, heartbeat_s=0.05) as place:
        waiting = await asked(place.loom())
        browser = await place.signed_in("reader")
        page = await browser.open("/house")
        assert "Examine now" not in page.text
        refused = await browser.send("/house/examine", token=page.token, on="/house")
        assert place.app.state.api.examinations.last("one") is None, refused
        shown = json.loads((await browser.open("/house.json")).text)["entries"]
        assert {"an agent was asked for something", "a person was asked"} <= {each["text"] for each in shown}
        assert "web/keys" not in {each["journal"] for each in shown}
        streaming = asyncio.create_task(browser.open("/house/entries?after=0", Accept="text/event-stream"))
        while not place.app.state.api.live.streams.open:
            await asyncio.sleep(0.01)
        await browser.send("/sign-out", token=page.token, on="/house")
        assert (await streaming).status == 200, "it has ended: it would go on for ten minutes"
        waiting.cancel()
        await asyncio.wait([waiting])


def test_the_words_are_of_kinds_that_exist() -> None:
    import_all("loom")
    assert set(WORDS) <= set(KINDS)
