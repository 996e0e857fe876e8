"""Decisions from before loom was there, laid down as an import does: a run, observed entries, its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from loom import Loom
from loom.decisions import Decision, DecisionObservedEntry, ObservedSource, observed_decision_id
from loom.journal import Append, draft
from loom.precedents import EquivalenceRule

__all__ = ["Seen", "observe"]

_DIGEST = "d" * 64


class Seen(NamedTuple):
    """One decision as a source has it."""

    facts: dict[str, Any]
    outcome: dict[str, Any]
    decided_at: datetime
    decided_by: str | None = None
    context: Mapping[str, Any] = MappingProxyType({})


async def observe(
    loom: Loom,
    seen: Iterable[Seen],
    *,
    journal: str = "loan/all",
    source: str = "bank",
    rule: EquivalenceRule | None = None,
    ends: bool = True,
) -> list[str]:
    """Lay decisions down as observed ones, and return their ids; with a rule they are in its classes."""
    run = await loom.runs.start(kind="import", by="robin")
    head = await loom.store.head(journal)
    drafts, ids = [], []
    for number, each in enumerate(seen, head.sequence + 1):
        own_id = str(number)
        decision_id = observed_decision_id(
            workspace=loom.store.workspace, journal=journal, source=source, own_id=own_id
        )
        kind = None if rule is None else rule.classify(each.facts, each.outcome, context=each.context)
        decision = Decision(
            decision_id=decision_id,
            decision_type="loan",
            rationale="no reason was recorded",
            facts=each.facts,
            outcome=each.outcome,
            context=dict(each.context),
            origin="observed",
            run_id=run.run_id,
            decided_at=each.decided_at.astimezone(UTC),
            precedent_class=kind,
        )
        where = ObservedSource(name=source, own_id=own_id, digest=_DIGEST, row=number, row_digest=f"{number:064x}")
        entry = DecisionObservedEntry(decision=decision, source=where, decided_by=each.decided_by, via=where.via)
        drafts.append(draft(entry, command_id=f"{source}:{own_id}"))
        ids.append(decision_id)
    for begin in range(0, len(drafts), 500):
        await loom.store.append(Append(journal, head.sequence + begin, drafts[begin : begin + 500]))
    if ends:
        await loom.runs.end(run.run_id, by="robin", importing=True)
    return ids
