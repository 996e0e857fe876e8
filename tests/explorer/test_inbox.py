"""The inbox, as an approver uses it, on a phone: read what is asked, and grant, deny or ask first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from loom import Actor
from tests.explorer.conftest import Tab
from tests.explorer.support import DISCOUNT, RequestDiscount, asked, house


async def decided(place: Any, count: int = 4) -> None:
    """Have some decisions in the same situation, one of them with a person's consent."""
    for number in range(count):
        turn = await asked(place.loom(), f"customer-{number}", percent=11 + number)
        [waiting] = await place.loom().approvals.pending()
        if number % 2:
            await place.loom().approvals.deny(
                waiting.approval_id, by="vera", comment="they had one last month", distinguished="it was too soon"
            )
        else:
            await place.loom().approvals.grant(waiting.approval_id, by="vera", comment="a good customer")
        await turn


async def test_an_approver_who_knows_nothing_of_loom_grants_on_a_phone(tmp_path: Path, tab: Tab) -> None:
    async with house(tmp_path) as place:
        await decided(place)
        turn = await asked(place.loom(), percent=15)
        page = await tab.open(f"{place.url}/inbox")
        assert page.url.endswith("/sign-in?next=%2Finbox"), "a link opens the page, once one is signed in"
        await tab.shot("sign-in")
        await page.get_by_label("Your key").fill(place.keys["one", "approver"])
        await page.get_by_role("button", name="Sign in").click()
        assert page.url == f"{place.url}/inbox"
        await tab.shot("inbox")
        await page.get_by_role("link", name="15 % discount: they had service outages twice").click()
        for words in (
            "asks vp_sales for consent",
            "industry",
            "healthcare",
            "The discount is over the limit, so a person decides.",
            "percent was 15, the rule asks for at most 10",
            "The latest 3, alike",
            "What happens then",
        ):
            assert await page.get_by_text(words).first.is_visible(), words
        await tab.shot("request")
        await page.get_by_role("button", name="Grant", exact=True).click()
        await page.get_by_text("Granted: 15 % discount").wait_for()
        await tab.shot("inbox-empty")
        assert await page.get_by_text("Nothing waits for an answer").is_visible()
        assert await turn
        [answered] = await place.loom().approvals.list(limit=1)
        assert answered.answered_by == "approver"
        assert (answered.answered_identity_source or "").startswith("api_key:")
        assert (answered.answered_via or "").startswith("session:")
        assert answered.rendering == "explorer/request/1"
        [decision] = await place.loom().traces.find(limit=1)
        await tab.open(f"{place.url}/decisions/{decision.decision_id}")
        for words in ("Why?", "On which facts?", "Under which rule?", "Who agreed?", "Is this the record?"):
            assert await page.get_by_role("heading", name=words).is_visible()
        assert await page.get_by_text("percent was 15, as the rule asks: at most 40").is_visible()
        await tab.shot("decision")
        assert not tab.said


async def test_a_denial_needs_words_and_what_was_typed_stays(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        browser = await place.signed_in()
        [waiting] = await place.loom().approvals.pending()
        where = f"/inbox/{waiting.approval_id}"
        answer = await browser.answer(waiting.approval_id, "deny", comment="  ", distinguished="it is not")
        assert (answer.status, answer.header("location")) == (303, where)
        again = await browser.open(where)
        assert "A denial needs a reason" in again.text
        assert ">it is not</textarea>" in again.text
        await browser.answer(waiting.approval_id, "deny", comment="too much")
        assert not await turn
        assert "Denied: 15 % discount" in (await browser.open("/inbox")).text
        assert '"requests":[]' in (await browser.open("/inbox.json")).text


async def test_a_request_is_sent_back_with_a_question_and_its_answer_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        admin, operator = await place.signed_in("admin"), await place.signed_in("operator")
        approver = await place.signed_in()
        [waiting] = await place.loom().approvals.pending()
        where = f"/inbox/{waiting.approval_id}"
        await admin.answer(waiting.approval_id, "ask", comment="How long are they with us?")
        assert "sent back with a question" in (await approver.open("/inbox")).text
        assert "How long are they with us?" in (await operator.open(where)).text
        await operator.send(f"{where}/inform", on=where, information="For nine years.")
        assert "For nine years." in (await approver.open(where)).text
        await approver.answer(waiting.approval_id, "grant")
        assert await turn
        listed = (await approver.open("/decisions.json")).text
        assert '"approver"' in listed
        assert '"admin"' not in listed, "who asks a question decides nothing"
        assert "views_differ" not in caplog.text


async def test_an_answer_to_a_page_that_has_changed_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        first, other = await place.signed_in(), await place.signed_in("admin")
        [waiting] = await place.loom().approvals.pending()
        where = f"/inbox/{waiting.approval_id}"
        old = await first.open(where)
        forged = old.field("seen").replace(old.field("seen")[-1], "0" if old.field("seen")[-1] != "0" else "1")
        await first.send(f"{where}/grant", token=old.token, on=where, seen=forged)
        assert "out of date" in (await first.open(where)).text
        await other.answer(waiting.approval_id, "ask", comment="Since when?")
        await other.send(f"{where}/inform", on=where, information="Since yesterday.")
        await first.send(f"{where}/grant", token=old.token, on=where, seen=old.field("seen"))
        assert "has changed since it was shown" in (await first.open(where)).text
        assert (await place.loom().approvals.get(waiting.approval_id)).pending
        await first.answer(waiting.approval_id, "grant")
        assert await turn


async def test_nothing_is_granted_to_oneself_and_a_second_answer_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom(), by="approver")
        browser, other = await place.signed_in(), await place.signed_in("admin")
        [waiting] = await place.loom().approvals.pending()
        where = f"/inbox/{waiting.approval_id}"
        await browser.answer(waiting.approval_id, "grant")
        assert "expected a person other than" in (await browser.open(where)).text
        page = await other.open(where)
        for _ in range(2):
            await other.send(f"{where}/grant", token=page.token, on=where, seen=page.field("seen"))
        assert await turn
        assert "expected one that is pending" in (await other.open(where)).text
        assert "Granted by admin" in (await other.open(where)).text


async def test_the_page_says_who_can_answer_and_refuses_others(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        people = place.loom().people
        for name in ("robin", "approver", "ben"):
            await people.add(name, by="mira")
            await people.give(name, "vp_sales", by="mira")
        await people.recognise("approver", f"api_key:{place.keys['one', 'approver'].split('_')[1]}", by="mira")
        turn = await asked(place.loom())
        [waiting] = await place.loom().approvals.pending()
        approver, admin = await place.signed_in(), await place.signed_in("admin")
        where = f"/inbox/{waiting.approval_id}"
        assert "It can be answered by approver, ben." in (await admin.open(where)).text
        await admin.answer(waiting.approval_id, "grant")
        assert "expected" in (await admin.open(where)).text
        assert (await place.loom().approvals.get(waiting.approval_id)).pending
        await approver.answer(waiting.approval_id, "grant")
        assert await turn


class Percent(BaseModel):
    percent: int = Field(ge=1, le=30, description="The discount, in percent")


class AdjustingAgent(Actor[None]):
    policy = DISCOUNT

    async def execute(self, command: RequestDiscount) -> bool:
        given = {"percent": command.percent, "industry": command.industry}
        self.evaluate(given)
        answer = await self.request_approval(
            approver="vp_sales", reason="a discount", action="discount", arguments=given, adjustable=Percent
        )
        granted = {**given, **answer.changes}
        await self.perform(action="discount", effect=lambda key: key, key="d", arguments=granted, under=answer)
        await self.record_decision(rationale="as answered", outcome=granted)
        return answer.granted


async def test_a_request_is_granted_with_other_values_within_its_bounds(tmp_path: Path, tab: Tab) -> None:
    async with house(tmp_path, actors=[AdjustingAgent]) as place:
        turn = asyncio.create_task(
            place.loom().actor(AdjustingAgent, "acme").ask(RequestDiscount(percent=20), by="kim")
        )
        while not (waiting := await place.loom().approvals.pending()):
            await asyncio.sleep(0.005)
        await tab.sign_in(place.url, place.keys["one", "approver"])
        page = await tab.open(f"{place.url}/inbox/{waiting[0].approval_id}")
        await page.get_by_text("Grant it with other values").click()
        for typed, refused in (
            ("31", "expected [integer"),
            ("ten", "expected [integer"),
            ("20", "Nothing was changed"),
        ):
            await page.get_by_label("The discount, in percent").fill(typed)
            await page.get_by_role("button", name="Grant with these values").click()
            await page.get_by_text(refused).wait_for()
            assert await page.get_by_label("The discount, in percent").input_value() == typed
        await tab.shot("request-changed")
        await page.get_by_label("The discount, in percent").fill("12")
        await page.get_by_role("button", name="Grant with these values").click()
        await page.get_by_text("Granted with changes: a discount").wait_for()
        assert await turn
        [decision] = await place.loom().traces.find(limit=1)
        assert decision.outcome["percent"] == 12
        assert not tab.said


@pytest.mark.reliability
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
async def test_pages_of_an_approver_look_right_at_every_width(
    tmp_path: Path, chromium: Any, shots: Path, width: int, scheme: str
) -> None:
    async with house(tmp_path) as place:
        await decided(place)
        turn = await asked(place.loom())
        tab = await Tab.made(chromium, shots, width=width, scheme=scheme)
        await tab.sign_in(place.url, place.keys["one", "approver"])
        [waiting] = await place.loom().approvals.pending()
        [decision] = await place.loom().traces.find(limit=1)
        for name, where in (
            ("inbox", "/inbox"),
            ("request", f"/inbox/{waiting.approval_id}"),
            ("decision", f"/decisions/{decision.decision_id}"),
        ):
            page = await tab.open(place.url + where)
            sides = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert sides[0] <= sides[1], f"{name} does not scroll sideways"
            await tab.shot(name)
        assert not tab.said
        await place.loom().approvals.deny(waiting.approval_id, by="vera", comment="no", distinguished="a test")
        await turn
