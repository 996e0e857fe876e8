"""The decision itself: outcome, rule, facts, precedents, and approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from loom.absent import is_empty, is_none
from loom.errors import PolicyNotRegisteredError
from loom.identity import Identity, derived_id
from loom.journal.entry import StepReference
from loom.policies.evaluation import Evaluation

__all__ = [
    "REDACTED",
    "Alternative",
    "ApprovalGiven",
    "ApprovalReference",
    "Decision",
    "DecisionInput",
    "Failure",
    "NeedsInformation",
    "ObservedSource",
    "PolicyReference",
    "PrecedentClass",
    "PrecedentReference",
    "References",
    "Relation",
    "decision_id",
    "observed_decision_id",
]

Relation = Literal["followed", "distinguished", "overruled"]
"""The relation of a decision to an earlier one that it saw."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Failure(_Frozen):
    """A failure, in a form that is the same live and resumed."""

    type_name: str
    message: str


class DecisionInput(_Frozen):
    """One look-up that a decision depends on. `duration_ms` is the duration of the look-up.

    A look-up that failed has a `failure` and no result; older entries do not have this field. `handed_in` means that
    the value was given by the caller and not looked up in the journal: it has neither a time nor a duration. `gone`
    means that the entry of the look-up is pruned or missing. `failed_attempts` are the types of the errors before the
    last attempt; the entry of the look-up has them, and a decision that repeats its inputs does not.
    """

    system: str
    entity: str
    query: str
    result: JsonValue = None
    relevance: str | None = None
    retrieved_at: datetime | None = None
    duration_ms: float | None = None
    masked: tuple[str, ...] = ()
    failure: Failure | None = None
    source: Literal["look_up", "handed_in", "gone"] = "look_up"
    failed_attempts: tuple[str, ...] = Field(default=(), exclude_if=is_empty)


class Alternative(_Frozen):
    """An alternative outcome, and why it was rejected."""

    option: str
    rejected_because: str


class PolicyReference(_Frozen):
    """The policy version that judged a decision. Its full hash identifies it; the version id is for people."""

    name: str
    version: str
    hash: str
    rule: str | None = None


class PrecedentReference(_Frozen):
    """An earlier decision that this one saw, and the relation to it."""

    decision_id: str
    relation: Relation = "followed"


class PrecedentClass(_Frozen):
    """The two keys of a decision under an equivalence rule, all SHA-256 in hex: without and with the outcome."""

    rule: str
    situation: str
    precedent: str


class ApprovalGiven(_Frozen):
    """One answer to a request for approval, as the decision saw it."""

    approval_id: str
    approver: str
    granted: bool
    by: str | None
    identity_source: str | None = None
    via: str | None = None
    role: str | None = None
    answered_at: datetime
    comment: str | None = None
    changes: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=is_empty)
    """The values with which it was granted, where they differ from those that were asked for."""
    others: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    """The other persons who gave the same answer, where several were needed."""

    @property
    def identity(self) -> Identity | None:
        """Who answered, and the source of the name; None where the deadline answered."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)


class NeedsInformation(ApprovalGiven):
    """A question as the answer to a request for approval: it grants nothing. Find out, and ask again."""

    question: str


REDACTED = "(gone)"
"""The value in place of one from an entry that is pruned or missing."""


class ApprovalReference(NamedTuple):
    """The entry of an answer to a request for approval, with the parts that the judgement of the decision needs.

    `approver` is who was asked; `named` tells whether a person answered, and not the deadline.
    """

    sequence: int
    digest: str
    approver: str
    granted: bool
    named: bool


class References(_Frozen):
    """The entries of its turn that a decision refers to, instead of repeating their content."""

    inputs: tuple[StepReference, ...] = ()
    approvals: tuple[ApprovalReference, ...] = ()


class ObservedSource(_Frozen):
    """Where an observed decision was read: the name of the source, its own id there, the file and the row.

    `digest` is the SHA-256 of the file in hex, `row` counts from 1. `row_digest` is that of the row's canonical form: a
    row with the same own id and another digest has other content.
    """

    name: str
    own_id: str
    digest: str
    row: int = Field(ge=1)
    row_digest: str

    @property
    def via(self) -> str:
        """Which way a decider's name came in."""
        return f"import:{self.digest}:{self.row}"


class Decision(_Frozen):
    """A fact: this was decided, for this reason. Its later result is joined by its id, and never written here.

    An `observed` decision was made before loom was used, by people or by another program. It has no policy and no
    evaluation. `decided_at` is the time that its source claims; None where its entry has the only time.

    A decision refers to look-ups and answers of its own turn. In its written form they are only in `refers`, and
    `inputs` and `approvals` are empty. A decision that is read with everything joined to it has both.
    """

    decision_id: str
    decision_type: str = Field(min_length=1, max_length=64)
    rationale: str
    rationale_author: Literal["developer", "model", "human"] = "developer"
    reasoning: tuple[str, ...] = ()
    inputs: tuple[DecisionInput, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    policy: PolicyReference | None = Field(default=None, exclude_if=is_none)
    facts: dict[str, JsonValue] | None = None
    evaluation: Evaluation | None = None
    outcome: dict[str, JsonValue] = Field(default_factory=dict)
    precedents: tuple[PrecedentReference, ...] = ()
    precedent_class: PrecedentClass | None = None
    is_exception: bool = False
    exception_reason: str | None = None
    approvals: tuple[ApprovalGiven, ...] = ()
    context: dict[str, JsonValue] = Field(default_factory=dict)
    confidence: float | None = Field(default=None, ge=0, le=1)
    parent_decision_id: str | None = None
    causation_id: str | None = None
    run_id: str | None = None
    origin: Literal["original", "replayed", "observed"] = "original"
    replayed_from: str | None = None
    decided_at: datetime | None = Field(default=None, exclude_if=is_none)
    refers: References | None = Field(default=None, exclude_if=is_none)
    sealed_class: JsonValue = Field(default=None, exclude_if=is_none)
    """Its `precedent_class`, sealed for the subjects of the facts that it is made of; then that field is None."""

    @field_validator("rationale")
    @classmethod
    def _not_blank(cls, rationale: str) -> str:
        if not rationale.strip():
            raise ValueError("rationale is blank; expected a reason in a person's words: give the reason")
        return rationale

    @model_validator(mode="after")
    def _under_a_policy_or_observed(self) -> Decision:
        if self.origin == "observed":
            if self.policy is not None or self.evaluation is not None:
                raise ValueError("decision is observed and has a policy; expected neither policy nor evaluation")
        elif self.policy is None or self.decided_at is not None:
            raise ValueError("decision has no policy, or a time of its own; expected a policy: only imports do without")
        return self

    @property
    def under(self) -> PolicyReference:
        """The policy version it was judged under; raises `PolicyNotRegisteredError` for an observed decision."""
        if self.policy is None:
            raise PolicyNotRegisteredError(
                f"decision [{self.decision_id}] is observed and was judged under no policy; expected one of an actor: "
                "look at its origin first"
            )
        return self.policy

    def replace(self, **changes: Any) -> Decision:
        """Return a validated copy with some fields changed."""
        return Decision.model_validate({**self.model_dump(), **changes})


def decision_id(
    *, workspace: str, journal: str, command_id: str, decision_type: str, occurrence: int, policy_hash: str
) -> str:
    """Return the id of a decision, 64 hex digits. Running the same turn again gives the same id.

    The id contains everything that identifies a decision of a simulation: the persona is the key of the journal; the
    step is the decision type and its occurrence; the moment is the command, whose id is unique in a journal; and the
    policy version. A simulation that derives the command id from its run, seed, persona and step gets the same id each
    time. The clock is not part of the id (order comes from sequences), nor is the run: a journal accepts a command id
    once.
    """
    return derived_id("decision", workspace, journal, command_id, decision_type, str(occurrence), policy_hash)


def observed_decision_id(*, workspace: str, journal: str, source: str, own_id: str) -> str:
    """Return the id of an observed decision, 64 hex digits. Reading the same row again gives the same id."""
    return derived_id("observed", workspace, journal, source, own_id)
