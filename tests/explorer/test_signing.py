"""Signing in by an invitation, and how long people stay signed in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loom.explorer.config import ExplorerConfig
from loom.explorer.sessions import Holder, Sessions
from loom.people.invitations import invitation_path
from tests.explorer.conftest import Tab
from tests.explorer.support import asked, house


async def test_an_invited_person_signs_in_by_a_link_and_answers_in_their_name(tmp_path: Path, tab: Tab) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        secret = await place.loom().people.invitations.issue("ana", "approver", by="mira")
        link = place.url + invitation_path(secret)
        preview = await place.browser().open(invitation_path(secret), Sec_Fetch_Site="cross-site")
        assert (preview.status, "You are invited" in preview.text) == (200, True)
        page = await tab.open(link)
        await tab.shot("invited")
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("link", name="15 % discount").click()
        await page.get_by_role("button", name="Grant", exact=True).click()
        await page.get_by_text("Granted: 15 % discount").wait_for()
        assert await turn
        [answered] = await place.loom().approvals.list()
        assert (answered.answered_by, str(answered.answered_identity_source)[:11]) == ("ana", "invitation:")
        assert secret not in (await place.browser().open(f"/sign-in?next=/{secret}")).header("location")


async def test_an_invitation_is_used_once_also_by_two_at_once_and_ends_when_it_is_withdrawn(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        invitations = place.loom().people.invitations
        secret = await invitations.issue("ana", "approver", by="mira")
        browsers = [place.browser() for _ in range(4)]
        pages = [await each.open("/sign-in") for each in browsers]
        answers = await asyncio.gather(
            *(
                each.send("/sign-in", token=page.token, on="/sign-in", invitation=secret)
                for each, page in zip(browsers, pages, strict=True)
            )
        )
        assert sorted(each.status for each in answers) == [303, 401, 401, 401]
        [winner] = [each for each, said in zip(browsers, answers, strict=True) if said.status == 303]
        assert (await winner.open("/inbox")).status == 200
        [invitation] = invitations.all()
        await invitations.withdraw(invitation.invitation_id, by="mira", reason="a mistake")
        assert (await winner.open("/inbox")).status == 303
        again = await winner.send("/sign-in", on="/sign-in", invitation=secret)
        assert (again.status, "was withdrawn" in again.text) == (401, True)


async def test_invitations_cannot_be_guessed(tmp_path: Path) -> None:
    async with house(tmp_path, failed_keys_per_minute=3) as place:
        secret = await place.loom().people.invitations.issue("ana", "approver", by="mira")
        wrong, browser = secret[:-1] + ("0" if secret[-1] != "0" else "1"), place.browser()
        said = [(await browser.send("/sign-in", on="/sign-in", invitation=wrong)).status for _ in range(5)]
        assert said == [401, 401, 401, 429, 429]
        assert [each.state for each in place.loom().people.invitations.all()] == ["open"]


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("steps", "open_s"), [([3_000.0] * 3, 9_000.0), ([4_000.0], 0.0), ([3_000.0] * 4, 9_000.0)])
def test_a_session_ends_when_it_is_idle_and_in_any_case(steps: list[float], open_s: float) -> None:
    time = Time()
    sessions = Sessions(time)
    config = ExplorerConfig(session_idle_s=3_600, session_max_s=10_000)
    given = sessions.open("one", lambda: Holder("ana", "api_key:1", "reader"), config)
    lasted = 0.0
    for step in steps:
        time.now += step
        if sessions.find(given) is None:
            break
        lasted += step
    assert lasted == open_s


def test_sessions_are_bounded_and_the_server_has_no_id_of_any() -> None:
    sessions = Sessions()
    config = ExplorerConfig(max_sessions=3)
    given = [sessions.open("one", lambda: Holder("ana", "api_key:1", "reader"), config) for _ in range(5)]
    assert [sessions.find(each) is not None for each in given] == [False, False, True, True, True]
    assert len(set(given)) == 5
    assert not any(each in repr(vars(sessions)) for each in given)
    assert sessions.find(None) is None
    assert sessions.find("") is None


async def test_two_hundred_browsers_work_at_once_and_a_key_that_is_revoked_ends_all_of_its_own(tmp_path: Path) -> None:
    from loom.web.keys import keys_of

    async with house(tmp_path, requests_per_minute=1_000_000) as place:
        await asked(place.loom())
        first = await place.signed_in("approver")
        others = [await place.signed_in(("reader", "approver")[number % 2]) for number in range(20)]
        everyone = [first, *others]
        browsers = [everyone[number % 21] for number in range(200)]
        answers = await asyncio.gather(*(each.open("/inbox") for each in browsers))
        assert {each.status for each in answers} == {200}
        assert all("15 % discount" in each.text for each in answers)
        await keys_of(place.loom()).revoke(place.keys["one", "approver"].split("_")[1], by="mira", reason="lost")
        after = [(await each.open("/inbox")).status for each in everyone]
        assert after == [303, *([200, 303] * 10)]
