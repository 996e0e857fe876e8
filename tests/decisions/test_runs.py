"""Runs: started and ended once, listed with what was decided in them, and the same however their view came about."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.clock import datetime_from_us
from loom.decisions import (
    RUN_JOURNAL,
    DecisionJournalEntry,
    PolicyReference,
    Run,
    RunEndedEntry,
    RunStartedEntry,
    RunsView,
    TracesProjection,
)
from loom.errors import AdmissionError, InvalidNameError, PolicyNotRegisteredError, RunConflictError, RunNotFoundError
from loom.identity import Identity
from loom.journal import Entry, Recorded
from loom.projections.sql import statements
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, discount
from tests.actors.support import entries, kinds, opened
from tests.projections.journals import decision
from tests.projections.reading import Asked, asked
from tests.projections.tampering import tamper


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with opened(tmp_path) as loom:
        yield loom


DECIDE = Carry(program=[Do(verb="decide", key="a")])

# --- starting and ending --------------------------------------------------------------------------


async def test_a_run_says_what_it_was_started_with_and_how_it_ended(loom: Loom) -> None:
    version = await loom.policies.register(discount, by="ana")
    started = await loom.runs.start(
        kind="simulation",
        policies=[version.version],
        parameters={"personas": 3, "rate": 0.5},
        seed=7,
        by="ana",
        note="first try",
    )
    assert (started.kind, started.status, started.open, started.by) == ("simulation", "open", True, "ana")
    assert [(each.name, each.hash) for each in started.policies] == [("test-discount", version.hash)]
    assert (started.parameters, started.seed, started.note) == ({"personas": 3, "rate": 0.5}, 7, "first try")
    assert (started.ended_at, started.duration_s, started.result) == (None, None, None)
    assert await loom.runs.get(started.run_id) == started

    ended = await loom.runs.end(started.run_id, status="failed", reason="no more", result={"done": 2}, by="rosa")
    assert (ended.status, ended.reason, ended.result, ended.ended_by) == ("failed", "no more", {"done": 2}, "rosa")
    assert ended.duration_s is not None
    assert ended.duration_s >= 0
    assert await loom.runs.get(started.run_id) == ended
    assert await kinds(loom, RUN_JOURNAL) == ["run_started", "run_ended"]


async def test_a_second_run_with_the_same_parameters_is_a_second_run(loom: Loom) -> None:
    first = await loom.runs.start(parameters={"n": 1}, seed=1)
    second = await loom.runs.start(parameters={"n": 1}, seed=1)
    assert first.run_id != second.run_id
    assert [run.run_id for run in await loom.runs.find()] == [second.run_id, first.run_id]


async def test_starting_a_run_again_with_equal_content_gives_the_run_there_is(loom: Loom) -> None:
    given: dict[str, Any] = {"run_id": "r", "kind": "replay", "parameters": {"a": 1, "b": 2}, "seed": "s", "note": "n"}
    first = await loom.runs.start(**given)
    again = await loom.runs.start(**{**given, "parameters": {"b": 2, "a": 1}})
    assert again == first
    await loom.runs.end("r", result=1)
    assert (await loom.runs.start(**given)).status == "completed"
    assert len(await entries(loom, RUN_JOURNAL)) == 2


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"kind": "simulation"}, "run_kind"),
        ({"parameters": {"n": 1.0}}, "parameters"),
        ({"parameters": {"n": True}}, "parameters"),
        ({"seed": "7"}, "seed"),
        ({"seed": None, "note": None}, "seed, note"),
        ({"by": "rosa"}, "by"),
        ({"policies": ["test-discount"]}, "policies"),
    ],
)
async def test_starting_a_run_again_with_other_content_is_refused(
    loom: Loom, change: dict[str, Any], differing: str
) -> None:
    given: dict[str, Any] = {"run_id": "r", "parameters": {"n": 1}, "seed": 7, "note": "n", "by": "ana"}
    await loom.runs.start(**given)
    if "policies" in change:
        change = {"policies": [(await loom.policies.register(discount, by="ana")).hash]}
    with pytest.raises(RunConflictError, match=rf"\[r\] was started before, with another \[{differing}\]"):
        await loom.runs.start(**{**given, **change})
    assert len(await entries(loom, RUN_JOURNAL)) == 1


async def test_a_run_ends_once_and_saying_the_same_again_changes_nothing(loom: Loom) -> None:
    run = await loom.runs.start()
    ended = await loom.runs.end(run.run_id, result={"n": 1})
    assert await loom.runs.end(run.run_id, result={"n": 1}) == ended
    with pytest.raises(RunConflictError, match=r"has ended as \[completed\], with another \[status, reason, result\]"):
        await loom.runs.end(run.run_id, status="abandoned", reason="enough")
    assert len(await entries(loom, RUN_JOURNAL)) == 2


async def test_those_who_start_or_end_a_run_at_once_start_and_end_it_once(loom: Loom) -> None:
    started = await asyncio.gather(*(loom.runs.start(run_id="r", seed=1) for _ in range(8)))
    assert set(map(repr, started)) == {repr(started[0])}
    said = await asyncio.gather(*(loom.runs.end("r", result=n % 2) for n in range(8)), return_exceptions=True)
    assert sum(isinstance(each, RunConflictError) for each in said) == 4
    assert await kinds(loom, RUN_JOURNAL) == ["run_started", "run_ended"]


async def test_a_run_that_nobody_ended_is_open_after_a_restart_and_may_be_ended_then(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        run = await loom.runs.start(seed=1)
    async with opened(tmp_path) as loom:
        (found,) = await loom.runs.find(status="open")
        assert found == run
        await loom.runs.end(run.run_id, status="abandoned", reason="its process died", by="rosa")
        assert await loom.runs.find(status="open") == ()
        assert (await loom.runs.get(run.run_id)).ended_by == "rosa"


async def test_what_cannot_be_written_starts_no_run(loom: Loom) -> None:
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"parameters": {"x": float("nan")}}, AdmissionError),
        ({"parameters": {"x": object()}}, AdmissionError),
        ({"seed": 1.5}, AdmissionError),
        ({"kind": "party"}, AdmissionError),
        ({"run_id": ""}, InvalidNameError),
        ({"run_id": "a\nb"}, InvalidNameError),
        ({"run_id": "a/b"}, InvalidNameError),
        ({"run_id": "a" * 201}, InvalidNameError),
        ({"by": " "}, InvalidNameError),
        ({"policies": ["policy_v9_00000000"]}, PolicyNotRegisteredError),
    ]
    for arguments, error in refused:
        with pytest.raises(error):
            await loom.runs.start(**arguments)
    assert await entries(loom, RUN_JOURNAL) == []


async def test_what_is_no_run_cannot_be_ended_or_read(loom: Loom) -> None:
    await loom.runs.start(run_id="ab1")
    await loom.runs.start(run_id="ab2")
    with pytest.raises(RunNotFoundError, match="is not known"):
        await loom.runs.end("ab")
    assert (await loom.runs.get("ab1")).run_id == "ab1"
    with pytest.raises(RunNotFoundError, match=r"\['ab'\] is ambiguous \[ab1, ab2, …\]"):
        await loom.runs.get("ab")
    for unknown in ("", "zz", "%", "ab\x00", "\ud800"):
        with pytest.raises(RunNotFoundError, match="is not known"):
            await loom.runs.get(unknown)


# --- what is decided in it ------------------------------------------------------------------------


async def test_a_run_counts_what_was_decided_in_it(loom: Loom) -> None:
    async with loom.runs.run(note="three by two") as run:
        for key in ("one", "two", "two"):
            await loom.actor(Interpreter, key).ask(DECIDE)
    await loom.actor(Interpreter, "one").ask(DECIDE)
    counted = await loom.runs.get(run.run_id)
    decided = await loom.traces.find(run_id=run.run_id)
    assert (counted.decisions, counted.actors, counted.status) == (3, 2, "completed")
    assert [(each.name, each.decisions) for each in counted.versions] == [("test-discount", 3)]
    assert (counted.first_decision_at, counted.last_decision_at) == (decided[-1].recorded_at, decided[0].recorded_at)
    assert (await loom.traces.get(decided[0].decision_id)).run == counted
    assert len(await loom.traces.find()) == 4


async def test_decisions_may_name_a_run_that_was_never_started_here(tmp_path: Path) -> None:
    async with asked(tmp_path) as loom:
        made = decision("one", run_id="elsewhere")
        await loom.write("discount-agent/a", DecisionJournalEntry(decision=made))
        assert (await loom.traces.get(made.decision_id)).run is None
        assert "elsewhere" in (await loom.traces.explain(made.decision_id)).text()
        assert await loom.runs.find() == ()
        await loom.write(RUN_JOURNAL, RunStartedEntry(run_id="elsewhere", run_kind="live", by="ana", note="late"))
        assert (await loom.runs.get("elsewhere")).decisions == 1
        told = (await loom.traces.explain(made.decision_id)).text()
        assert "elsewhere, a live run (open), started" in " ".join(told.split())
        assert "“late”" in told


async def test_runs_are_listed_newest_first_in_pages(loom: Loom) -> None:
    for number in range(5):
        await loom.runs.start(kind=("live", "replay")[number % 2], run_id=f"r{number}")
    first = await loom.runs.find(limit=2)
    await loom.runs.start(run_id="new")
    rest = await loom.runs.find(after=first[-1].position)
    assert [run.run_id for run in (*first, *rest)] == ["r4", "r3", "r2", "r1", "r0"]
    assert [run.run_id for run in await loom.runs.find(kind="replay")] == ["r3", "r1"]
    assert await loom.runs.find(kind="replay", status="completed") == ()


async def test_what_was_decided_in_runs_is_looked_up_by_their_ids(tmp_path: Path) -> None:
    asking: Any = Asking()
    async with asked(tmp_path) as loom:
        await _write(loom, RunStartedEntry(run_id="r", run_kind="live", by="ana"))
        asking.entries = loom.store
        assert [run.run_id for run in await RunsView(asking).find(after=10)] == ["r"]
    with closing(sqlite3.connect(":memory:")) as view:
        for statement in statements(TracesProjection.schema):
            view.execute(statement)
        plan = [row[3] for row in view.execute(f"EXPLAIN QUERY PLAN {asking.statement}", asking.parameters)]
    assert plan[0].startswith("SEARCH counted USING PRIMARY KEY")
    assert not [step for step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step and "seen" not in step]


class Asking:
    """Stands in for queries: notes what would be asked, and answers nothing."""

    async def fetch(self, statement: str, parameters: Sequence[object], *, names: Sequence[str]) -> list[sqlite3.Row]:
        self.statement, self.parameters = statement, parameters
        return []


async def test_how_a_run_ended_its_journal_says_and_no_view(tmp_path: Path) -> None:
    async with asked(tmp_path) as loom:
        await _write(loom, RunStartedEntry(run_id="r", run_kind="live", by="ana"))
        await _write(loom, RunEndedEntry(run_id="r", status="failed", by="ana", result={"n": 1}))
        before = await loom.runs.find()
        assert tamper(loom.store.files.views, "UPDATE runs SET status = 'completed', by = 'kim', result = '2'") == 1
        assert await loom.runs.find() == before
        assert tamper(loom.store.files.views, "DELETE FROM runs") == 1
        assert await loom.runs.find(status="failed") == before


# --- the view, against entries told one by one ----------------------------------------------------


def told(recorded: Sequence[Recorded]) -> list[Run]:
    """Return the runs that entries tell, counted in the plainest way, newest first."""
    runs: dict[str, Run] = {}
    decided: dict[str, Recorded] = {}
    for each in recorded:
        entry = each.entry
        if isinstance(entry, RunStartedEntry):
            runs.setdefault(entry.run_id, Run.begun(entry, position=each.position, at=each.recorded_at))
        elif isinstance(entry, RunEndedEntry) and entry.run_id in runs and runs[entry.run_id].open:
            runs[entry.run_id] = runs[entry.run_id].ended(entry, at=each.recorded_at)
        elif isinstance(entry, DecisionJournalEntry):
            decided.setdefault(entry.decision.decision_id, each)
    for run_id, run in runs.items():
        mine = [each for each in decided.values() if each.entry.decision.run_id == run_id]  # type: ignore[attr-defined]
        times = [each.recorded_at_us for each in mine]
        changes = {
            "decisions": len(mine),
            "actors": len({each.journal for each in mine}),
            "first_decision_at": datetime_from_us(min(times)) if times else None,
            "last_decision_at": datetime_from_us(max(times)) if times else None,
        }
        runs[run_id] = run.model_copy(update=changes)
    return sorted(runs.values(), key=lambda run: -run.position)


async def _viewed(history: Sequence[tuple[str, Entry]]) -> tuple[list[Run], list[Run], list[Run]]:
    with tempfile.TemporaryDirectory() as name:
        async with asked(Path(name)) as loom:
            for journal, entry in history:
                of_runs = isinstance(entry, RunStartedEntry | RunEndedEntry)
                await loom.write(RUN_JOURNAL if of_runs else journal, entry)
            kept = await loom.runs.find(limit=1_000)
            recorded = [each async for each in loom.store.read_all()]
        for views in Path(name).glob("journal.views.db*"):
            views.unlink()
        async with asked(Path(name)) as loom:
            rebuilt = await loom.runs.find(limit=1_000)
    return list(kept), list(rebuilt), told(recorded)


_RUNS = st.sampled_from(["r0", "r1", "r2"])
_OTHER = PolicyReference(name="discount", version="policy_v2_aaaaaaaa", hash="a" * 64)
_STARTS = st.builds(
    RunStartedEntry,
    run_id=_RUNS,
    run_kind=st.sampled_from(["live", "simulation", "replay"]),
    by=st.just("ana"),
    parameters=st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
    seed=st.one_of(st.none(), st.integers(0, 9), st.text(st.characters(codec="ascii", categories=["L"]))),
)
_ENDS = st.builds(
    RunEndedEntry,
    run_id=_RUNS,
    status=st.sampled_from(["completed", "failed", "abandoned"]),
    by=st.just("ana"),
    result=st.one_of(st.none(), st.integers(0, 9), st.lists(st.booleans(), max_size=2)),
)
_DECISIONS = st.builds(
    lambda n, run_id, other: DecisionJournalEntry(
        decision=decision(str(n), run_id=run_id, **({"policy": _OTHER} if other else {}))
    ),
    st.integers(0, 12),
    st.one_of(st.none(), _RUNS),
    st.booleans(),
)
_HISTORIES = st.lists(
    st.tuples(st.sampled_from(["discount-agent/a", "discount-agent/b"]), st.one_of(_STARTS, _ENDS, _DECISIONS)),
    min_size=5,
    max_size=30,
)


@settings(max_examples=40)
@given(_HISTORIES)
def test_the_view_of_runs_says_what_the_entries_say_kept_up_or_rebuilt(history: list[tuple[str, Entry]]) -> None:
    kept, rebuilt, plain = asyncio.run(_viewed(history))
    assert kept == rebuilt
    assert [run.model_copy(update={"versions": ()}) for run in kept] == plain
    assert [sum(each.decisions for each in run.versions) for run in kept] == [run.decisions for run in kept]


async def test_only_the_first_start_of_a_run_and_the_first_end_after_it_count(tmp_path: Path) -> None:
    async with asked(tmp_path) as loom:
        await _write(loom, RunEndedEntry(run_id="r", status="completed", by="ana"))
        await _write(loom, RunStartedEntry(run_id="r", run_kind="live", by="ana"))
        await _write(loom, RunStartedEntry(run_id="r", run_kind="replay", by="rosa"))
        assert [(run.kind, run.status, run.by) for run in await loom.runs.find()] == [("live", "open", "ana")]
        await _write(loom, RunEndedEntry(run_id="r", status="failed", by="ana", result={"n": 1}))
        await _write(loom, RunEndedEntry(run_id="r", status="completed", by="rosa"))
        (run,) = await loom.runs.find()
        assert (run.status, run.ended_by, run.result) == ("failed", "ana", {"n": 1})


async def _write(loom: Asked, entry: Entry) -> None:
    await loom.write(RUN_JOURNAL, entry)


async def test_a_run_is_gone_on_with_whichever_way_its_name_comes_in(loom: Loom) -> None:
    begun = await loom.runs.start(run_id="spring", by=Identity("kim", "api_key:7", "http"))
    assert str(begun.starter) == "kim (api_key:7, via http)"
    assert await loom.runs.start(run_id="spring", by="kim") == begun
    with pytest.raises(RunConflictError, match=r"\[by\]"):
        await loom.runs.start(run_id="spring", by="robin")
    ended = await loom.runs.end("spring", by=Identity("kim", "os_user:1000", "socket"))
    assert str(ended.ender) == "kim (os_user:1000, via socket)"
    assert await loom.runs.end("spring", by="kim") == ended


async def test_a_run_without_a_kind_is_live_and_goes_on_with_one_that_was_called_otherwise_before(loom: Loom) -> None:
    plain = await loom.runs.start(run_id="plain")
    before = await loom.runs.start(run_id="spring", kind="simulation", seed=1)

    assert plain.kind == "live"
    assert await loom.runs.start(run_id="spring", seed=1) == before
    with pytest.raises(RunConflictError, match="kind"):
        await loom.runs.start(run_id="spring", kind="live", seed=1)
