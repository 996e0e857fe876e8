"""The projection behind traces: one row for each decision and each outcome observed, and counts for each run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from loom.clock import us_from_datetime
from loom.decisions.entries import DECISIONS, OutcomeObservedEntry, RunEndedEntry
from loom.decisions.imports import IMPORT_ENDS
from loom.decisions.rows import decided_at_us, decision_row, written_decision
from loom.decisions.traces_page import TracesPage
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry, TurnDivergedEntry
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["TracesProjection"]

_COLUMNS = (
    "position",
    "decision_id",
    "journal",
    "sequence",
    "command_id",
    "actor_type",
    "actor_key",
    "decision_type",
    "is_exception",
    "policy_name",
    "policy_version",
    "policy_hash",
    "rule",
    "effect",
    "recorded_at_us",
    "decided_at_us",
    "decided_by",
    "parent_decision_id",
    "run_id",
    "origin",
    "replayed_from",
    "confidence",
    "rationale",
    "situation",
    "precedent",
    "outcome",
    "verdict",
    "departure",
    "facets",
)
_DECIDE = f"""
INSERT INTO trace_decisions ({", ".join(_COLUMNS)}, status, command_type, by, identity_source, via, correlation_id)
SELECT :{", :".join(_COLUMNS)}, iif(:command_id IS NULL, 'settled', 'open'), turn.command_type, turn.by,
  turn.identity_source, turn.via, turn.correlation_id
FROM (SELECT 1) LEFT JOIN trace_turns AS turn ON turn.journal = :journal AND turn.command_id = :command_id
WHERE true
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants only
_WHOLE = f"""
INSERT INTO trace_decisions ({", ".join(_COLUMNS)}, status, command_type, by, identity_source, via, correlation_id)
VALUES (:{", :".join(_COLUMNS)}, :status, :command_type, :by, :identity_source, :via, :correlation_id)
ON CONFLICT DO NOTHING
"""  # noqa: S608
_RECEIVE = "INSERT INTO trace_turns VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_ABOUT = ("command_type", "by", "identity_source", "via", "correlation_id")
_END = "UPDATE trace_decisions SET status = ? WHERE journal = ? AND command_id = ? AND status = 'open'"
_IMPORTED = "UPDATE trace_decisions SET status = ? WHERE run_id = ? AND origin = 'observed' AND status = 'open'"
_LIFT = "UPDATE trace_decisions SET status = 'settled' WHERE journal = ? AND command_id = ? AND status = 'failed'"
_FORGET = "DELETE FROM trace_turns WHERE journal = ? AND command_id = ?"
_ANSWER = "INSERT INTO trace_answers VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_ANSWERED_BY = """
INSERT INTO trace_people SELECT ?, person FROM trace_answers WHERE journal = ? AND command_id = ?
"""
_PERSON = "INSERT INTO trace_people VALUES (?, ?)"
_FORGET_ANSWERS = "DELETE FROM trace_answers WHERE journal = ? AND command_id = ?"
_DIVERGE = "INSERT INTO trace_divergences VALUES (?, ?, ?, ?)"
_GO_ON = "DELETE FROM trace_divergences WHERE journal = ? AND command_id = ?"
_OBSERVE = "INSERT INTO trace_outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_DAY_US = 86_400_000_000
_OBSERVED_ON = "INSERT INTO trace_observed_days VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last"
_VERSION = "INSERT INTO trace_versions VALUES (?, ?) ON CONFLICT DO NOTHING"
_RUN_ACTOR = "INSERT INTO trace_run_actors VALUES (?, ?) ON CONFLICT DO NOTHING"
_RUN_VERSION = """
INSERT INTO trace_run_versions VALUES (?, ?, ?, ?, ?, 1)
ON CONFLICT DO UPDATE SET decisions = decisions + 1
"""
_RUN = """
INSERT INTO trace_runs VALUES (?, 1, ?, ?, ?)
ON CONFLICT DO UPDATE
SET decisions = decisions + 1, actors = actors + excluded.actors, last_at_us = excluded.last_at_us
"""

_ANSWERED = "approval_answered"
_LIFTED = "failure_lifted"
_ENDINGS = {"turn_completed": "settled", "turn_failed": "failed", "turn_abandoned": "abandoned"}


class TracesProjection:
    """Keeps every decision with the status of its turn, and every observed outcome."""

    name = "traces"
    version = 13
    kinds = frozenset(
        {
            "command_received",
            _ANSWERED,
            _LIFTED,
            "outcome_observed",
            "run_ended",
            "turn_diverged",
            "turn_resumed",
            *DECISIONS,
            *_ENDINGS,
        }
    )
    schema = script("loom.decisions", "traces.sql")
    tables = (
        "trace_decisions",
        "trace_turns",
        "trace_people",
        "trace_answers",
        "trace_outcomes",
        "trace_versions",
        "trace_runs",
        "trace_run_versions",
        "trace_run_actors",
        "trace_divergences",
        "trace_observed_days",
    )
    publish = (
        Published("trace_decisions", text=("rationale",), indexes=(("recorded_at_us",), ("decided_at_us",))),
        Published("trace_outcomes"),
    )

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind in ("turn_diverged", "turn_resumed", *_ENDINGS):
            view.execute(_GO_ON, (recorded.journal, recorded.command_id))
        if recorded.kind == _LIFTED:
            view.execute(_LIFT, (recorded.journal, recorded.command_id))
            return
        ending = _ENDINGS.get(recorded.kind)
        if ending is not None:
            view.execute(_END, (ending, recorded.journal, recorded.command_id))
            view.execute(_FORGET, (recorded.journal, recorded.command_id))
            view.execute(_FORGET_ANSWERS, (recorded.journal, recorded.command_id))
            return
        decision = written_decision(recorded)
        if decision is not None:
            _decide(recorded, decision, view)
            return
        if recorded.kind == _ANSWERED:
            said = recorded.plain or {}
            asks = said.get("question") is not None and not said.get("decides", True)  # and decides nothing
            person = None if asks else said.get("by")
            if person is not None and recorded.command_id is not None:
                view.execute(_ANSWER, (recorded.journal, recorded.command_id, person))
            return
        if recorded.kind == CommandReceivedEntry.kind:
            body = recorded.plain
            if body is not None and recorded.command_id is not None:
                view.execute(_RECEIVE, (recorded.journal, recorded.command_id, *[body.get(name) for name in _ABOUT]))
            return
        entry = recorded.entry
        if isinstance(entry, TurnDivergedEntry):
            view.execute(_DIVERGE, (recorded.position, recorded.journal, recorded.command_id, entry.in_words()))
        elif isinstance(entry, RunEndedEntry):
            view.execute(_IMPORTED, (IMPORT_ENDS[entry.status], entry.run_id))
        elif isinstance(entry, OutcomeObservedEntry):
            correct = None if entry.correct is None else int(entry.correct)
            actual = json.dumps(entry.actual, ensure_ascii=False, sort_keys=True)
            view.execute(
                _OBSERVE,
                (
                    recorded.position,
                    entry.decision_id,
                    correct,
                    actual,
                    entry.feedback,
                    entry.observed_by,
                    entry.identity_source,
                    entry.via,
                    us_from_datetime(entry.observed_at),
                    recorded.recorded_at_us,
                ),
            )

    def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
        """Fold entries into the tables, with the same result as `apply` for each of them."""

        def write(recorded: Recorded, decision: Mapping[str, Any], of_turn: Mapping[str, Any]) -> None:
            _decide(recorded, decision, view, of_turn=of_turn)

        TracesPage(view, apply=self.apply, write=write, about=_ABOUT, statuses=_ENDINGS).fold(page)


def _decide(
    recorded: Recorded,
    decision: Mapping[str, Any],
    view: sqlite3.Connection,
    *,
    of_turn: Mapping[str, Any] | None = None,
) -> None:
    """Write a decision; `of_turn` has the values from its turn, where they need not be looked up."""
    row = {**decision_row(recorded, decision), **(of_turn or {})}
    if not view.execute(_DECIDE if of_turn is None else _WHOLE, row).rowcount:
        return
    if of_turn is None and recorded.command_id is not None:  # a turn that was answered is folded entry by entry
        view.execute(_ANSWERED_BY, (recorded.position, recorded.journal, recorded.command_id))
    version = (row["policy_name"], row["policy_version"], row["policy_hash"])
    if row["origin"] == "observed":
        decided = decided_at_us(recorded, decision.get("decided_at"))
        view.execute(_OBSERVED_ON, (decided // _DAY_US, recorded.position, recorded.position))
        if row["decided_by"] is not None:
            view.execute(_PERSON, (recorded.position, row["decided_by"]))
    if row["policy_hash"] is not None:
        view.execute(_VERSION, (row["policy_hash"], row["policy_version"]))
    if row["run_id"] is not None:  # it counts towards its run
        new = view.execute(_RUN_ACTOR, (row["run_id"], recorded.journal)).rowcount
        if row["policy_hash"] is not None:
            view.execute(_RUN_VERSION, (row["run_id"], *version, recorded.position))
        view.execute(_RUN, (row["run_id"], new, recorded.recorded_at_us, recorded.recorded_at_us))
