"""The entries that a trace joins: look-ups, evaluations, precedents, approvals, the decision, its run, its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from loom.absent import is_empty, is_none
from loom.decisions.approval_entries import (
    UNANSWERABLE,
    ApprovalAnsweredEntry,
    ApprovalEscalatedEntry,
    ApprovalRefusedEntry,
    ApprovalRequestedEntry,
    ends_approval,
    is_unanswerable,
)
from loom.decisions.decision import (
    REDACTED,
    ApprovalGiven,
    ApprovalReference,
    Decision,
    DecisionInput,
    Failure,
    ObservedSource,
)
from loom.decisions.run_entries import RunEndedEntry, RunEnding, RunKind, RunStartedEntry
from loom.journal.entry import Entry, PersonEntry, Recorded, ReferringEntry, StepReference
from loom.policies.evaluation import Evaluation

__all__ = [
    "DECISIONS",
    "UNANSWERABLE",
    "ApprovalAnsweredEntry",
    "ApprovalEscalatedEntry",
    "ApprovalRefusedEntry",
    "ApprovalRequestedEntry",
    "ContextGatheredEntry",
    "DecisionJournalEntry",
    "DecisionObservedEntry",
    "EvaluatedEntry",
    "Failure",
    "OutcomeObservedEntry",
    "PrecedentFound",
    "PrecedentReferencedEntry",
    "RunEndedEntry",
    "RunEnding",
    "RunKind",
    "RunStartedEntry",
    "approval_at",
    "ends_approval",
    "input_at",
    "is_unanswerable",
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ContextGatheredEntry(Entry):
    """A system was queried: the query, its result or failure, and the duration.

    Schema 2 has protected values: `protected` are their places in the result, as JSON pointers, and `protected_query`
    is what was kept of a query that says `[sealed]`, `[hashed]`, `[masked]` or `[dropped]`. `masked` are names that a
    circuit withheld. Schema 3 has the attempts that failed before: the types of their errors.
    """

    kind: ClassVar[str] = "context_gathered"
    schema_version: ClassVar[int] = 3
    is_referred_to: ClassVar[bool] = True

    system: str
    entity: str
    query: str
    relevance: str | None = None
    result: JsonValue = None
    failure: Failure | None = None
    retrieved_at: datetime
    duration_ms: float
    masked: tuple[str, ...] = ()
    protected: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    protected_query: JsonValue = Field(default=None, exclude_if=is_none)
    failed_attempts: tuple[str, ...] = Field(default=(), exclude_if=is_empty)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return an older body as it is: in schema 1 nothing is protected, in schema 2 nothing was repeated."""
        return body if version in (1, 2) else super().upcast(version, body)

    def as_input(self) -> DecisionInput:
        """Return the look-up as an input of a decision of its turn."""
        return DecisionInput(
            system=self.system,
            entity=self.entity,
            query=self.query,
            result=self.result,
            relevance=self.relevance,
            retrieved_at=self.retrieved_at,
            duration_ms=self.duration_ms,
            masked=self.masked,
            failure=self.failure,
            failed_attempts=self.failed_attempts,
        )


class EvaluatedEntry(Entry):
    """The policy version that is pinned for the turn judged facts. Its hash is in the entry's header.

    Schema 2 has the failed condition of a rule of a table as data, not only as text.
    """

    kind: ClassVar[str] = "evaluated"
    schema_version: ClassVar[int] = 2

    facts: dict[str, JsonValue]
    evaluation: Evaluation

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: it has no conditions."""
        return body if version == 1 else super().upcast(version, body)


class PrecedentFound(_Frozen):
    """One earlier decision as the precedent index showed it.

    `superseded` is `policy` where its policy version was no longer the adopted one, `overruled` where a later decision
    had overruled it, and None where it was still valid. `basis` and `similarity` (a cosine) are set where only its text
    was near to the query: then it is a suggestion and no precedent.
    """

    decision_id: str
    journal: str
    decision_type: str
    rationale: str
    outcome: dict[str, JsonValue]
    is_exception: bool
    recorded_at: datetime
    situation: str | None = None
    precedent: str | None = None
    superseded: Literal["policy", "overruled"] | None = None
    basis: Literal["suggested by similarity"] | None = None
    similarity: float | None = None

    def suggested(self, similarity: float) -> PrecedentFound:
        """Return the same decision, as a suggestion by similarity."""
        return self.model_copy(update={"basis": "suggested by similarity", "similarity": similarity})


class PrecedentReferencedEntry(Entry):
    """Earlier decisions were searched: the query, and the decisions that were found, or the failure.

    The index held the journal up to `position`, at least: later decisions may be missing. With `similar_to` the nearest
    matches were suggested, none with less than `min_similarity`. Schema 4 may have a situation that is made of sealed
    facts, sealed for their subjects.
    """

    kind: ClassVar[str] = "precedent_referenced"
    schema_version: ClassVar[int] = 4

    situation: str | None = None
    facets: dict[str, JsonValue] | None = None
    text: str | None = None
    found: tuple[PrecedentFound, ...] = ()
    failure: Failure | None = None
    position: int | None = None
    similar_to: str | None = None
    min_similarity: float | None = None
    sealed_situation: JsonValue = Field(default=None, exclude_if=is_none)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Upgrade a body of schema 1, which has no position of the index, to 2. Schema 3 adds similarity."""
        if version == 1:
            return {**body, "position": None}
        if version == 2:
            return {**body, "similar_to": None, "min_similarity": None}
        if version == 3:
            return body
        return super().upcast(version, body)


class DecisionJournalEntry(ReferringEntry):
    """A decision was made.

    Schema 2 has the failure of an input's look-up; earlier, that read as an empty result. Schema 3 has the source of
    the name of the person who answered a request. Schema 4 has the failed condition of a rule of a table. Schema 5
    refers to the look-ups and answers of its turn, where they are not given by name, and leaves out default values. A
    decision of an earlier schema keeps its body. Schema 6 may have its class sealed. Schema 7 may have an approval with
    changes among those that are given by name. Schema 8 names the other persons of a quorum there. Schema 9 may say how
    far the control journals had been folded.
    """

    kind: ClassVar[str] = "decision"
    schema_version: ClassVar[int] = 9
    leaves_out_defaults: ClassVar[bool] = True

    decision: Decision
    enrich: Literal["always", "never"] | None = None
    """Whether a critic is to analyse it, regardless of the modes."""
    controls: dict[str, int] | None = None
    """Control journal → the last sequence that the deciding process had folded, where several processes write.

    Standings and kill switches are control journals: a decision without a suspension's sequence did not know of it.
    """

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return an older body as it is: its missing fields are optional now."""
        return body if version in range(1, 9) else super().upcast(version, body)

    def references(self) -> tuple[StepReference, ...]:
        """Return the look-ups and answers that it refers to."""
        refers = self.decision.refers
        if refers is None:
            return ()
        return (*refers.inputs, *(StepReference(each.sequence, each.digest) for each in refers.approvals))

    def joined(self, steps: Mapping[int, Recorded]) -> Self:
        """Return it with its look-ups and answers filled in. `decision.refers` stays; missing ones are marked."""
        refers = self.decision.refers
        if refers is None:
            return self
        filled: dict[str, object] = {}
        if refers.inputs:
            filled["inputs"] = tuple(input_at(each, steps) for each in refers.inputs)
        if refers.approvals:
            filled["approvals"] = tuple(
                approval_at(each, steps[each.sequence]) for each in refers.approvals if each.sequence in steps
            )
        return self.model_copy(update={"decision": self.decision.model_copy(update=filled)})

    @model_validator(mode="after")
    def _as_it_may_be(self) -> DecisionJournalEntry:
        decision, refers = self.decision, self.decision.refers
        if decision.origin == "observed":
            raise ValueError("decision is observed; expected one of a turn or a replay: observed ones have a kind")
        if refers and ((refers.inputs and decision.inputs) or (refers.approvals and decision.approvals)):
            raise ValueError("decision refers to steps and repeats some; expected all of a list here, or all elsewhere")
        return self


def input_at(reference: StepReference, steps: Mapping[int, Recorded]) -> DecisionInput:
    """Return the look-up that is referred to; one that can no longer be read is marked as gone."""
    step = steps.get(reference.sequence)
    entry = None if step is None else step.entry
    if isinstance(entry, ContextGatheredEntry):
        return entry.as_input()
    return DecisionInput(system=REDACTED, entity=f"entry {reference.sequence}", query="", source="gone")


def approval_at(reference: ApprovalReference, step: Recorded) -> ApprovalGiven:
    """Return the answer that is referred to; of a pruned one, the part that the decision itself contains."""
    entry = step.entry
    if isinstance(entry, ApprovalAnsweredEntry):
        return entry.as_given(reference.approver, step.recorded_at)
    return ApprovalGiven(
        approval_id=REDACTED,
        approver=reference.approver,
        granted=reference.granted,
        by=REDACTED if reference.named else None,
        answered_at=step.recorded_at,
    )


class DecisionObservedEntry(PersonEntry):
    """A decision was made before loom was used, as a source says. Only imports write this entry.

    It has its own kind, so that code that acts on decisions does not act on history. Its header has the source's own
    id, with the name of the source, in place of a command id: a store accepts each once in a workspace. `decided_by` is
    the name that the source gives; it is always claimed.
    """

    kind: ClassVar[str] = "decision_observed"
    sources_since: ClassVar[int] = 1
    person: ClassVar[str] = "decided_by"

    decision: Decision
    source: ObservedSource
    decided_by: str | None = None

    @model_validator(mode="after")
    def _observed(self) -> DecisionObservedEntry:
        if self.decision.origin != "observed" or self.decision.sealed_class is not None:
            raise ValueError(f"decision is {self.decision.origin}; expected an observed one without a sealed class")
        return self


DECISIONS = frozenset({DecisionJournalEntry.kind, DecisionObservedEntry.kind})
"""The kinds that hold a decision: what was decided in a turn or a replay, and what is observed."""


class OutcomeObservedEntry(PersonEntry):
    """The outcome of a decision, observed later by a person or system. There may be several, in `loom/outcomes`."""

    kind: ClassVar[str] = "outcome_observed"
    schema_version: ClassVar[int] = 2
    person: ClassVar[str] = "observed_by"

    decision_id: str
    correct: bool | None
    actual: JsonValue = None
    feedback: str | None = None
    observed_by: str
    observed_at: datetime
