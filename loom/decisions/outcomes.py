"""Observed outcomes of decisions: reported later, any number of times, in their own journal that the trace joins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from loom.decisions.entries import OutcomeObservedEntry
from loom.decisions.traces import Traces
from loom.identity import By, Identity
from loom.journal.admission import json_value
from loom.journal.appending import append_last
from loom.journal.store import JournalStore, draft

__all__ = ["OUTCOME_JOURNAL", "Outcomes"]

OUTCOME_JOURNAL = "loom/outcomes"
"""The journal of observed outcomes."""


class Outcomes:
    """Records how decisions turned out."""

    def __init__(self, store: JournalStore, traces: Traces, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._traces = traces
        self._now = now
        self._lock = asyncio.Lock()

    async def observe(
        self,
        decision_id: str,
        *,
        correct: bool | None,
        by: By,
        actual: object = None,
        feedback: str | None = None,
    ) -> OutcomeObservedEntry:
        """Record how a decision turned out; `correct` is None where that is not known yet.

        `decision_id` may be an unambiguous beginning of an id; raises `DecisionNotFoundError` otherwise.
        """
        trace = await self._traces.get(decision_id)
        observed = OutcomeObservedEntry(
            decision_id=trace.decision.decision_id,
            correct=correct,
            actual=json_value(actual),
            feedback=feedback,
            **Identity.of(by).written("observed_by"),
            observed_at=self._now(),
        )
        async with self._lock:
            await append_last(self._store, OUTCOME_JOURNAL, (draft(observed),))
        return observed
