"""Finding decisions: every filter has its index, alone and with others, and pages never lose or repeat anything."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.clock import datetime_from_us, us_from_datetime
from loom.decisions import (
    Decision,
    DecisionJournalEntry,
    DecisionObservedEntry,
    DecisionSummary,
    ObservedSource,
    PolicyReference,
    Traces,
    TracesProjection,
)
from loom.decisions.finding import matching
from loom.journal import Entry, Recorded, draft
from loom.projections.sql import statements
from tests.projections.journals import MOMENT, command, decision
from tests.projections.reading import asked

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OTHER = PolicyReference(name="discount", version="policy_v2_aaaaaaaa", hash="a" * 64)

INDEXED: list[tuple[dict[str, Any], str]] = [
    ({"run_id": "r"}, "trace_by_run"),
    ({"policy_version": "policy_v1_9af01c22"}, "trace_by_version"),
    ({"policy_version": "a" * 64}, "trace_by_version"),
    ({"policy": "discount"}, "trace_by_policy"),
    ({"actor_type": "discount-agent"}, "trace_by_actor_type"),
    ({"actor_key": "acme"}, "trace_by_actor"),
    ({"actor_type": "discount-agent", "actor_key": "acme"}, "trace_by_actor"),
    ({"decision_type": "exception"}, "trace_by_type"),
    ({"command_type": "request_discount"}, "trace_by_command"),
    ({"is_exception": True}, "trace_exceptions"),
    ({"origin": "replayed"}, "trace_replayed"),
    ({"origin": "observed"}, "trace_observed"),
    ({"run_id": "r", "origin": "replayed", "status": "failed"}, "trace_by_run"),
    ({"status": "failed"}, "trace_failed"),
    ({"status": "abandoned"}, "trace_failed"),
]


class Asking:
    """Stands in for queries: notes what would be asked, and answers nothing."""

    async def fetch(self, statement: str, parameters: dict[str, object], *, names: Sequence[str]) -> list[sqlite3.Row]:
        self.statement, self.parameters = statement, parameters
        return []


async def plan(filters: dict[str, Any]) -> str:
    """Return how SQLite answers what `find` asks."""
    asking = Asking()
    queries: Any = asking
    await Traces(queries).find(**filters, after=10)
    with closing(sqlite3.connect(":memory:")) as view:
        for statement in statements(TracesProjection.schema):
            view.execute(statement)
        return "\n".join(row[3] for row in view.execute(f"EXPLAIN QUERY PLAN {asking.statement}", asking.parameters))


@pytest.mark.parametrize(
    ("filters", "index"), INDEXED, ids=lambda each: " ".join(each) if isinstance(each, dict) else each
)
async def test_a_filter_is_answered_from_its_index_in_order_without_sorting(
    filters: dict[str, Any], index: str
) -> None:
    said = await plan(filters)
    assert re.search(
        rf"SEARCH trace_decisions USING INDEX {index} |SCAN trace_decisions USING INDEX {index}\b", said
    ), said
    assert "TEMP B-TREE" not in said


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("rule", "trace_by_rule"),
        ("effect", "trace_by_effect"),
        ("requester", "trace_by_requester"),
        ("precedent_class", "trace_by_class"),
        ("run_id", "trace_by_run"),
        ("is_exception", "trace_exceptions"),
    ],
)
def test_any_filter_may_lead_and_the_others_check_its_rows(name: str, index: str) -> None:
    given = {"decision_type": "t", "actor_key": "k", name: name == "is_exception" or "x"}
    matches, parameters = matching(given, first=name)
    with closing(sqlite3.connect(":memory:")) as view:
        for statement in statements(TracesProjection.schema):
            view.execute(statement)
        query = f"EXPLAIN QUERY PLAN SELECT position FROM trace_decisions WHERE {matches} ORDER BY position DESC"
        said = "\n".join(row[3] for row in view.execute(query, parameters))
    assert f"INDEX {index}" in said
    assert "TEMP B-TREE" not in said


async def test_what_is_open_is_not_looked_for_among_everything() -> None:
    said = await plan({"status": "open"})
    assert "SEARCH trace_decisions USING INTEGER PRIMARY KEY (rowid=?)" in said, said
    assert "trace_decisions USING INDEX trace_open" in said or "USING COVERING INDEX trace_open" in said


async def test_bounds_of_time_are_bounds_of_position(tmp_path: Path) -> None:
    said = await plan({"since": NOW, "until": NOW + timedelta(days=1)})
    assert said.count("USING COVERING INDEX trace_by_time (recorded_at_us>?)") >= 2
    assert said.count("SEARCH trace_observed_days USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)") == 2
    assert "SEARCH trace_decisions USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in said
    assert "TEMP B-TREE" not in said


async def test_a_few_moments_of_many_are_found_without_looking_at_the_others() -> None:
    matches, parameters = matching({"since": MOMENT, "until": MOMENT + timedelta(microseconds=3)})
    looked = 0

    def count() -> int:
        nonlocal looked
        looked += 1
        return 0

    with closing(view_of(DecisionJournalEntry(decision=decision("0")), copies=3_000)) as view:
        view.set_progress_handler(count, 100)
        query = f"SELECT position FROM trace_decisions WHERE {matches} ORDER BY position DESC LIMIT 50"
        assert [row[0] for row in view.execute(query, parameters)] == [3, 2, 1]
    assert looked < 10


def view_of(entry: DecisionJournalEntry, *, copies: int) -> sqlite3.Connection:
    """Return a view that holds a decision many times, one microsecond apart."""
    view = sqlite3.connect(":memory:")
    for statement in statements(TracesProjection.schema):
        view.execute(statement)
    ready = draft(entry)
    at = us_from_datetime(MOMENT)
    TracesProjection().apply(
        Recorded(
            position=1,
            journal="a/b",
            sequence=1,
            kind=entry.kind,
            schema_version=1,
            command_id=None,
            epoch=1,
            recorded_at_us=at,
            clock_back_us=0,
            policy_hash=None,
            salt=ready.salt,
            body=ready.body,
            body_digest=ready.body_digest,
            entry_hash=b"",
        ),
        view,
    )
    first = view.execute("SELECT * FROM trace_decisions").fetchone()
    columns = [row[1] for row in view.execute("PRAGMA table_info(trace_decisions)")]
    for n in range(1, copies):
        other = {"position": 1 + n, "decision_id": str(n), "recorded_at_us": at + n}
        row = [other.get(name, value) for name, value in zip(columns, first, strict=True)]
        view.execute(f"INSERT INTO trace_decisions VALUES ({', '.join('?' * len(columns))})", row)
    return view


DAY = timedelta(days=1)


def dated(made: list[tuple[datetime | None, datetime]]) -> sqlite3.Connection:
    """Return a view of decisions by when they were made, as a source claims if one does, and recorded."""
    view = sqlite3.connect(":memory:")
    for statement in statements(TracesProjection.schema):
        view.execute(statement)
    for position, (claimed, recorded) in enumerate(made, 1):
        entry: Entry = DecisionJournalEntry(decision=decision(str(position)))
        if claimed is not None:
            source = ObservedSource(name="s", own_id=str(position), digest="d" * 64, row=position, row_digest="")
            seen = Decision(
                decision_id=str(position),
                decision_type="loan",
                rationale="so",
                origin="observed",
                decided_at=claimed,
                run_id="r",
            )
            entry = DecisionObservedEntry(decision=seen, source=source)
        ready = draft(entry)
        TracesProjection().apply(
            Recorded(
                position=position,
                journal="a/b",
                sequence=position,
                kind=entry.kind,
                schema_version=entry.schema_version,
                command_id=None,
                epoch=1,
                recorded_at_us=us_from_datetime(recorded),
                clock_back_us=0,
                policy_hash=None,
                salt=ready.salt,
                body=ready.body,
                body_digest=ready.body_digest,
                entry_hash=b"",
            ),
            view,
        )
    return view


HOURS = st.integers(0, 24 * 12)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.none() | HOURS, st.integers(0, 24 * 2)), max_size=12),
    st.tuples(st.none() | HOURS, st.none() | HOURS),
    st.sampled_from(["decided", "recorded"]),
)
def test_a_window_holds_what_was_made_in_it_whenever_that_was_recorded(
    made: list[tuple[int | None, int]], window: tuple[int | None, int | None], by_time: str
) -> None:
    """Time never goes back from one position to the next, and a claimed time is never later than the recorded one."""
    begin, at, dates = NOW - 6 * DAY, NOW, []
    for claimed, later in made:
        at += timedelta(hours=later)
        dates.append((None if claimed is None else min(begin + timedelta(hours=claimed), at), at))
    since, until = (None if hours is None else begin + timedelta(hours=hours) for hours in window)
    wanted = [
        position
        for position, (claimed, recorded) in enumerate(dates, 1)
        for when in [recorded if by_time == "recorded" or claimed is None else claimed]
        if (since is None or when >= since) and (until is None or when < until)
    ]
    matches, parameters = matching({"since": since, "until": until, "by_time": by_time})
    with closing(dated(dates)) as view:
        found = view.execute(f"SELECT position FROM trace_decisions WHERE {matches} ORDER BY position", parameters)
        assert [row[0] for row in found] == wanted


def test_a_window_among_observed_decisions_is_found_without_looking_at_the_others() -> None:
    began = NOW - timedelta(days=400)
    looked = 0

    def count() -> int:
        nonlocal looked
        looked += 1
        return 0

    with closing(dated([(began + n * DAY / 3, NOW) for n in range(900)])) as view:
        matches, parameters = matching({"since": began + 200 * DAY, "until": began + 201 * DAY})
        view.set_progress_handler(count, 100)
        query = f"SELECT position FROM trace_decisions WHERE {matches} ORDER BY position DESC LIMIT 50"
        assert [row[0] for row in view.execute(query, parameters)] == [603, 602, 601]
    assert looked < 10


# --- against a filter in Python -------------------------------------------------------------------

FILTERS: dict[str, st.SearchStrategy[Any]] = {
    "decision_type": st.sampled_from(["exception", "routing"]),
    "command_type": st.sampled_from(["request_discount", "nothing"]),
    "is_exception": st.booleans(),
    "actor_type": st.sampled_from(["discount-agent", "router"]),
    "actor_key": st.sampled_from(["a", "b"]),
    "policy": st.sampled_from(["discount", "other"]),
    "policy_version": st.sampled_from(["policy_v2_aaaaaaaa", "v2_aaaaaaaa", "a" * 64, "9af01c22" * 8, "b" * 64]),
    "run_id": st.sampled_from(["r0", "r1"]),
    "origin": st.sampled_from(["original", "replayed"]),
    "status": st.sampled_from(["open", "settled"]),
}
MADE = st.tuples(
    st.sampled_from(["discount-agent/a", "discount-agent/b", "router/a"]),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "decision_type": st.just("routing"),
            "run_id": st.sampled_from(["r0", "r1"]),
            "policy": st.just(OTHER),
            "facts": st.just({"industry": "retail", "percent": 5}),
            "origin": st.just("replayed"),
        },
    ),
)
WANTED = st.fixed_dictionaries({}, optional=FILTERS)


def matches(each: DecisionSummary, wanted: dict[str, Any], sent: set[str], hashes: dict[str, str]) -> bool:
    plain = {
        **each.model_dump(),
        "policy": each.policy_name,
        "command_type": "request_discount" if each.decision_id in sent else None,
    }
    version = wanted.get("policy_version")
    if version is not None and version not in _names_of(each, hashes):
        return False
    return all(plain[name] == value for name, value in wanted.items() if name != "policy_version")


def _names_of(each: DecisionSummary, hashes: dict[str, str]) -> set[str]:
    assert each.policy_version is not None
    return {each.policy_version, each.policy_version.removeprefix("policy_"), hashes[each.decision_id]}


async def _find(
    made: list[tuple[str, bool, dict[str, Any]]], wanted: dict[str, Any], size: int, bounds: tuple[int, int]
) -> tuple[list[DecisionSummary], list[DecisionSummary]]:
    """Return what is found page by page, and what ought to be."""
    sent, hashes = set[str](), dict[str, str]()
    with tempfile.TemporaryDirectory() as name:
        async with asked(Path(name)) as loom:
            receipts = []
            for n, (journal, in_turn, changes) in enumerate(made):
                entry = DecisionJournalEntry(decision=decision(str(n), **changes))
                before = (command(),) if in_turn else ()
                receipts.append(await loom.write(journal, *before, entry, turn=f"t{n}" if in_turn else None))
                hashes[entry.decision.decision_id] = entry.decision.under.hash
                sent |= {entry.decision.decision_id} if in_turn else set()
            since, until = (datetime_from_us(receipts[at % len(receipts)].recorded_at_us) for at in bounds)
            everything = await loom.traces.find(limit=1_000)
            found: list[DecisionSummary] = []
            while True:
                after = found[-1].position if found else None
                page = await loom.traces.find(**wanted, since=since, until=until, limit=size, after=after)
                found += page
                if len(page) < size:
                    break
    in_time = [each for each in everything if since <= each.recorded_at < until]
    return found, [each for each in in_time if matches(each, wanted, sent, hashes)]


@settings(max_examples=60)
@given(
    st.lists(MADE, min_size=1, max_size=15),
    WANTED,
    st.integers(1, 5),
    st.tuples(st.integers(0, 14), st.integers(0, 14)),
)
def test_pages_hold_what_matches_newest_first_and_nothing_twice(
    made: list[tuple[str, bool, dict[str, Any]]], wanted: dict[str, Any], size: int, bounds: tuple[int, int]
) -> None:
    found, expected = asyncio.run(_find(made, wanted, size, bounds))
    assert found == expected
    assert [each.position for each in found] == sorted({each.position for each in found}, reverse=True)
