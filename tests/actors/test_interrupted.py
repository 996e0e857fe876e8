"""Turns that shutdown, a broken journal or a lost process cut short: their callers hear of it, and they are resumed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor, Command
from loom.actors.turns_view import TurnsProjection
from loom.errors import (
    ActorFailedError,
    ActorStoppedError,
    AdmissionError,
    AppendUnknownError,
    DiskFullError,
    JournalBusyError,
    LoomError,
    TurnAbandonedError,
    TurnInterruptedError,
    TurnNotFoundError,
    TurnStuckError,
)
from loom.journal import Append, Entry, Receipt, Recorded
from loom.journal.chain import body_digest
from loom.journal.kinds import TurnCompletedEntry, TurnFailedEntry, TurnResumedEntry
from loom.journal.store import JournalStore, Submitted
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Folding, Interpreter, Lend, Lender, World
from tests.actors.support import entries, kinds, lay_down, opened, until
from tests.on_postgres import opened_class
from tests.projections.tampering import tamper

TWO = Carry(program=[Do(verb="fetch", key="first"), Do(verb="fetch", key="second")])


def break_journal(
    loom: Loom, monkeypatch: pytest.MonkeyPatch, *, when: Callable[[Append], bool], error: Callable[[], LoomError]
) -> None:
    """Let appends fail that match."""
    real = loom.store.submit

    def submit(append: Append) -> Submitted:
        if not when(append):
            return real(append)
        future = Submitted()
        future.get_loop().call_soon(future.set_exception, error())
        return future

    monkeypatch.setattr(loom.store, "submit", submit)
    monkeypatch.setattr(loom.store, "extend", lambda *_: False)


def full() -> LoomError:
    return DiskFullError("disk is full; expected room: make some")


RESTARTS = "a process that is restarted, which a shared store takes for a takeover (tests/actors/test_takeovers.py)"


# --- shutdown -----------------------------------------------------------------------------------


async def test_a_turn_that_shutdown_cuts_short_is_resumed_at_the_next_start(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch second")
    async with opened(tmp_path, world, shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="c"))
        await world.arrived("fetch second")
    with pytest.raises(TurnInterruptedError, match="resumed when the journal is next opened; ask again"):
        await asking
    again = World()
    async with opened(tmp_path, again) as loom:
        await until(lambda: _ended(loom))  # by itself, nobody has to ask
        assert await loom.actor(Interpreter, "one").ask(TWO, id="c") == {
            "first": {"key": "first"},
            "second": {"key": "second"},
        }
        assert await kinds(loom, "interpreter/one") == [
            "command_received",
            "context_gathered",
            "turn_resumed",
            "context_gathered",
            "turn_completed",
        ]
    assert again.calls == {"fetch second": 1}


async def _ended(loom: Loom) -> bool:
    return (await kinds(loom, "interpreter/one"))[-1] == "turn_completed"


async def test_shutdown_lets_turns_end_within_their_grace_and_begins_no_new_ones(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch first")
    loom: Loom
    async with opened(tmp_path, world, shutdown_grace_s=20) as loom:
        ref = loom.actor(Interpreter, "one")
        running = asyncio.create_task(ref.ask(TWO, id="runs"))
        await world.arrived("fetch first")
        waiting = asyncio.create_task(ref.ask(TWO, id="waits"))
        await until(lambda: _received(loom, 2))
        asyncio.get_running_loop().call_later(0.05, world.let_go, "fetch first")
    assert (await running)["second"] == {"key": "second"}
    with pytest.raises(TurnInterruptedError):
        await waiting
    async with opened(tmp_path, world) as loom:
        assert (await loom.actor(Interpreter, "one").ask(TWO, id="waits"))["first"] == {"key": "first"}


async def test_shutdown_does_not_wait_for_a_turn_that_is_parked_meanwhile(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch first")
    program = Carry(program=[Do(verb="fetch", key="first"), Do(verb="approve", key="vp")])
    async with asyncio.timeout(20), opened(tmp_path, world, shutdown_grace_s=600) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(program, id="c"))
        await world.arrived("fetch first")
        asyncio.get_running_loop().call_later(0.05, world.let_go, "fetch first")
    with pytest.raises(TurnInterruptedError):
        await asking
    async with opened(tmp_path, world) as loom:
        assert len(await loom.approvals.pending()) == 1


async def _received(loom: Loom, count: int) -> bool:
    return (await kinds(loom, "interpreter/one")).count("command_received") == count


class Stubborn(Folding):
    """Will not be cancelled."""

    async def execute(self, command: Lend) -> str:
        while True:
            try:
                await self.world.call("stubborn")
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.world.calls["stubborn"] > 1:
                    return "as if nothing had happened"


async def test_code_that_swallows_cancellation_does_not_end_its_turn_by_that(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, agents=[Stubborn], shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(Stubborn, "one").ask(Lend(key="k"), id="c"))
        await world.arrived("stubborn")
        turn = loom.actors.running("stubborn/one", "c")
        assert turn is not None
        assert turn.task is not None
        turn.task.cancel()
        await until(lambda: world.calls["stubborn"] == 2)
    with pytest.raises(TurnInterruptedError):
        await asking
    async with opened(tmp_path, world, agents=[Stubborn], resume=False) as loom:
        assert await kinds(loom, "stubborn/one") == ["command_received"]


# --- attempts -----------------------------------------------------------------------------------


async def resumed_without_progress(directory: Path, times: int) -> None:
    for life in range(times + 1):
        world = World()
        world.hold("fetch second")
        async with opened(directory, world, shutdown_grace_s=0) as loom:
            asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="c"))
            await world.arrived("fetch second")
            assert (await kinds(loom, "interpreter/one")).count("turn_resumed") == life
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.sqlite(RESTARTS)
async def test_a_turn_resumed_three_times_without_progress_is_stuck_until_a_person_lets_it_try_again(
    tmp_path: Path,
) -> None:
    await resumed_without_progress(tmp_path, 3)
    world = World()
    async with opened(tmp_path, world) as loom:
        with pytest.raises(TurnStuckError, match=r"resumed \[3\] times without progress"):
            await loom.actor(Interpreter, "one").ask(TWO, id="c")
        (listed,) = await loom.turns.unfinished()
        assert listed.status == "stuck"
        assert "loom turns retry" in str(listed.why)
        assert world.calls == {}
        assert await loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="note", key="n")])) == {"n": None}
        await loom.turns.retry("c", by="alice", reason="the network is back")
        assert (await loom.actor(Interpreter, "one").ask(TWO, id="c"))["second"] == {"key": "second"}
        assert world.calls == {"fetch second": 1}
        attempts = [e.entry.attempt for e in await entries(loom) if isinstance(e.entry, TurnResumedEntry)]
        assert attempts == [1, 2, 3, 1]


async def test_progress_starts_the_count_anew(tmp_path: Path) -> None:
    await resumed_without_progress(tmp_path, 2)
    program = Carry(
        program=[Do(verb="fetch", key="first"), Do(verb="fetch", key="second"), Do(verb="fetch", key="third")]
    )
    world = World()
    world.hold("fetch third")
    other = tmp_path / "other"
    async with opened(other, world, shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(program, id="c"))
        await world.arrived("fetch third")
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(other, world, shutdown_grace_s=0) as loom:
        await until(lambda: world.calls["fetch third"] == 2)
        attempts = [e.entry.attempt for e in await entries(loom) if isinstance(e.entry, TurnResumedEntry)]
        assert attempts == [1]


@pytest.mark.sqlite(RESTARTS)
async def test_abandoning_a_stuck_turn_ends_it_for_good(tmp_path: Path) -> None:
    await resumed_without_progress(tmp_path, 3)
    async with opened(tmp_path) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "c"))
        listed = await loom.turns.abandon("c", by="alice", reason="not worth it")
        assert listed.status == "abandoned"
        assert loom.actors.stuck("interpreter/one", "c") is None
    async with opened(tmp_path) as loom:
        with pytest.raises(TurnAbandonedError, match=r"by \[alice \(claimed, via python\)\]: not worth it"):
            await loom.actor(Interpreter, "one").ask(TWO, id="c")
        with pytest.raises(TurnNotFoundError, match="has ended"):
            await loom.turns.abandon("c", by="alice", reason="twice")
        with pytest.raises(TurnNotFoundError):
            await loom.turns.retry("c", by="alice")


@pytest.mark.parametrize("what", ["running", "parked", "waiting"])
async def test_a_turn_is_abandoned_wherever_it_is(tmp_path: Path, what: str) -> None:
    world = World()
    world.hold("fetch slow")
    slow = Carry(program=[Do(verb="fetch", key="slow"), Do(verb="note", key="never")])
    approve = Carry(program=[Do(verb="approve", key="vp"), Do(verb="note", key="never")])
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = {"parked": asyncio.create_task(ref.ask(approve, id="parked", by="bob"))}
        await until(lambda: _parked(loom))
        asking["running"] = asyncio.create_task(ref.ask(slow, id="running"))
        await world.arrived("fetch slow")
        asking["waiting"] = asyncio.create_task(ref.ask(TWO, id="waiting"))
        await until(lambda: _received(loom, 3))
        await loom.turns.abandon(what, by="alice", reason="changed my mind")
        with pytest.raises(TurnAbandonedError):
            await asking.pop(what)
        assert [e.kind for e in await entries(loom) if e.command_id == what][-1] == "turn_abandoned"
        world.let_go("fetch slow")
        for request in await loom.approvals.pending():
            await loom.approvals.grant(request.approval_id, by="carol")
        await asyncio.gather(*asking.values())  # the others come to their end
        assert await ref.ask(Carry(program=[Do(verb="note", key="n")])) == {"n": None}
        assert [e.kind for e in await entries(loom) if e.command_id == what][-1] == "turn_abandoned"


async def _parked(loom: Loom) -> bool:
    turn = loom.actors.running("interpreter/one", "parked")
    return turn is not None and turn.parked


async def test_a_running_turn_cannot_be_retried(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch first")
    async with opened(tmp_path, world) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="c"))
        await world.arrived("fetch first")
        await until(lambda: _received(loom, 1))
        with pytest.raises(TurnNotFoundError, match="is under way"):
            await loom.turns.retry("c", by="alice")
        world.let_go("fetch first")
        await asking


# --- a journal that fails -----------------------------------------------------------------------


async def test_a_turn_whose_end_cannot_be_journaled_is_interrupted_and_comes_back_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    async with opened(tmp_path, world) as loom:
        broken = True
        break_journal(
            loom,
            monkeypatch,
            error=full,
            when=lambda a: broken and a.drafts[0].kind in ("turn_completed", "turn_failed"),
        )
        with pytest.raises(TurnInterruptedError, match=r"could not be journaled .*disk is full.* ask again"):
            await loom.actor(Interpreter, "one").ask(TWO, id="c")
        await until(lambda: _count(loom, "interpreter/one", "context_gathered", 2))
        assert "turn_completed" not in await kinds(loom, "interpreter/one")
        broken = False
        await until(lambda: _ended(loom))  # revived without anybody speaking to it
        assert (await loom.actor(Interpreter, "one").ask(TWO, id="c"))["second"] == {"key": "second"}
        assert world.calls == {"fetch first": 1, "fetch second": 1}


async def test_a_command_that_cannot_be_journaled_was_never_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as loom:
        broken = True
        break_journal(loom, monkeypatch, error=full, when=lambda a: broken and a.journal.startswith("lender/"))
        ref = loom.actor(Lender, "one")
        outcomes = await asyncio.gather(
            *(ref.ask(Lend(key=f"{n}"), id=f"{n}") for n in range(5)),
            ref.tell(Lend(key="t"), id="t"),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes] == [DiskFullError] * 6
        assert await kinds(loom, "lender/one") == []
        broken = False
        assert await ref.ask(Lend(key="0"), id="0") == "lent 0"


async def test_turns_of_one_actor_that_fail_together_are_all_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.hold("lend 0")
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Lender, "one")
        asks = [asyncio.create_task(ref.ask(Lend(key="0"), id="0"))]
        await world.arrived("lend 0")  # what is sent at once has no order
        asks += [asyncio.create_task(ref.ask(Lend(key=f"{n}"), id=f"{n}")) for n in range(1, 4)]
        await until(lambda: _count(loom, "lender/one", "command_received", 4))
        broken = True
        break_journal(loom, monkeypatch, error=full, when=lambda a: broken)
        world.let_go("lend 0")
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [TurnInterruptedError] * 4
        broken = False
        assert [await ref.ask(Lend(key=f"{n}"), id=f"{n}") for n in range(4)] == [f"lent {n}" for n in range(4)]


async def _count(loom: Loom, journal: str, kind: str, count: int) -> bool:
    return (await kinds(loom, journal)).count(kind) == count


async def test_while_nothing_can_be_written_it_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(delay: float, *rest: Any) -> Any:
        if delay >= 0.05:
            naps.append(delay)
            delay = 0.001
        return await real_sleep(delay, *rest)

    async with opened(tmp_path) as loom:
        broken = True
        break_journal(loom, monkeypatch, error=full, when=lambda a: broken and a.drafts[0].kind != "command_received")
        monkeypatch.setattr("loom.actors.system.asyncio.sleep", sleep)
        with pytest.raises(TurnInterruptedError):
            await loom.actor(Interpreter, "one").ask(TWO, id="c")
        await until(lambda: len(naps) >= 8)
        broken = False
        await until(lambda: _ended(loom))
        assert naps[:6] == sorted(naps[:6])
        assert naps[5] > naps[0]
        assert max(naps) <= 30


async def test_an_append_of_unknown_outcome_that_stands_is_as_good_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as loom:
        real = loom.store.submit

        def submit(append: Append) -> Submitted:
            inner = real(append)
            if append.drafts[0].kind not in ("turn_completed", "command_received"):
                return inner
            outer = Submitted()

            def landed(done: asyncio.Future[Receipt]) -> None:
                receipt = done.result()
                outer.set_exception(
                    AppendUnknownError(
                        "who knows", journal=receipt.journal, sequence=receipt.sequence, entry_hash=receipt.entry_hash
                    )
                )
                outer.exception()

            inner.add_done_callback(landed)
            return outer

        monkeypatch.setattr(loom.store, "submit", submit)
        monkeypatch.setattr(loom.store, "extend", lambda *_: False)
        ref = loom.actor(Lender, "one")
        assert await ref.ask(Lend(key="k"), id="c") == "lent k"
        assert (await ref.tell(Lend(key="k"), id="c")).sequence == 1
        assert await kinds(loom, "lender/one") == ["command_received", "context_gathered", "turn_completed"]


# --- finding what is unfinished -----------------------------------------------------------------


async def cut(directory: Path) -> None:
    """Leave a journal with a turn that did its first look-up."""
    async with opened(directory / "whole", World()) as loom:
        await loom.actor(Interpreter, "one").ask(TWO, id="c", by="somebody")
        history = [each for each in await entries(loom) if each.kind != "turn_completed"][:-1]
    await lay_down(directory / "cut", history)


async def test_turns_of_a_type_without_code_wait_for_it_and_are_shown_so(tmp_path: Path) -> None:
    await cut(tmp_path)
    async with opened(tmp_path / "cut", agents=[]) as loom:
        (listed,) = await loom.turns.unfinished()
        assert listed.status == "waiting_for_code"
        assert (await kinds(loom, "interpreter/one"))[-1] == "context_gathered"
        await until(lambda: loom.actors.waker.without_code)
        await loom.register(Lender, Lender)
        await loom.register(Interpreter, Interpreter)  # the code comes: they go on
        await until(lambda: _ended(loom))


async def test_turns_of_a_type_without_code_can_be_abandoned(tmp_path: Path) -> None:
    await cut(tmp_path)
    async with opened(tmp_path / "cut", agents=[]) as loom:
        assert (await loom.turns.abandon("c", by="alice", reason="the code is gone")).status == "abandoned"
    async with opened(tmp_path / "cut") as loom:
        with pytest.raises(TurnAbandonedError):
            await loom.actor(Interpreter, "one").ask(TWO, id="c")


@pytest.mark.parametrize("hidden", ["DELETE FROM turns", "UPDATE turns SET ended = 'completed', ended_at_us = 1"])
async def test_unfinished_turns_are_resumed_though_the_view_hides_them(tmp_path: Path, hidden: str) -> None:
    await cut(tmp_path)
    async with opened(tmp_path / "cut", resume=False) as loom:
        await loom.reached()
        views = loom.files.views
        assert len(await loom.turns.unfinished()) == 1
    assert tamper(views, hidden) == 1
    async with opened(tmp_path / "cut") as loom:
        await until(lambda: _ended(loom))


async def test_unfinished_turns_are_resumed_though_the_view_of_turns_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(*_: Any) -> None:
        raise RuntimeError("no view today")

    await cut(tmp_path)
    monkeypatch.setattr(TurnsProjection, "apply", apply)
    async with opened(tmp_path / "cut") as loom:
        await until(lambda: _ended(loom))


async def test_unfinished_turns_are_looked_for_again_where_the_journal_cannot_be_read_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    store_class = opened_class()
    real = store_class.unfinished

    async def unfinished(store: JournalStore, *, asked: bool = False) -> AsyncIterator[Recorded]:
        tried.append(asked)
        async for received in real(store, asked=asked):
            yield received
            if tried.count(False) < 3:
                raise JournalBusyError("not now")

    await cut(tmp_path)
    monkeypatch.setattr(store_class, "unfinished", unfinished)
    async with opened(tmp_path / "cut") as loom:
        await until(lambda: _ended(loom))
    assert tried.count(False) == 3


class Nothing(Command[None]):
    pass


class Idle(Actor[None]):
    async def execute(self, command: Nothing) -> None:
        return None


async def test_what_ran_when_it_was_cut_short_goes_on_before_what_had_waited(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch second")
    async with opened(tmp_path, world, shutdown_grace_s=0) as loom:
        ref = loom.actor(Interpreter, "one")
        asks = [asyncio.create_task(ref.ask(TWO, id="runs"))]
        await world.arrived("fetch second")
        asks += [asyncio.create_task(ref.ask(TWO, id=f"waits {n}")) for n in range(2)]
        await until(lambda: _received(loom, 3))
    await asyncio.gather(*asks, return_exceptions=True)
    async with opened(tmp_path, World()) as loom:
        new = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="new"))
        await new
        ends = [e.command_id for e in await entries(loom) if e.kind == "turn_completed"]
        assert ends == ["runs", "waits 0", "waits 1", "new"]
        inside = [e.command_id for e in await entries(loom) if e.kind == "context_gathered"]
        assert inside == ["runs", "runs", "waits 0", "waits 0", "waits 1", "waits 1", "new", "new"]


# --- what cannot be gone on from ----------------------------------------------------------------


def changed(recorded: Recorded, *, kind: str | None = None, **fields: Any) -> Recorded:
    """Return an entry with another body or kind, as some other code has written it."""
    body = json.dumps({**json.loads(recorded.body or b""), **fields}).encode()
    salt = recorded.salt or b""
    return replace(recorded, kind=kind or recorded.kind, body=body, body_digest=body_digest(salt, body), _entry=None)


async def cut_history(directory: Path, program: Carry = TWO) -> list[Recorded]:
    async with opened(directory / "whole", World()) as loom:
        await loom.actor(Interpreter, "one").ask(program, id="c", by="somebody")
        return [each for each in await entries(loom) if each.kind != "turn_completed"]


async def failed_for(loom: Loom) -> TurnFailedEntry:
    with pytest.raises(ActorFailedError):
        await loom.actor(Interpreter, "one").ask(TWO, id="c")
    ending = (await entries(loom, "interpreter/one"))[-1].entry
    assert isinstance(ending, TurnFailedEntry)
    return ending


async def test_a_turn_does_not_go_on_from_a_look_up_that_was_masked(tmp_path: Path) -> None:
    history = await cut_history(tmp_path)
    history = [changed(each, masked=["name"]) if each.kind == "context_gathered" else each for each in history]
    await lay_down(tmp_path / "cut", history)
    world = World()
    async with opened(tmp_path / "cut", world) as loom:
        ending = await failed_for(loom)
        assert (ending.reason, "masked" in ending.message) == ("not_resumable", True)
        assert world.calls == {}


async def test_a_turn_does_not_go_on_from_an_entry_that_was_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lay_down(tmp_path / "cut", await cut_history(tmp_path))
    world = World()
    async with opened(tmp_path / "cut", world, agents=[]) as loom:
        real = loom.store.read

        async def without_a_body(journal: str, **bounds: Any) -> AsyncIterator[Recorded]:
            async for each in real(journal, **bounds):
                erased = each.journal == "interpreter/one" and each.sequence == 2
                yield replace(each, body=None, salt=None, _entry=None) if erased else each

        monkeypatch.setattr(loom.store, "read", without_a_body)
        await loom.register(Interpreter, lambda: Interpreter(world))
        ending = await failed_for(loom)
        assert (ending.reason, "erased" in ending.message) == ("not_resumable", True)
        assert world.calls == {}


async def test_a_turn_goes_on_past_an_entry_whose_class_is_not_here(tmp_path: Path) -> None:
    program = Carry(program=[Do(verb="note", key="n"), Do(verb="fetch", key="second")])
    history = await cut_history(tmp_path, program)
    history = [
        changed(each, kind="test.actors.gone", more=1) if each.kind == "test.actors.noted" else each for each in history
    ]
    await lay_down(tmp_path / "cut", history)
    world = World()
    async with opened(tmp_path / "cut", world) as loom:
        assert await loom.actor(Interpreter, "one").ask(program, id="c") == {"n": None, "second": {"key": "second"}}
        assert world.calls == {}
        assert (await kinds(loom, "interpreter/one")).count("test.actors.noted") == 0


async def test_a_turn_whose_command_nobody_can_read_is_stuck_and_the_actor_is_not(tmp_path: Path) -> None:
    history = await cut_history(tmp_path)
    history = [changed(each, command_type="Forgotten") if each.kind == "command_received" else each for each in history]
    await lay_down(tmp_path / "cut", history)
    async with opened(tmp_path / "cut") as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "c"))
        assert "cannot be read" in str(loom.actors.stuck("interpreter/one", "c"))
        assert (await loom.actor(Interpreter, "one").ask(TWO, id="other"))["first"] == {"key": "first"}


class Counting(Folding):
    """Cannot fold the end of a turn."""

    async def execute(self, command: Lend) -> str:
        return "done"

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, TurnCompletedEntry):
            raise TypeError("cannot fold this")


async def test_a_reply_that_is_durable_is_given_whatever_apply_makes_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Counting], snapshot_every=1) as loom:
        assert await loom.actor(Counting, "one").ask(Lend(key="k"), id="c") == "done"
        with pytest.raises(ActorStoppedError, match="cannot fold this"):
            await loom.actor(Counting, "one").ask(Lend(key="k"))


async def test_abandoning_with_a_reason_that_cannot_be_journaled_stops_nothing(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch first")
    async with opened(tmp_path, world) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(TWO, id="c"))
        await world.arrived("fetch first")
        await until(lambda: _received(loom, 1))
        with pytest.raises(AdmissionError):
            await loom.turns.abandon("c", by="alice", reason="\ud800")
        world.let_go("fetch first")
        assert (await asking)["second"] == {"key": "second"}


async def test_an_actor_that_comes_back_waits_for_what_it_had_put_in_line_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    async with opened(tmp_path, world, max_failures=1) as loom:
        ref = loom.actor(Lender, "one")
        for number in range(2):
            with pytest.raises(ActorFailedError):
                await ref.ask(Lend(key=f"{number}", fails=True))
        await ref.restart()
        cell = loom.actors._cells["lender/one"]
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        real = loom.store.submit

        def submit(append: Append) -> Submitted:
            outer = Submitted()
            held.add_done_callback(
                lambda _: real(append).add_done_callback(lambda done: outer.set_result(done.result()))
            )
            return outer

        monkeypatch.setattr(loom.store, "submit", submit)
        monkeypatch.setattr(loom.store, "extend", lambda *_: False)
        telling = asyncio.create_task(ref.tell(Lend(key="late"), id="late"))
        await until(lambda: "late" in cell.open)
        monkeypatch.setattr(loom.store, "submit", real)
        loom.actors.stop_actor(cell, ActorStoppedError("enough"))
        restarting = asyncio.create_task(ref.restart())
        await asyncio.wait([restarting], timeout=0.2)  # it has to wait
        held.set_result(None)
        await restarting
        await telling
        assert await ref.ask(Lend(key="fresh"), id="fresh") == "lent fresh"
        assert await ref.ask(Lend(key="late"), id="late") == "lent late"
