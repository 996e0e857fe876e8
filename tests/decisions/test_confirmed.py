"""What is shown of a decision is what its entry says: a forged row of the views is left out, or refused by name."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loom.clock import datetime_from_us
from loom.decisions import (
    DecisionJournalEntry,
    EnrichmentEntry,
    OutcomeObservedEntry,
    PrecedentReference,
    TracesProjection,
)
from loom.decisions.analysis import DecisionAnalysis, RiskAssessment
from loom.errors import DecisionNotFoundError, ErasedError, ViewsDifferError
from loom.identity import derived_id
from loom.journal import PrunedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.projections.sql import statements
from tests.projections.journals import MOMENT, command, decision, open_store, whole_turn, write
from tests.projections.reading import Asked, asked
from tests.projections.tampering import tamper

JOURNAL = "discount-agent/acme"
FORGED: dict[str, object] = {"INTEGER": 77, "TEXT": "forged", "REAL": 0.25, "BLOB": b"forged"}


def id_of(name: str) -> str:
    return derived_id("test", name)


def decided(name: str, **changes: object) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name, **changes))


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


async def changed(loom: Asked, statement: str, parameters: Sequence[object] = ()) -> None:
    """Change views that are up to date."""
    await loom.traces.find()
    assert tamper(loom.store.files.views, statement, parameters) > 0


def columns_of(table: str) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as view:
        for statement in statements(TracesProjection.schema):
            view.execute(statement)
        return {row[1]: row[2] for row in view.execute(f"PRAGMA table_info({table})")}


SHOWN = [name for name in columns_of("trace_decisions") if name not in ("position", "situation", "precedent")]
"""What of a row is shown or looked for; nothing reads the two classes out of this table."""
SENT = ("command_type", "by", "identity_source", "via", "correlation_id")
"""What only the trace of one decision shows."""


@pytest.mark.parametrize("column", SHOWN)
async def test_a_row_that_was_changed_is_neither_listed_nor_shown(loom: Asked, column: str) -> None:
    await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    await loom.write(JOURNAL, *whole_turn("beta"), turn="u")
    before = await loom.traces.find()
    trace = await loom.traces.get(id_of("beta"))
    forged = {"decision_id": "f" * 64}.get(column, FORGED[columns_of("trace_decisions")[column]])
    await changed(loom, f"UPDATE trace_decisions SET {column} = ? WHERE position = 7", [forged])
    found = await loom.traces.find()
    assert found == (before if column in SENT else before[:1])
    wanted = "f" * 64 if column == "decision_id" else id_of("acme")
    with pytest.raises(ViewsDifferError, match=rf"row \[trace_decisions 7\].*{said_of(column)}.*loom verify --views"):
        await loom.traces.get(wanted)
    assert [*loom.queries.differences] == [f"trace_decisions 7: {said_of(column)}"]
    assert await loom.traces.get(id_of("beta")) == trace


def said_of(column: str) -> str:
    return "its turn is settled" if column == "status" else f"other than its entry in {column}"


async def test_a_decision_that_nobody_made_is_not_listed_and_is_refused(loom: Asked) -> None:
    await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    names = ", ".join(name for name in columns_of("trace_decisions") if name not in ("position", "decision_id"))
    for position in (3, 999):  # at an entry of another kind, and at none
        await changed(
            loom,
            f"INSERT INTO trace_decisions (position, decision_id, {names}) SELECT ?, ?, {names} FROM trace_decisions "
            "WHERE position = 7",
            [position, f"{position}" * 10],
        )
        await changed(
            loom, "DELETE FROM trace_decisions WHERE position NOT IN (7, ?)", [position]
        ) if position == 999 else None
        with pytest.raises(ViewsDifferError, match="there is no decision at its position"):
            await loom.traces.get(f"{position}" * 10)
    assert [each.decision_id for each in await loom.traces.find()] == [id_of("acme")]


async def test_what_a_view_hides_is_not_there(loom: Asked) -> None:
    await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    await loom.write(JOURNAL, *whole_turn("beta"), turn="u")
    await changed(loom, "DELETE FROM trace_decisions WHERE position = 7")
    assert [each.decision_id for each in await loom.traces.find()] == [id_of("beta")]
    with pytest.raises(DecisionNotFoundError):
        await loom.traces.get(id_of("acme"))


async def test_a_turn_has_the_status_that_the_journal_says_whatever_the_view_says(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), decided("acme"), turn="t")
    await changed(loom, "UPDATE trace_decisions SET status = 'settled'")
    assert await loom.traces.find() == ()
    await changed(loom, "UPDATE trace_decisions SET status = 'open'")
    await loom.write(JOURNAL, TurnFailedEntry(type_name="ValueError", message="no"), turn="t")
    await loom.traces.find()
    await changed(loom, "UPDATE trace_decisions SET status = 'open'")
    [found] = await loom.traces.find()
    assert found.status == "failed"
    assert (await loom.traces.get(id_of("acme"))).status == "failed"
    assert await loom.traces.find(status="open") == ()


async def test_a_decision_does_not_come_into_a_window_by_another_row(loom: Asked) -> None:
    for name in "abc":
        await loom.write(JOURNAL, decided(name))
    newest, *_, oldest = await loom.traces.find()
    await changed(loom, "UPDATE trace_decisions SET recorded_at_us = recorded_at_us + 3600000000 WHERE position = 2")
    since = newest.recorded_at
    assert [each.position for each in await loom.traces.find(since=since)] == [3]
    until = oldest.recorded_at + timedelta(microseconds=1)
    await changed(loom, "UPDATE trace_decisions SET recorded_at_us = 1 WHERE position = 2")
    assert [each.position for each in await loom.traces.find(until=until)] in ([1], [])


FILTERS: list[tuple[str, dict[str, Any]]] = [
    ("decision_type = 'x'", {"decision_type": "x"}),
    ("command_type = 'x'", {"command_type": "x"}),
    ("is_exception = 0", {"is_exception": False}),
    ("actor_type = 'x'", {"actor_type": "x"}),
    ("actor_key = 'x'", {"actor_key": "x"}),
    ("policy_name = 'x'", {"policy": "x"}),
    ("policy_version = 'policy_v2_aaaaaaaa'", {"policy_version": "policy_v2_aaaaaaaa"}),
    ("policy_hash = 'a'", {"policy_version": "9af01c22" * 8}),
    ("run_id = 'x'", {"run_id": "x"}),
    ("origin = 'replayed'", {"origin": "replayed"}),
    ("status = 'failed'", {"status": "failed"}),
]


@pytest.mark.parametrize(("change", "filters"), FILTERS, ids=lambda each: each if isinstance(each, str) else "")
async def test_no_filter_finds_what_does_not_match_it(loom: Asked, change: str, filters: dict[str, Any]) -> None:
    await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    await loom.traces.find()
    await changed(loom, f"UPDATE trace_decisions SET {change}")
    assert await loom.traces.find(**filters) == ()


async def test_relatives_are_those_that_say_so_themselves(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("root"), decided("child", parent_decision_id=id_of("root")))
    await loom.write(JOURNAL, decided("grandchild", parent_decision_id=id_of("child")), decided("stranger"))
    await loom.write("replay/r", decided("again", origin="replayed", replayed_from=id_of("root")))
    before = [
        await loom.traces.chain(id_of("child")),
        await loom.traces.lineage(id_of("root")),
        await loom.traces.get(id_of("root")),
    ]
    await changed(loom, "UPDATE trace_decisions SET parent_decision_id = ? WHERE position = 4", [id_of("root")])
    await changed(loom, "UPDATE trace_decisions SET replayed_from = ? WHERE position = 4", [id_of("root")])
    after = [
        await loom.traces.chain(id_of("child")),
        await loom.traces.lineage(id_of("root")),
        await loom.traces.get(id_of("root")),
    ]
    assert after == before
    await changed(loom, "UPDATE trace_decisions SET parent_decision_id = NULL WHERE position = 2")
    with pytest.raises(ViewsDifferError):
        await loom.traces.chain(id_of("child"))
    below = (await loom.traces.chain(id_of("root"))).descendants
    assert [each.decision.decision_id for each in below] == []


async def test_precedents_of_a_trace_are_those_that_there_are(loom: Asked) -> None:
    seen = PrecedentReference(decision_id=id_of("one"))
    await loom.write(JOURNAL, decided("one"), decided("two", precedents=(seen,)))
    await changed(loom, "UPDATE trace_decisions SET rationale = 'forged' WHERE position = 1")
    [found] = (await loom.traces.get(id_of("two"))).precedents
    assert (found.decision_id, found.decision) == (id_of("one"), None)


OUTCOME = OutcomeObservedEntry(decision_id=id_of("acme"), correct=True, observed_by="rosa", observed_at=MOMENT)
ANALYSIS = DecisionAnalysis(
    deeper_rationale="so", risk=RiskAssessment(level="low"), confidence=0.5, model="m", generated_at=MOMENT
)
ENRICHMENT = EnrichmentEntry(decision_id=id_of("acme"), analysis=ANALYSIS, cost_micro_usd=1, duration_ms=1.0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trace_outcomes SET correct = 0",
        "UPDATE trace_outcomes SET feedback = 'forged'",
        "UPDATE trace_outcomes SET observed_by = 'kim'",
        "INSERT INTO trace_outcomes SELECT 3, decision_id, correct, actual, feedback, observed_by, identity_source, "
        "via, observed_at_us, recorded_at_us FROM trace_outcomes",
        "UPDATE enrichments SET said = replace(said, 'so', 'forged')",
        "UPDATE enrichments SET cost_micro_usd = 0",
        "UPDATE enrichments SET status = 'failed'",
    ],
)
async def test_outcomes_and_analyses_are_those_that_were_recorded(loom: Asked, statement: str) -> None:
    await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    await loom.write("loom/outcomes", OUTCOME)
    await loom.write("loom/enrichment", ENRICHMENT)
    before = await loom.traces.get(id_of("acme"))
    assert (len(before.outcomes), len(before.enrichments)) == (1, 1)
    await changed(loom, statement)
    after = await loom.traces.get(id_of("acme"))
    assert set(map(str, after.outcomes)) <= set(map(str, before.outcomes))
    assert set(map(str, after.enrichments)) <= set(map(str, before.enrichments))
    assert len([*loom.queries.differences]) == 1


async def test_an_outcome_of_another_decision_is_not_joined(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("acme"), decided("beta"))
    await loom.write("loom/outcomes", OUTCOME)
    await loom.traces.find()
    await changed(loom, "UPDATE trace_outcomes SET decision_id = ?", [id_of("beta")])
    assert (await loom.traces.get(id_of("beta"))).outcomes == ()


async def test_what_was_pruned_is_not_shown_out_of_a_view_that_still_has_it(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await write(store, JOURNAL, *whole_turn("acme"), command_id="t")
    await write(store, "discount-agent/beta", *whole_turn("beta"), command_id="u")
    await store.close()
    async with asked(tmp_path) as loom:
        assert len(await loom.traces.find()) == 2
        pruned = PrunedEntry(journal=JOURNAL, first_sequence=1, last_sequence=8, by="ana", reason="asked to")
        await loom.write("loom/pruning", pruned)
        await loom.store.prune(JOURNAL, until=8)
        assert [each.journal for each in await loom.traces.find()] == ["discount-agent/beta"]
        with pytest.raises(ErasedError, match="read it in the archive"):
            await loom.traces.get(id_of("acme"))
        assert [*loom.queries.differences] == []


async def test_a_view_that_lags_behind_an_ending_is_no_forgery(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), decided("acme"), TurnCompletedEntry(reply=None), turn="t")
    await loom.traces.find()
    await changed(loom, "UPDATE trace_decisions SET status = 'open'")  # as it was before the ending came
    [found] = await loom.traces.find()
    assert found.status == "settled"
    assert [*loom.queries.differences] == []
    assert datetime_from_us(0) < found.recorded_at
