"""A trace: a decision read back with everything that is joined to it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.absent import is_none
from loom.clock import datetime_from_us
from loom.decisions.analysis import DecisionAnalysis
from loom.decisions.approvals import Approval
from loom.decisions.conduct import Departure, Verdict
from loom.decisions.decision import Decision, DecisionInput, Failure, ObservedSource, Relation
from loom.decisions.entries import DecisionJournalEntry, DecisionObservedEntry
from loom.decisions.model_costs import ModelCall
from loom.decisions.run import Run
from loom.decisions.waits import Wait
from loom.errors import EntryUnreadableError
from loom.identity import Identity
from loom.journal.entry import Recorded
from loom.projections import Row

__all__ = [
    "SUMMARY",
    "DecisionChain",
    "DecisionLineage",
    "DecisionSummary",
    "DecisionTrace",
    "DecisionWithBody",
    "Effect",
    "Enrichment",
    "OutcomeObserved",
    "PrecedentSeen",
    "Related",
]


SUMMARY = """
decision_id, position, journal, sequence, command_id, actor_type, actor_key, decision_type, is_exception, policy_name,
policy_version, policy_hash, rule, effect, recorded_at_us, decided_at_us, decided_by,
parent_decision_id, run_id, origin, replayed_from, confidence, rationale, outcome, verdict, departure, facets, status
"""
"""The columns of `trace_decisions` that a `DecisionSummary` is made of, and two for searches."""

_NOT_OF_A_ROW = frozenset({"recorded_at", "decided_at", "similarity"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class DecisionSummary(_Frozen):
    """One decision in a list: its position, its content in short, and the status of its turn.

    `status` is `open` while the turn goes on, `settled` when it ended with a reply, `failed` or `abandoned` if not.
    An observed decision, which has no policy, has the status of its import: `open` while that is unfinished.
    """

    decision_id: str
    position: int
    journal: str
    sequence: int
    command_id: str | None
    actor_type: str
    actor_key: str
    decision_type: str
    is_exception: bool
    policy_name: str | None
    policy_version: str | None
    rule: str | None
    effect: str | None
    recorded_at: datetime
    decided_at: datetime
    """When it was decided: for an observed one as its source claims, else the time of its record."""
    parent_decision_id: str | None
    run_id: str | None
    origin: Literal["original", "replayed", "observed"]
    replayed_from: str | None
    confidence: float | None
    rationale: str
    outcome: dict[str, JsonValue]
    verdict: Verdict | None
    """Its result, by its outcome, people's answers and its rule; none where none of them says."""
    departure: Departure | None
    """How it went against its own rule, if it did."""
    status: Literal["open", "settled", "failed", "abandoned"]
    similarity: float | None = None
    """The similarity (a cosine) of its rationale to the query, where similarity suggested it."""

    @classmethod
    def of(cls, row: Row) -> DecisionSummary:
        """Return the summary that a confirmed row holds."""
        plain: dict[str, Any] = {name: row[name] for name in DecisionSummary.model_fields if name not in _NOT_OF_A_ROW}
        plain["outcome"] = json.loads(plain["outcome"])
        plain |= {name: datetime_from_us(row[f"{name}_us"]) for name in ("recorded_at", "decided_at")}
        return DecisionSummary(**plain)


class DecisionWithBody(DecisionSummary):
    """One decision in a list with its full record; None where its body was pruned or erased."""

    decision: Decision | None


class PrecedentSeen(_Frozen):
    """An earlier decision that this one saw; `decision` is None where it is not, or no longer, in the view."""

    decision_id: str
    relation: Relation
    decision: DecisionSummary | None


class OutcomeObserved(_Frozen):
    """How the decision turned out, as a person or system observed it later."""

    position: int
    correct: bool | None
    actual: JsonValue
    feedback: str | None
    observed_by: str
    identity_source: str | None = None
    via: str | None = None
    observed_at: datetime
    recorded_at: datetime

    @property
    def identity(self) -> Identity:
        """Who observed it, and the source of the name."""
        return Identity(self.observed_by, self.identity_source, self.via)

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the observation that a confirmed row holds."""
        plain = {name: value for name, value in dict(row).items() if name != "decision_id"}
        for name in ("observed_at", "recorded_at"):
            plain[name] = datetime_from_us(plain.pop(f"{name}_us"))
        return cls(**{**plain, "actual": json.loads(plain["actual"])})


class Enrichment(_Frozen):
    """The result of a request to a critic: an analysis, or the reason why there is none. Costs are in US dollars."""

    status: Literal["enriched", "failed", "refused"]
    analysis: DecisionAnalysis | None
    problem: str | None
    cost_usd: float
    duration_ms: float | None
    recorded_at: datetime

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return what a confirmed row holds."""
        enriched = row["status"] == "enriched"
        return cls(
            status=row["status"],
            analysis=DecisionAnalysis.model_validate_json(row["said"]) if enriched else None,
            problem=None if enriched else row["said"],
            cost_usd=row["cost_micro_usd"] / 1_000_000,
            duration_ms=row["duration_ms"],
            recorded_at=datetime_from_us(row["recorded_at_us"]),
        )


class Effect(_Frozen):
    """An effect that the turn of a decision had, or intended; `position` is that of its intent.

    `unknown` means that there is no result: it may have happened or not. `before` says that it was intended before the
    decision was recorded.
    """

    position: int
    action: str
    key: str
    repeatable: bool
    before: bool
    status: Literal["performed", "failed", "unknown"]
    result: JsonValue
    failure: Failure | None
    intended_at: datetime
    ended_at: datetime | None
    duration_ms: float | None
    arguments: dict[str, JsonValue] | None = Field(default=None, exclude_if=is_none)
    under: str | None = Field(default=None, exclude_if=is_none)
    """The id of the approval under which it was performed."""
    failed_attempts: tuple[str, ...] = ()
    """The types of the errors of earlier attempts."""

    @classmethod
    def of(cls, row: Row, *, decided: int) -> Self:
        """Return what a row of the view holds, for a decision at a position."""
        ended, failed = row["ended_position"] is not None, row["type_name"] is not None
        return cls(
            position=row["position"],
            action=row["action"],
            key=row["key"],
            repeatable=bool(row["repeatable"]),
            before=row["position"] < decided,
            arguments=None if row["arguments"] is None else json.loads(row["arguments"]),
            under=row["under"],
            status="failed" if failed else "performed" if ended else "unknown",
            result=None if row["result"] is None else json.loads(row["result"]),
            failure=Failure(type_name=row["type_name"], message=row["message"]) if failed else None,
            intended_at=datetime_from_us(row["intended_at_us"]),
            ended_at=datetime_from_us(row["ended_at_us"]) if ended else None,
            duration_ms=row["duration_ms"],
            failed_attempts=tuple(json.loads(row["failed_attempts"] or "[]")),
        )


class DecisionTrace(DecisionSummary):
    """A decision with its requester, precedents, approvals, result, and place in the journal.

    `effects` are those of its turn, in order; `effects_left_out` is the number of further ones. `schema_version` is
    that of its entry.
    """

    by: str | None
    identity_source: str | None = None
    via: str | None = None
    command_type: str | None
    correlation_id: str | None
    entry_hash: str
    schema_version: int
    decision: Decision
    source: ObservedSource | None = None
    """Where an observed decision was read."""
    decided_by: str | None = None
    decided_identity_source: str | None = None
    decided_via: str | None = None
    precedents: tuple[PrecedentSeen, ...]
    approvals: tuple[Approval, ...]
    effects: tuple[Effect, ...]
    effects_left_out: int
    model_calls: tuple[ModelCall, ...] = ()
    """The calls of models of its turn that were made before it."""
    waits: tuple[Wait, ...] = ()
    """The waits of its turn that began before it."""
    enrichments: tuple[Enrichment, ...]
    outcomes: tuple[OutcomeObserved, ...]
    children: tuple[str, ...]
    replays: tuple[str, ...]
    run: Run | None = None
    """The run that it belongs to, if that was started in this workspace."""
    divergence: str | None = None
    """How its turn differs from its journal, if the turn is stuck for that reason."""

    @property
    def requester(self) -> Identity | None:
        """Who asked for it, and the source of the name; None where no person was named."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)

    @property
    def decider(self) -> Identity | None:
        """Who made an observed decision, as its source claims; None where it does not say, and for any other."""
        by, source, via = self.decided_by, self.decided_identity_source, self.decided_via
        return None if by is None else Identity(by, source, via)

    @property
    def context(self) -> tuple[DecisionInput, ...]:
        """The look-ups that it depends on."""
        return self.decision.inputs

    @staticmethod
    def decision_in(recorded: Recorded) -> Decision:
        """Return the decision that an entry holds; raise `EntryUnreadableError` where none can be read."""
        entry = recorded.entry
        if not isinstance(entry, DecisionJournalEntry | DecisionObservedEntry):
            raise EntryUnreadableError(
                f"decision at position [{recorded.position}] is written in a way that cannot be read; expected one of "
                f"schema [{DecisionJournalEntry.schema_version}] at most: read it with the loom that wrote it"
            )
        return entry.decision


class Related(_Frozen):
    """A related decision, with its distance in generations."""

    depth: int
    decision: DecisionSummary


class DecisionChain(_Frozen):
    """What led to a decision, outermost first; the decision; what followed from it, nearest first.

    `cut` says that there are more than are shown.
    """

    ancestors: tuple[Related, ...]
    decision: DecisionSummary
    descendants: tuple[Related, ...]
    cut: bool = False


class DecisionLineage(_Frozen):
    """A decision among its replays: the original, its replays, their replays and so on, the same from any of them.

    `members` are all of them by generation, the original (generation 0) first. If the first member replays a decision
    that is not in this workspace, `missing` is the id of that one. `cut` says that there are more than are shown.
    """

    decision: DecisionSummary
    members: tuple[Related, ...]
    missing: str | None = None
    cut: bool = False

    @property
    def original(self) -> DecisionSummary:
        """The decision that all others replay, or the earliest one that is known here."""
        return self.members[0].decision

    @property
    def replays(self) -> tuple[Related, ...]:
        """All members but the original."""
        return self.members[1:]
