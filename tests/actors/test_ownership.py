"""Which actors a process wakes, gives up and never wakes again, where others may own them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loom.errors import DiskFullError, JournalBusyError, NotOwnerError, TurnInterruptedError, WriterFencedError
from loom.journal import Head, JournalStore
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Carry, Do, Interpreter, World
from tests.actors.support import kinds, opened, until
from tests.actors.test_deadlines import Ask, Hurried
from tests.actors.test_parking import APPROVE, parked
from tests.actors.test_sleeping import Rest, Sleeper

TWO = Carry(program=[Do(verb="fetch", key="first"), Do(verb="fetch", key="second")])


class Elsewhere:
    """An ownership in which some journals are those of another process."""

    def __init__(self, *journals: str) -> None:
        self.journals = set(journals)

    def mine(self, journal: str) -> bool:
        return journal not in self.journals

    def address(self, journal: str) -> str | None:
        return None if self.mine(journal) else "node-2:8443"


def lose(loom: Loom, *journals: str) -> Elsewhere:
    """Let another process be the owner of these from now on."""
    loom.actors.services.ownership = elsewhere = Elsewhere(*journals)
    loom.actors.ownership_changed()
    return elsewhere


async def test_an_actor_of_another_process_is_not_woken_and_the_error_says_where_it_lives(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        lose(loom, "interpreter/one")
        with pytest.raises(NotOwnerError, match="node-2:8443") as refused:
            await loom.actor(Interpreter, "one").ask(TWO, id="c")
        assert (refused.value.journal, refused.value.address) == ("interpreter/one", "node-2:8443")
        assert await kinds(loom, "interpreter/one") == []
        assert await loom.actor(Interpreter, "two").ask(TWO)


async def test_a_turn_of_an_actor_that_another_process_owns_now_is_cut_short_and_not_resumed_here(
    tmp_path: Path,
) -> None:
    world = World()
    world.hold("fetch second")
    async with opened(tmp_path, world) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="c"))
        await world.arrived("fetch second")
        elsewhere = lose(loom, "interpreter/one")
        with pytest.raises(TurnInterruptedError):
            await asking
        await loom.actors.wake("interpreter/one")
        assert (world.calls["fetch second"], loom.actors.awake) == (1, 0)
        assert not loom.actors.waker._to_revive
        assert "turn_resumed" not in await kinds(loom, "interpreter/one")

        world.let_go("fetch second")
        elsewhere.journals.clear()
        loom.actors.ownership_changed()
        assert (await loom.actor(Interpreter, "one").ask(TWO, id="c"))["second"] == {"key": "second"}
        assert (await kinds(loom, "interpreter/one"))[-3:] == [
            "turn_resumed",
            "context_gathered",
            "turn_completed",
        ]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_cell_that_could_not_write_is_woken_again_unless_its_journal_was_taken_over(
    tmp_path: Path, *, taken: bool
) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c"))
        await parked(loom)
        (cell,) = loom.actors.cells()
        cell.invalidate(WriterFencedError("it has another writer") if taken else DiskFullError("it is full"))
        assert (cell.journal in loom.actors.waker._to_revive) is not taken
        with pytest.raises(TurnInterruptedError):
            await asking


async def test_turns_that_are_unfinished_at_the_start_are_resumed_by_their_owner_alone(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch second")
    async with opened(tmp_path, world, shutdown_grace_s=0) as loom:
        turns = [asyncio.create_task(loom.actor(Interpreter, key).ask(TWO, id="c")) for key in ("one", "two")]
        await until(lambda: world.calls["fetch second"] == 2)
    await asyncio.gather(*turns, return_exceptions=True)
    async with opened(tmp_path, agents=[]) as loom:  # its turns wait for their code
        await until(lambda: loom.actors.waker.without_code)
        elsewhere = lose(loom, "interpreter/one")
        await loom.register(Interpreter)
        await until(lambda: _ended(loom, "interpreter/two"))
        assert not await _ended(loom, "interpreter/one")
        assert not loom.actors.waker._to_revive
        elsewhere.journals.clear()
        loom.actors.ownership_changed()
        await until(lambda: _ended(loom, "interpreter/one"))


async def test_deadlines_are_fired_by_the_owner_of_the_actor_alone(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Hurried, "one").ask(Ask(timeout_s=60.0), id="c"))
        (request,) = await parked(loom)
        requests = loom.actors.services.requests
        assert await requests.next_deadline() is not None
        elsewhere = lose(loom, "hurried/one")
        clock.advance(61)
        assert await requests.due() == []
        assert await requests.next_deadline() is None
        assert [each.approval_id for each in await requests.pending()] == [request.approval_id]
        with pytest.raises(NotOwnerError):
            await loom.approvals.grant(request.approval_id, by="alice")
        with pytest.raises(TurnInterruptedError):
            await asking
        elsewhere.journals.clear()
        loom.actors.ownership_changed()
        await until(lambda: _ended(loom, "hurried/one"))
        assert (await loom.approvals.get(request.approval_id)).status == "denied"


@pytest.mark.parametrize("passes", ["while it is elsewhere", "once it is back"])
async def test_a_turn_that_sleeps_is_woken_by_its_owner_alone_also_after_it_has_come_back(
    tmp_path: Path, passes: str
) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock), park_keep_s=0) as loom:
        timer = loom.actors.services.timer
        await loom.actor(Sleeper, "one").tell(Rest(naps=(60.0,)), id="c")
        await until(lambda: _last(loom, "turn_parked"))  # it was let go: only its time is known
        elsewhere = lose(loom, "sleeper/one")
        assert len(timer) == 0
        if passes == "while it is elsewhere":
            clock.advance(61)
            assert timer.fire() == 0
        elsewhere.journals.clear()
        loom.actors.ownership_changed()
        await until(lambda: len(timer))
        clock.advance(61)
        assert timer.fire()
        await until(lambda: _last(loom, "turn_completed"))


async def test_a_reader_that_is_behind_the_head_that_was_acquired_is_no_ground_to_decide_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def acquire(self: JournalStore, journal: str) -> Head:
        head = await self.head(journal)
        return head._replace(sequence=head.sequence + 1)

    async with opened(tmp_path) as loom:
        await loom.actor(Interpreter, "one").ask(TWO)
    async with opened(tmp_path) as loom:
        monkeypatch.setattr(type(loom.store), "acquire", acquire)
        with pytest.raises(JournalBusyError, match="the reader is behind"):
            await loom.actor(Interpreter, "one").ask(TWO)


async def test_a_fenced_process_ends_all_turns_also_those_that_wait_and_takes_no_more_commands(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c"))
        await parked(loom)
        written = await kinds(loom, "interpreter/one")
        await loom.store.fence(loom.store.writer)
        with pytest.raises(TurnInterruptedError):
            await asking
        assert isinstance(loom.actors.fenced_by, WriterFencedError)
        for key in ("one", "two"):
            with pytest.raises(WriterFencedError):
                await loom.actor(Interpreter, key).ask(TWO, id="c")
        assert (loom.actors.awake, len(loom.actors.waker._to_revive)) == (0, 0)
        assert await kinds(loom, "interpreter/one") == written


async def _last(loom: Loom, kind: str) -> bool:
    return (await kinds(loom, "sleeper/one"))[-1] == kind


async def _ended(loom: Loom, journal: str) -> bool:
    return "turn_completed" in await kinds(loom, journal)
