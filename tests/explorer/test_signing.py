"""How long people stay signed in, and how many at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loom.explorer.config import ExplorerConfig
from loom.explorer.sessions import Holder, Sessions
from tests.explorer.support import asked, house


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
