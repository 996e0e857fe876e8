"""The projection behind traces: one row for each decision and each outcome observed, and counts for each run."""

from __future__ import annotations

import json
import sqlite3

from loom.clock import us_from_datetime
from loom.decisions.conduct import departure_of, verdict_of
from loom.decisions.decision import PolicyReference
from loom.decisions.entries import DecisionJournalEntry, OutcomeObservedEntry
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry
from loom.projections.sql import script

__all__ = ["TracesProjection"]

_DECIDE = """
INSERT INTO trace_decisions
SELECT ?, ?, ?, ?, ?, turn.command_type, turn.by, turn.correlation_id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
  ?, ?, ?, ?, ?, ?, ?
FROM (SELECT 1) LEFT JOIN trace_turns AS turn ON turn.journal = ? AND turn.command_id = ?
WHERE true
ON CONFLICT DO NOTHING
"""
_KEEP = "INSERT INTO trace_bodies VALUES (?, ?, ?)"
_RECEIVE = "INSERT INTO trace_turns VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_END = "UPDATE trace_decisions SET status = ? WHERE journal = ? AND command_id = ? AND status = 'open'"
_FORGET = "DELETE FROM trace_turns WHERE journal = ? AND command_id = ?"
_OBSERVE = "INSERT INTO trace_outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

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

_ENDINGS = {"turn_completed": "settled", "turn_failed": "failed", "turn_abandoned": "abandoned"}


class TracesProjection:
    """Keeps every decision with what its turn came to, and every outcome that was observed."""

    name = "traces"
    version = 3
    kinds = frozenset({"command_received", "decision", "outcome_observed", *_ENDINGS})
    schema = script("loom.decisions", "traces.sql")
    tables = (
        "trace_decisions", "trace_bodies", "trace_turns", "trace_outcomes", "trace_versions", "trace_runs",
        "trace_run_versions", "trace_run_actors",
    )  # fmt: skip

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        ending = _ENDINGS.get(recorded.kind)
        if ending is not None:
            view.execute(_END, (ending, recorded.journal, recorded.command_id))
            view.execute(_FORGET, (recorded.journal, recorded.command_id))
            return
        entry = recorded.entry
        if isinstance(entry, CommandReceivedEntry) and recorded.command_id is not None:
            about = (entry.command_type, entry.by, entry.correlation_id)
            view.execute(_RECEIVE, (recorded.journal, recorded.command_id, *about))
        elif isinstance(entry, DecisionJournalEntry):
            if view.execute(_DECIDE, _row(recorded, entry)).rowcount:
                view.execute(_KEEP, (recorded.position, recorded.schema_version, recorded.body))
                view.execute(_VERSION, (entry.decision.policy.hash, entry.decision.policy.version))
                if entry.decision.run_id is not None:
                    _count(recorded, entry.decision.run_id, entry.decision.policy, view)
        elif isinstance(entry, OutcomeObservedEntry):
            correct = None if entry.correct is None else int(entry.correct)
            actual = json.dumps(entry.actual, ensure_ascii=False, sort_keys=True)
            view.execute(
                _OBSERVE,
                (
                    recorded.position, entry.decision_id, correct, actual, entry.feedback, entry.observed_by,
                    us_from_datetime(entry.observed_at), recorded.recorded_at_us,
                ),
            )  # fmt: skip


def _count(recorded: Recorded, run_id: str, policy: PolicyReference, view: sqlite3.Connection) -> None:
    """Count a decision towards its run."""
    new = view.execute(_RUN_ACTOR, (run_id, recorded.journal)).rowcount
    version = (policy.name, policy.version, policy.hash)
    view.execute(_RUN_VERSION, (run_id, *version, recorded.position))
    view.execute(_RUN, (run_id, new, recorded.recorded_at_us, recorded.recorded_at_us))


def _row(recorded: Recorded, entry: DecisionJournalEntry) -> tuple[object, ...]:
    decision = entry.decision
    kind = decision.precedent_class
    actor_type, _, actor_key = recorded.journal.partition("/")
    return (
        recorded.position, decision.decision_id, recorded.journal, recorded.sequence, recorded.command_id,
        actor_type, actor_key, decision.decision_type, int(decision.is_exception),
        decision.policy.name, decision.policy.version, decision.policy.hash, decision.policy.rule,
        None if decision.evaluation is None else decision.evaluation.effect,
        recorded.recorded_at_us, recorded.entry_hash, decision.parent_decision_id, decision.run_id, decision.origin,
        decision.replayed_from, decision.confidence, decision.rationale,
        None if kind is None else kind.situation, None if kind is None else kind.precedent,
        json.dumps(decision.outcome, ensure_ascii=False), verdict_of(decision), departure_of(decision),
        "settled" if recorded.command_id is None else "open",
        recorded.journal, recorded.command_id,
    )  # fmt: skip
