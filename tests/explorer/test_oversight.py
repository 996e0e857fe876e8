"""Oversight, second looks, agents, costs, drift and like cases, as people use them in a browser."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loom.routing import Router
from loom.routing import extension as routing
from tests.explorer.conftest import Tab
from tests.explorer.support import asked, house
from tests.explorer.test_inbox import decided

EVERY = ((390, "light"), (390, "dark"), (820, "dark"), (1280, "light"), (1280, "dark"))
SCREENS = EVERY if os.environ.get("LOOM_ALL_WIDTHS") else ((390, "light"), (1280, "dark"))


async def answered_quickly(place: Any, count: int) -> None:
    """Have a person grant requests one right after the other."""
    turns = [await asked(place.loom(), f"quick-{number}", percent=12) for number in range(count)]
    for waiting in await place.loom().approvals.pending(limit=count):
        await place.loom().approvals.grant(waiting.approval_id, by="sam", distinguished="so it is")
    for turn in turns:
        await turn


async def test_who_grants_within_seconds_stands_out_and_a_second_look_shows_no_outcome(
    tmp_path: Path, tab: Tab
) -> None:
    async with house(tmp_path) as place:
        await decided(place)
        await answered_quickly(place, 12)
        await tab.sign_in(place.url, place.keys["one", "admin"])
        page = await tab.open(f"{place.url}/oversight")
        first = page.locator("li.card").first
        assert await first.get_by_text("sam", exact=True).is_visible()
        assert await first.get_by_text("grants too quickly").is_visible()
        await tab.shot("oversight")
        await page.get_by_label("Draw this share of all answers").fill("100")
        await page.get_by_role("button", name="Draw cases").click()
        await page.get_by_text("16 cases drawn, of 16 answers").wait_for()
        await tab.shot("oversight-drawn")
        await page.locator("#looks li a").first.click()
        await page.get_by_role("heading", name="How would you answer?").wait_for()
        shown = await page.locator("main").inner_text()
        for outcome in ("vera", "granted", "a good customer", "denied"):
            assert outcome not in shown
        await tab.shot("second-look")
        await page.get_by_label("Your words").fill("far too much")
        await page.get_by_role("button", name="I would deny it").click()
        await page.get_by_text("Thank you. Your answer differs from the first one").wait_for()
        assert await page.get_by_text("0 of 1 second answers agree").is_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not tab.said
        found = json.loads((await (await place.signed_in("reader")).open("/oversight.json")).text)
        assert [each["name"] for each in found["people"] if each["stands_out"]] == ["sam"]


async def test_an_agent_is_suspended_with_two_clicks_and_a_reason_and_another_person_reinstates_it(
    tmp_path: Path, tab: Tab
) -> None:
    async with house(tmp_path) as place:
        await tab.sign_in(place.url, place.keys["one", "admin"])
        page = await tab.open(f"{place.url}/agents")
        await tab.shot("agents-none")
        await page.get_by_text("Suspend another agent…").click()
        await page.get_by_label("Its name").fill("pricing-agent")
        await page.get_by_label("Why?").fill("it discounts too much")
        await page.get_by_role("button", name="Suspend it").click()
        await page.get_by_text("pricing-agent is suspended").wait_for()
        assert place.loom().standings.of("pricing-agent").standing == "SUSPENDED"
        await page.get_by_text("Reinstate…").click()
        await tab.shot("agents-suspended")
        await page.get_by_label("Why may it act again?").fill("the limit is lower now")
        await page.get_by_role("button", name="Reinstate pricing-agent").click()
        await page.get_by_text("pricing-agent may act again").wait_for()
        standing = place.loom().standings.of("pricing-agent")
        assert (standing.standing, standing.by, standing.reason) == ("ACTIVE", "admin", "the limit is lower now")
        assert not tab.said
        reader = await place.signed_in("reader")
        await reader.send("/agents/suspend", on="/agents", name="a", reason="b")
        assert "may not operate here" in (await reader.open("/agents")).text
        assert place.loom().standings.of("a").standing == "ACTIVE"
        await (await place.signed_in("admin")).send("/agents/suspend", on="/agents", name="a", reason=" ")
        assert place.loom().standings.of("a").standing == "ACTIVE"


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
async def test_like_cases_costs_drift_and_oversight_fit_every_screen(
    tmp_path: Path, chromium: Any, shots: Path, width: int, scheme: str
) -> None:
    async with house(tmp_path) as place:
        await decided(place)
        await answered_quickly(place, 3)
        await place.loom().standings.suspend("pricing-agent", by="vera", reason="it discounts too much")
        await place.loom().oversight.sample(1.0, by="vera")
        tab = await Tab.made(chromium, shots, width=width, scheme=scheme)
        await tab.sign_in(place.url, place.keys["one", "admin"])
        day = place.loom().now().date()
        for name, path, words in (
            ("classes", "/classes?explain=true", "1 kind of cases was decided in more than one way"),
            ("costs", "/costs?by=day&days=7", "No language model was called"),
            ("drift", f"/drift?since=2020-01-01&middle={day}&until=", "Too few decisions to tell"),
            ("oversight-all", "/oversight", "Second looks"),
            ("agents", "/agents", "it discounts too much"),
        ):
            page = await tab.open(place.url + path)
            assert await page.get_by_text(words).first.is_visible(), words
            await tab.shot(name)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert not tab.said


async def test_contradictions_come_before_larger_classes_and_say_how_each_was_decided(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await decided(place)
        for number in range(6):
            turn = await asked(place.loom(), f"shop-{number}", percent=15, industry="retail")
            [waiting] = await place.loom().approvals.pending()
            await place.loom().approvals.grant(waiting.approval_id, by="vera")
            await turn
        found = json.loads((await (await place.signed_in("reader")).open("/classes.json")).text)
        assert next((each["cases"], each["others"]) for each in found["classes"]) == (4, 2)
        assert sum(each["cases"] for each in found["classes"]) == 10
        assert found["contradictory"] == 1


async def test_an_approver_says_which_way_stands_and_a_later_case_opens_it_again(tmp_path: Path, tab: Tab) -> None:
    async with house(tmp_path) as place:
        await decided(place)
        await tab.sign_in(place.url, place.keys["one", "approver"])
        page = await tab.open(f"{place.url}/classes")
        await page.get_by_role("link", name="2 decided otherwise").click()
        [found] = (await place.loom().contradictions.list()).listed
        await page.get_by_role("heading", name=found.words).wait_for()
        await page.get_by_role("radio", name=found.outcomes[0].words).check()
        await page.get_by_label("Why").fill("the board said so in May")
        await tab.shot("contradiction")
        await page.get_by_role("button", name="This stands").click()
        await page.get_by_text("From now on this stands").wait_for()
        assert await page.get_by_text("approver (signed in with a key)").is_visible()
        await tab.shot("contradiction-settled")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not tab.said
        settled = await place.loom().contradictions.get(found.situation)
        assert settled.resolution is not None
        assert (settled.status, settled.resolution.by) == ("resolved", "approver")

        reader = await place.signed_in("reader")
        where = f"/classes/{found.situation}"
        assert "Which way stands?" not in (await reader.open(where)).text
        await reader.send(f"{where}/resolve", on=where, stands=found.outcomes[1].precedent, reason="mine")
        assert (await place.loom().contradictions.get(found.situation)).resolution == settled.resolution
        assert (await reader.open("/classes/nothing")).status == 404

        turn = await asked(place.loom(), "shop-again")
        [waiting] = await place.loom().approvals.pending()
        answer = place.loom().approvals.grant if "yes" in found.outcomes[1].words else place.loom().approvals.deny
        await answer(waiting.approval_id, by="vera", comment="otherwise", distinguished="this one is another case")
        await turn
        assert "so this is open again" in (await reader.open(where)).text


async def test_what_the_forms_of_these_pages_do_not_take_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        admin = await place.signed_in("admin")
        for path in (
            "/costs?days=0",
            "/costs?by=person",
            "/drift?since=tomorrow",
            "/drift?since=2026-02-01&middle=2026-01-01",
            "/classes?explain=maybe",
            "/oversight?more=1",
        ):
            assert (await admin.open(path)).status == 422, path
        assert (await admin.open("/oversight/unknown")).status == 404
        await admin.send("/agents/kill", on="/agents", name="routing", reason="x")
        assert "no extension [routing] with a kill switch runs here" in (await admin.open("/agents")).text


async def test_a_kill_switch_is_engaged_by_one_person_and_let_go_by_another_on_the_page(tmp_path: Path) -> None:
    async with house(tmp_path, extensions=[routing]) as place:
        operator, approver = await place.signed_in("operator"), await place.signed_in("approver")
        assert "not engaged" in (await operator.open("/agents")).text
        await operator.send("/agents/kill", on="/agents", name="routing", reason="odd choices")
        engaged = (await approver.open("/agents")).text
        assert "operator (signed in with a key) engaged it: “odd choices”" in engaged
        await operator.send("/agents/rearm", on="/agents", name="routing", reason="fine")
        assert place.loom().part(Router).switch.engaged, "an operator may not"
        await approver.send("/agents/rearm", on="/agents", name="routing", reason="looked at, fine")
        assert not place.loom().part(Router).switch.engaged
