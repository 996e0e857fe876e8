"""What failed too often comes back by itself: after a back-off that doubles, has a bound, and varies by chance."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.actors.listing import list_actors, restart_actor
from loom.actors.services import ActorOptions
from loom.actors.stopped import StoppedActor, StoppedActors
from loom.errors import ActorFailedError, ActorNotStoppedError, ActorPrunedError, ActorStoppedError
from tests.actors.agents import Carry, Do, Interpreter, Lend, Lender, World
from tests.actors.support import kinds, opened, until
from tests.actors.test_failures import Clumsy, Spoil, Unmakeable


class Line:
    """Stopped actors whose clock and chance are given, and whose timers are fired by hand."""

    def __init__(self, **options: float) -> None:
        self.now = 1_000.0
        self.chance = 1.0
        self.back: list[str] = []
        self.options = ActorOptions(**{"backoff_min_s": 1.0, "backoff_max_s": 60.0, **options})  # type: ignore[arg-type]
        self.stopped = StoppedActors(
            self.options,
            lambda journal, _: self.back.append(journal),
            chance=lambda: self.chance,
            clock=lambda: self.now,
        )

    def stop(self, journal: str = "a/1", why: Exception | None = None) -> StoppedActor:
        self.stopped.stop(journal, why or ActorStoppedError("enough"))  # type: ignore[arg-type]
        found = self.stopped.get(journal)
        assert found is not None
        return found

    def comes_back(self, journal: str = "a/1") -> None:
        """Let its back-off be over."""
        found = self.stopped.get(journal)
        assert found is not None
        assert found.timer is not None
        assert found.delay_s is not None
        self.now += found.delay_s
        found.timer.cancel()
        self.stopped._back(journal)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    made.stopped.close()


async def test_the_back_off_doubles_with_every_stop_that_follows_soon_up_to_its_bound(line: Line) -> None:
    delays = []
    for _ in range(9):
        delays.append(line.stop().delay_s)
        line.comes_back()
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert line.back == ["a/1"] * 9


async def test_a_stop_long_after_begins_anew_and_nothing_is_remembered_for_ever(line: Line) -> None:
    for _ in range(4):
        line.stop()
        line.comes_back()
    line.now += 2 * line.options.failure_window_s - 1
    assert line.stop().stops == 5, "soon after"
    line.comes_back()
    line.now += 2 * line.options.failure_window_s + 1
    assert line.stop().stops == 1
    for number in range(100):
        line.stop(f"b/{number}")
        line.comes_back(f"b/{number}")
        line.now += 60
    assert len(line.stopped._actors) < 10


@given(chance=st.floats(0, 1, exclude_max=True), stops=st.integers(1, 5_000))
async def test_a_back_off_is_between_half_of_its_length_and_its_length(chance: float, stops: int) -> None:
    line = Line()
    line.chance = chance
    found = line.stopped._delay_s(stops)
    assert found is not None
    whole = min(60.0, 2.0 ** min(stops - 1, 60))
    assert whole / 2 <= found <= whole


async def test_what_failed_together_does_not_come_back_together() -> None:
    stopped = StoppedActors(ActorOptions(), lambda *_: None)
    for number in range(50):
        stopped.stop(f"a/{number}", ActorStoppedError("enough"))
    try:
        assert len({each.delay_s for _, each in stopped}) > 25
    finally:
        stopped.close()


async def test_without_a_back_off_a_person_restarts_it() -> None:
    line = Line(backoff_min_s=0)
    assert line.stop().until is None
    assert line.stopped.get("a/1") is not None
    line.stopped.release("a/1")
    line.stopped.check("a/1")


async def test_what_was_pruned_never_comes_back(line: Line) -> None:
    assert line.stop(why=ActorPrunedError("pruned")).until is None
    assert line.stopped.block("a/2", ActorPrunedError("pruned"))
    line.stop("a/3")
    assert not line.stopped.block("a/3", ActorPrunedError("pruned")), "what it was stopped for is not forgotten"
    assert line.stopped.block("a/2", ActorPrunedError("again"))


async def test_who_asks_is_told_how_long_it_takes(line: Line) -> None:
    line.stop()
    line.comes_back()
    line.stop()
    line.now += 0.5
    with pytest.raises(ActorStoppedError) as caught:
        line.stopped.check("a/1")
    assert caught.value.retry_after_s == 1.5
    line.stopped.check("a/2")


# --- in a loom -------------------------------------------------------------------------------------

LONG: dict[str, Any] = {"backoff_min_s": 3_600, "backoff_max_s": 3_600}
QUICK: dict[str, Any] = {"backoff_min_s": 0.02, "backoff_max_s": 0.02}


async def test_an_actor_that_failed_too_often_comes_back_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clumsy], max_failures=1, **QUICK) as loom:
        ref = loom.actor(Clumsy, "one")
        for note in ("one", "two"):
            with pytest.raises(ActorFailedError):
                await ref.ask(Spoil(note=note))

        async def takes_commands() -> bool:
            try:
                await ref.ask(Spoil(note="fine", fails=False))
            except ActorStoppedError:
                return False
            return True

        await until(takes_commands)
        assert list_actors(loom.actors)[0].state in ("idle", "running")


async def test_what_it_had_begun_is_resumed_when_it_comes_back(tmp_path: Path) -> None:
    world = World()
    world.hold("lend 0")
    async with opened(tmp_path, world, max_failures=1, **QUICK) as loom:

        async def received(many: int) -> bool:
            return (await kinds(loom, "lender/one")).count("command_received") == many

        ref = loom.actor(Lender, "one")
        asks = []
        for n in range(4):  # what is sent at once has no order
            asks.append(asyncio.create_task(ref.ask(Lend(key=f"{n}", fails=n < 2), id=f"{n}")))
            await until(partial(received, n + 1))
        world.let_go("lend 0")
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ActorFailedError] * 2 + [ActorStoppedError] * 2

        async def all_ended() -> bool:
            return (await kinds(loom, "lender/one")).count("turn_completed") == 2

        await until(all_ended)
        assert world.calls == {f"lend {n}": 1 for n in range(4)}


async def test_an_actor_that_cannot_be_made_is_tried_again_when_its_time_has_come(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, agents=[Unmakeable], **QUICK) as loom:

        async def tried_again() -> bool:
            with pytest.raises(ActorStoppedError, match="no database"):
                await loom.actor(Unmakeable, "one").ask(Spoil(note="n"))
            return world.calls["made"] >= 3

        await until(tried_again)


async def test_actors_are_listed_with_what_they_are_at(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clumsy, Interpreter, Lender], max_failures=1, **LONG) as loom:
        for note in ("one", "two"):
            with pytest.raises(ActorFailedError):
                await loom.actor(Clumsy, "one").ask(Spoil(note=note))
        with pytest.raises(ActorFailedError):
            await loom.actor(Clumsy, "two").ask(Spoil(note="once"))
        await loom.actor(Lender, "one").ask(Lend(key="k"))
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="approve", key="vp")])))
        await until(lambda: any(each.state == "parked" for each in list_actors(loom.actors)))
        stopped, *others = list_actors(loom.actors)
        assert (stopped.journal, stopped.state, stopped.failures, stopped.stops) == ("clumsy/one", "stopped", 2, 1)
        assert stopped.since is not None
        assert stopped.until is not None
        assert 1_700 < (stopped.until - stopped.since).total_seconds() < 3_601
        assert "failed [2] times" in str(stopped.why)
        await until(lambda: [each.state for each in list_actors(loom.actors)][1:] == ["parked", "idle", "idle"])
        parked, failed, idle = list_actors(loom.actors)[1:]
        assert [each.journal for each in (parked, failed, idle)] == ["interpreter/one", "clumsy/two", "lender/one"]
        assert (parked.turns, failed.failures, idle.failures) == (1, 1, 0)
        assert others
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_person_restarts_a_stopped_actor_and_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, agents=[Clumsy], max_failures=1, **LONG) as loom:
        ref = loom.actor(Clumsy, "one")
        for note in ("one", "two"):
            with pytest.raises(ActorFailedError):
                await ref.ask(Spoil(note=note))
        with pytest.raises(ActorNotStoppedError):
            await restart_actor(loom.actors, "clumsy/two", by="mira")
        before = await kinds(loom, "clumsy/one")
        with caplog.at_level(logging.WARNING, logger="loom.actors"):
            listed = await restart_actor(loom.actors, "clumsy/one", by="mira")
        assert listed.state == "idle"
        assert any("actor_restarted" in each.getMessage() and "by=mira" in each.getMessage() for each in caplog.records)
        assert await kinds(loom, "clumsy/one") == before, "nothing that lasts has changed, so nothing is journaled"
        await ref.ask(Spoil(note="fine", fails=False))


async def test_nothing_comes_back_to_a_loom_that_closes(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clumsy], max_failures=1, **LONG) as loom:
        for note in ("one", "two"):
            with pytest.raises(ActorFailedError):
                await loom.actor(Clumsy, "one").ask(Spoil(note=note))
        [(_, stopped)] = list(loom.actors.stopped)
        assert stopped.timer is not None
    assert stopped.timer is None
