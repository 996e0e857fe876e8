"""The timeline: what a turn waited for, where it was cut short, and what a person does about one that is stuck."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from loom import Actor, Command, Loom
from tests.explorer.conftest import Tab
from tests.explorer.support import DiscountAgent, asked, house


class Repair(Command[str]):
    way: str = "first"


class Clerk(Actor[None]):
    """Does what its class says it does now: another version of its code does something else."""

    looks: ClassVar[str] = "crm"

    async def execute(self, command: Repair) -> str:
        await self.gather_context(system=type(self).looks, entity="account", query="7", fetcher=lambda: 1)
        if command.way == "breaks":
            raise RuntimeError("no such account")
        await self.request_approval(approver="boss", reason="may I?")
        return command.way


async def stuck(path: Path) -> None:
    """Leave a turn that waits, and whose code is another one when it is resumed."""
    Clerk.looks = "crm"
    async with Loom.open(_config(path), workspace="one", by="mira", actors=[Clerk]) as loom:
        task = asyncio.create_task(loom.actor(Clerk, "c").ask(Repair(), id="t-stuck", by="robin"))
        while not await loom.approvals.pending():
            await asyncio.sleep(0.005)
        task.cancel()
    Clerk.looks = "erp"


def _config(path: Path) -> Any:
    from loom import LoomConfig

    return LoomConfig(data=path)


async def test_a_stuck_turn_is_shown_first_and_given_up_or_copied_by_clicks(
    tmp_path: Path, chromium: Any, shots: Path
) -> None:
    await stuck(tmp_path)
    async with house(tmp_path, actors=(DiscountAgent, Clerk)) as place:
        loom = place.loom()
        while not loom.actors.stuck("clerk/c", "t-stuck"):
            await asyncio.sleep(0.01)
        waiting = await asked(loom, "acme", percent=15)
        await loom.actor(DiscountAgent, "acme").ask(_small(), by="robin")
        tab = await Tab.made(chromium, shots)
        await tab.sign_in(place.url, place.keys["one", "operator"])
        await tab.open(f"{place.url}/timeline")
        await tab.shot("timeline")
        first = tab.page.locator("section").filter(has_text="Look at these first")
        await first.get_by_role("link", name="clerk/c").click()
        await tab.shot("timeline-stuck")
        lane = tab.page.locator("article.lane").first
        assert await lane.locator(".pill").first.inner_text() == "stuck"
        assert await lane.locator("svg rect.wait").count() == 1
        await lane.get_by_role("button", name="Give it up").click()
        assert await lane.locator("form[action$=abandon] input:invalid").count() == 1, "a reason is asked for"
        await lane.locator("form[action$=abandon] input[name=reason]").fill("its code has changed")
        await lane.get_by_role("button", name="Give it up").click()
        await tab.page.get_by_text("It was given up.").wait_for()
        [ended] = await loom.turns.list(journal="clerk/c")
        assert (ended.status, ended.summary.by) == ("abandoned", "robin")
        await tab.open(f"{place.url}/timeline/discount-agent/acme")
        await tab.shot("timeline-actor")
        assert tab.said == []
        wide = await Tab.made(chromium, shots, width=1280, scheme="dark")
        await wide.sign_in(place.url, place.keys["one", "operator"])
        await wide.open(f"{place.url}/timeline/discount-agent/acme")
        await wide.page.get_by_text("Run a copy from a step on").first.click()
        await wide.shot("timeline-actor")
        assert await wide.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_the_lanes_say_what_the_journal_says(tmp_path: Path) -> None:
    await stuck(tmp_path)
    Clerk.looks = "crm"
    async with house(tmp_path, actors=(DiscountAgent, Clerk)) as place:
        loom = place.loom()
        while (pending := await loom.approvals.pending()) == () or not loom.actors.running("clerk/c", "t-stuck"):
            await asyncio.sleep(0.01)
        await loom.approvals.grant(pending[0].approval_id, by="vera")
        await loom.actor(Clerk, "c").ask(Repair(), id="t-stuck", by="robin")
        [lane] = await loom.turns.timeline("clerk/c")
        waits = [each for each in lane.stretches if each.kind == "approval"]
        cuts = [each for each in lane.stretches if each.kind == "cut"]
        assert [each.kind for each in lane.marks] == ["resumed"]
        assert len(waits) == len(cuts) == 1
        assert all(isinstance(each.ended, datetime) and each.began <= each.ended for each in lane.stretches)
        assert [each.text for each in lane.steps] == ["gather_context crm/account/7", "request_approval boss"]
        browser = await place.signed_in("reader")
        page = await browser.open("/timeline/clerk/c")
        assert "What can be done" not in page.text, "a reader does nothing"
        refused = await browser.send("/timeline/clerk/c/retry", on="/timeline/clerk/c", turn="t-stuck", reason="x")
        assert refused.status in (303, 403)
        assert len(await loom.turns.list(journal="clerk/c")) == 1
        shown = (await browser.open("/timeline/clerk/c.json")).text
        assert '"status":"completed"' in shown
        assert (await browser.open("/timeline/nobody/here")).status == 200
        assert (await browser.open("/timeline/..%2F/x")).status in (404, 422)


def _small() -> Any:
    from tests.explorer.support import RequestDiscount

    return RequestDiscount(percent=5)
