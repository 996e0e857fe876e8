"""The projection behind runs: how each was started, and how it ended.

The first start of a run id counts, and the first end after it. The projection of traces, which sees each decision once,
counts the decisions of a run.
"""

from __future__ import annotations

import json
import sqlite3

from loom.decisions.entries import RunEndedEntry, RunStartedEntry
from loom.journal.entry import Recorded
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["RunsProjection"]

_START = """
INSERT INTO runs (position, run_id, kind, by, identity_source, via, started_at_us, policies, parameters, seed, note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_END = """
UPDATE runs SET status = ?, ended_at_us = ?, ended_by = ?, ended_identity_source = ?, ended_via = ?, reason = ?,
  result = ?
WHERE run_id = ? AND status = 'open'
"""


class RunsProjection:
    """Keeps one row for each run."""

    name = "runs"
    version = 2
    kinds = frozenset({"run_started", "run_ended"})
    schema = script("loom.decisions", "runs.sql")
    tables = ("runs",)
    publish = (Published("runs"),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the table."""
        entry = recorded.entry
        if isinstance(entry, RunStartedEntry):
            policies = _json([policy.model_dump() for policy in entry.policies])
            seed = None if entry.seed is None else _json(entry.seed)
            who = (entry.by, entry.identity_source, entry.via)
            about = (*who, recorded.recorded_at_us, policies, _json(entry.parameters), seed, entry.note)
            view.execute(_START, (recorded.position, entry.run_id, entry.run_kind, *about))
        elif isinstance(entry, RunEndedEntry):
            result = None if entry.result is None else _json(entry.result)
            who = (entry.by, entry.identity_source, entry.via)
            ending = (entry.status, recorded.recorded_at_us, *who, entry.reason, result)
            view.execute(_END, (*ending, entry.run_id))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
