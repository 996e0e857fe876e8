"""Which run a command belongs to, whatever is nested, concurrent, sent on by turns, cut short or sent twice."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.decisions import RUN_JOURNAL, DecisionJournalEntry, current_run
from loom.errors import ActorFailedError, CommandConflictError, RunConflictError
from loom.journal import KINDS, CommandReceivedEntry, Recorded, draft
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, Lend, Lender, Program, Together, World
from tests.actors.support import Granting, entries, kinds, lay_down, opened, until


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with opened(tmp_path) as loom:
        yield loom


def decide(*keys: str) -> Carry:
    return Carry(program=[Do(verb="decide", key=key) for key in keys])


def runs_of(recorded: Sequence[Recorded]) -> dict[str, set[str | None]]:
    """Return the runs that commands and decisions name, by journal; what is loom's own is left out."""
    found: dict[str, set[str | None]] = {}
    for each in recorded:
        entry = each.entry
        if isinstance(entry, CommandReceivedEntry):
            found.setdefault(each.journal, set()).add(entry.run_id)
        elif isinstance(entry, DecisionJournalEntry):
            found.setdefault(each.journal, set()).add(entry.decision.run_id)
    return found


# --- belonging ------------------------------------------------------------------------------------


async def test_what_a_turn_of_a_run_asks_tells_and_decides_belongs_to_the_run(loom: Loom) -> None:
    program: Program = [Do(verb="ask", key="a"), Do(verb="tell", key="t"), Do(verb="decide", key="d")]
    async with loom.runs.run() as run:
        assert current_run(loom.store) == run.run_id
        await loom.actor(Interpreter, "within").ask(Carry(program=program))
    assert current_run(loom.store) is None
    await loom.actor(Interpreter, "after").ask(Carry(program=[Do(verb="ask", key="b"), Do(verb="decide", key="d")]))
    await until(lambda: _all_ended(loom))
    assert runs_of(await entries(loom)) == {
        "interpreter/within": {run.run_id},
        "lender/asked-a": {run.run_id},
        "lender/told-t": {run.run_id},
        "interpreter/after": {None},
        "lender/asked-b": {None},
    }


async def _all_ended(loom: Loom) -> bool:
    return not await loom.turns.unfinished()


async def test_a_turn_that_outlasts_its_run_still_belongs_to_it(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch slow")
    async with opened(tmp_path, world) as loom:
        actor = loom.actor(Interpreter, "one")
        async with loom.runs.run() as run:
            slow = Carry(program=[Do(verb="fetch", key="slow"), Do(verb="decide", key="d"), Do(verb="ask", key="a")])
            await actor.tell(slow, id="slow")
        world.let_go("fetch slow")
        await actor.ask(slow, id="slow")
        counted = await loom.runs.get(run.run_id)
        assert (counted.status, counted.decisions) == ("completed", 1)
        assert runs_of(await entries(loom, "lender/asked-a")) == {"lender/asked-a": {run.run_id}}


async def test_a_run_belongs_to_its_loom_and_to_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other, one.runs.run():
        assert current_run(other.store) is None
        await other.actor(Interpreter, "x").ask(decide("d"))
        async with other.runs.run() as theirs:
            assert current_run(one.store) is None
            await other.actor(Interpreter, "y").ask(decide("d"))
        assert runs_of(await entries(other)) == {"interpreter/x": {None}, "interpreter/y": {theirs.run_id}}


async def test_a_loom_that_is_opened_within_a_run_wakes_its_actors_outside_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as one, one.runs.run(), opened(tmp_path / "b") as other:
        await other.actor(Interpreter, "x").ask(Carry(program=[Do(verb="ask", key="a"), Do(verb="decide", key="d")]))
        assert runs_of(await entries(other)) == {"interpreter/x": {None}, "lender/asked-a": {None}}


class Nested:
    """What a test does: runs within runs, tasks beside each other, and commands in between."""

    def __init__(self, loom: Loom) -> None:
        self.loom = loom
        self.expected: dict[str, set[str | None]] = {}

    async def do(self, tree: Any, within: str | None) -> None:
        kind, below = tree
        if kind == "send":
            key = str(len(self.expected))
            self.expected[f"interpreter/{key}"] = {within}
            await self.loom.actor(Interpreter, key).ask(decide("d"))
        elif kind == "run":
            async with self.loom.runs.run() as run:
                await self.do(("each", below), run.run_id)
        elif kind == "fails":
            with pytest.raises(ZeroDivisionError):
                await self._fail(below)
        elif kind == "together":
            async with asyncio.TaskGroup() as tasks:
                for each in below:
                    tasks.create_task(self.do(each, within))
        else:
            for each in below:
                await self.do(each, within)

    async def _fail(self, below: Any) -> None:
        async with self.loom.runs.run() as run:
            await self.do(("each", below), run.run_id)
            raise ZeroDivisionError


TREES: st.SearchStrategy[Any] = st.recursive(
    st.just(("send", [])),
    lambda below: st.tuples(
        st.sampled_from(["run", "fails", "together", "each"]), st.lists(below, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=30)
@given(TREES)
def test_a_command_belongs_to_the_innermost_run_it_is_sent_in_however_runs_and_tasks_are_nested(tree: Any) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as name:
            async with opened(Path(name)) as loom:
                nested = Nested(loom)
                await nested.do(tree, None)
                assert runs_of(await entries(loom)) == nested.expected
                assert all(not run.open for run in await loom.runs.find(limit=1_000))

    asyncio.run(check())


# --- how a block ends -----------------------------------------------------------------------------


async def failing(loom: Loom, last: Callable[[], Awaitable[Any]], *, run_id: str = "r") -> None:
    """Do something within a run, and fail."""
    async with loom.runs.run(run_id=run_id):
        await last()
        raise ZeroDivisionError("no more")


async def test_an_exception_fails_the_run_and_goes_on(loom: Loom) -> None:
    with pytest.raises(ActorFailedError):
        async with loom.runs.run(by="ana") as run:
            await loom.actor(Lender, "x").ask(Lend(key="k", fails=True))
    failed = await loom.runs.get(run.run_id)
    assert (failed.status, failed.ended_by) == ("failed", "ana")
    assert failed.reason is not None
    assert failed.reason.startswith("ActorFailedError: actor [lender/x] failed")


async def test_a_run_that_fails_in_a_task_says_what_the_task_raised(loom: Loom) -> None:
    async def fail() -> None:
        async with loom.runs.run(run_id="r"), asyncio.TaskGroup() as tasks:
            tasks.create_task(loom.store.head("loom/runs"))
            tasks.create_task(failing(loom, loom.runs.find, run_id="inner"))

    with pytest.raises(ExceptionGroup):
        await fail()
    assert [(run.run_id, run.reason) for run in await loom.runs.find()] == [
        ("inner", "ZeroDivisionError: no more"),
        ("r", "ZeroDivisionError: no more"),
    ]


async def test_a_run_that_was_ended_within_is_left_as_it_is(loom: Loom) -> None:
    async with loom.runs.run() as run:
        await loom.runs.end(run.run_id, result={"n": 1}, by="ana")
    assert (await loom.runs.get(run.run_id)).result == {"n": 1}
    with pytest.raises(ZeroDivisionError):
        await failing(loom, lambda: loom.runs.end("r", status="abandoned", by="ana"))
    assert (await loom.runs.get("r")).status == "abandoned"
    assert len(await kinds(loom, RUN_JOURNAL)) == 4


async def test_what_failed_is_told_even_where_the_end_of_the_run_cannot_be_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(ZeroDivisionError):
            await failing(loom, loom.store.close)
    async with opened(tmp_path) as loom:
        assert (await loom.runs.get("r")).open


async def test_a_block_that_is_cancelled_leaves_its_run_open_and_the_same_run_goes_on(loom: Loom) -> None:
    began = asyncio.Event()
    given: dict[str, Any] = {"run_id": "r", "parameters": {"n": 2}, "seed": 1}

    async def first() -> None:
        async with loom.runs.run(**given):
            await loom.actor(Interpreter, "one").ask(decide("d"), id="1")
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(first())
    await began.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await loom.runs.get("r")).open
    async with loom.runs.run(**given):
        await loom.actor(Interpreter, "one").ask(decide("d"), id="1")
        await loom.actor(Interpreter, "two").ask(decide("d"), id="2")
    assert (await loom.runs.get("r")).decisions == 2
    with pytest.raises(RunConflictError, match=r"run \[r\] has ended as \[completed\]; expected one that is open"):
        async with loom.runs.run(**given):
            pytest.fail("it was entered")
    assert current_run(loom.store) is None


# --- the same command twice -----------------------------------------------------------------------


async def test_a_command_sent_again_in_its_run_or_in_none_gives_its_reply(loom: Loom) -> None:
    actor = loom.actor(Interpreter, "one")
    async with loom.runs.run():
        first = await actor.ask(decide("d"), id="c")
        assert await actor.ask(decide("d"), id="c") == first
    assert await actor.ask(decide("d"), id="c") == first
    assert (await kinds(loom, actor.journal)).count("decision") == 1


@pytest.mark.parametrize("sent_before", ["in a run", "in no run"])
@pytest.mark.parametrize("state", ["ended", "under way"])
async def test_a_command_that_came_before_is_refused_in_another_run_where_its_decisions_would_be_missing(
    tmp_path: Path, sent_before: str, state: str
) -> None:
    world = World()
    async with opened(tmp_path, world) as loom:
        if state == "under way":
            world.hold("fetch f")
        actor, command = loom.actor(Interpreter, "one"), Carry(program=[Do(verb="fetch", key="f")])
        if sent_before == "in a run":
            async with loom.runs.run(run_id="r1"):
                await actor.tell(command, id="c")
        else:
            await actor.tell(command, id="c")
        if state == "ended":
            await actor.ask(command, id="c")
        before = "in run [r1]" if sent_before == "in a run" else "in no run, not in [r2]"
        with pytest.raises(CommandConflictError) as raised:
            async with loom.runs.run(run_id="r2"):
                await actor.ask(command, id="c")
        assert f"came before {before}" in str(raised.value)
        assert (await kinds(loom, actor.journal)).count("command_received") == 1
        if state == "under way":
            world.let_go("fetch f")


# --- resuming -------------------------------------------------------------------------------------

PROGRAM: Program = [
    Do(verb="fetch", key="f"),
    Do(verb="decide", key="d1"),
    Together(branches=[[Do(verb="ask", key="a"), Do(verb="decide", key="d2")], [Do(verb="tell", key="t")]]),
    Do(verb="approve", key="vp"),
    Do(verb="decide", key="d3"),
]


async def _carried_out(directory: Path, program: Program, *, within: str | None) -> list[Recorded]:
    """Carry a program out, or let it be resumed, and return the journal when all turns have ended."""
    async with opened(directory, approver=Granting(), shutdown_grace_s=20) as loom:
        actor = loom.actor(Interpreter, "one")
        async with asyncio.timeout(30):
            if within is None:
                await actor.ask(Carry(program=program), id="c")
            else:
                async with loom.runs.run(run_id=within):
                    await actor.ask(Carry(program=program), id="c")
            await until(lambda: _all_ended(loom))
        return await entries(loom)


def said_of_runs(journal: Sequence[Recorded]) -> list[str]:
    said = [f"{each.kind} {each.journal} {each.command_id} {_run(each)}" for each in journal]
    return sorted(each for each in said if each.startswith(("command_received", "decision")))


def _run(recorded: Recorded) -> str | None:
    body: Any = recorded.body_json()
    run_id: str | None = body["decision"]["run_id"] if recorded.kind == "decision" else body.get("run_id")
    return run_id


async def test_a_turn_that_is_cut_short_anywhere_and_resumed_after_the_run_still_belongs_to_it(tmp_path: Path) -> None:
    whole = await _carried_out(tmp_path / "whole", PROGRAM, within="r")
    expected = said_of_runs(whole)
    assert len(expected) == 6
    assert all(each.endswith(" r") for each in expected)
    begin = next(each.position for each in whole if each.kind == "command_received")
    end = next(each.position for each in whole if each.kind == "turn_completed" and each.command_id == "c")
    for cut in range(begin, end):
        await lay_down(tmp_path / str(cut), whole[:cut])
        resumed = await _carried_out(tmp_path / str(cut), PROGRAM, within=None)
        assert said_of_runs(resumed) == expected, f"cut after position {cut}, {whole[cut - 1].kind}"
        assert [each.body for each in resumed[:cut]] == [each.body for each in whole[:cut]]


async def test_turns_of_a_run_are_driven_again_and_do_what_they_did(loom: Loom) -> None:
    async with loom.runs.run():
        await loom.actor(Interpreter, "one").ask(decide("d"), id="c")
    rehearsed = [each async for each in loom.replay.verify("interpreter/one")]
    assert [(each.command_id, each.verdict) for each in rehearsed] == [("c", "same")]


# --- what is written ------------------------------------------------------------------------------


def test_a_command_without_a_run_is_written_as_it_always_was() -> None:
    entry = CommandReceivedEntry(command_type="T", payload={"a": 1}, by="ana", correlation_id="c", waiting=("x/y",))
    assert draft(entry).body == (
        b'{"step":null,"identity_source":"claimed","command_type":"T","payload":{"a":1},"by":"ana","correlation_id":"c","causation_id":null,'
        b'"waiting":["x/y"]}'
    )


def test_a_command_in_a_run_names_it_and_old_bodies_have_none() -> None:
    entry = CommandReceivedEntry(command_type="T", payload=None, correlation_id="c", run_id="r")
    body = draft(entry).body
    assert json.loads(body)["run_id"] == "r"
    assert KINDS.decode("command_received", 1, body) == entry
    old = KINDS.decode("command_received", 1, body.replace(b',"run_id":"r"', b""))
    assert isinstance(old, CommandReceivedEntry)
    assert old.run_id is None


@given(st.one_of(st.none(), st.text(min_size=1, max_size=20).filter(str.isprintable)))
def test_what_is_written_of_a_command_is_read_back_as_it_was(run_id: str | None) -> None:
    entry = CommandReceivedEntry(command_type="T", payload=None, correlation_id="c", run_id=run_id)
    body = draft(entry).body
    assert KINDS.decode("command_received", CommandReceivedEntry.schema_version, body) == entry
    assert (b'"run_id"' in body) == (run_id is not None)
