"""Validation: one check after the other, the first that fails wins, each with a machine code. A registered policy.

The rule has one fact for every bound of a contract, `exceeded`. A floor is passed in it as a ceiling is, so that every
registered version of the rule keeps floors, too, also one that a person adopted before floors existed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import Field, JsonValue

from loom.gate.contract import ResponsibilityContract
from loom.gate.entries import Verdict
from loom.gate.proposal import PolicyProposal, is_number
from loom.policies import (
    Evaluation,
    Facts,
    Params,
    allow,
    case,
    deny,
    first_match,
    otherwise,
    policy,
    require_approval,
)

__all__ = [
    "Complaint",
    "GateFacts",
    "GateParams",
    "Validator",
    "bound_broken",
    "complaint_of",
    "gate_validation",
    "missing_number",
    "said_in_code",
]


class Complaint(NamedTuple):
    """What a validator of the user's own has to say: a machine code, why, and whether a person is to look at it."""

    code: str
    why: str
    escalate: bool = False


Validator: TypeAlias = Callable[[PolicyProposal, Mapping[str, JsonValue]], Complaint | None]
"""A pure check of a proposal in its context; None where there is nothing to complain about."""


class GateParams(Params):
    """How patient the gate is with a flow."""

    max_rejections: int = Field(3, ge=1, le=100)


class GateFacts(Facts):
    """Everything that validation looks at."""

    rejections: int
    schema_problem: str | None = None
    expired: bool = False
    standing: str = "ACTIVE"
    token_valid: bool = False
    policy_kind: str | None = None
    allowed_policy_types: tuple[str, ...] = ()
    confidence: float | None = None
    minimum_confidence: float = 0.0
    context_fresh: bool = False
    complaint: str | None = None
    complaint_escalates: bool = False
    exceeded: str | None = None
    exceeded_why: str | None = None


@policy(
    "gate-validation",
    GateParams(),
    examples=[
        GateFacts(rejections=3),
        GateFacts(
            rejections=0,
            token_valid=True,
            policy_kind="a",
            allowed_policy_types=("a",),
            confidence=0.5,
            context_fresh=True,
        ),
        GateFacts(
            rejections=0,
            token_valid=True,
            policy_kind="a",
            allowed_policy_types=("a",),
            confidence=0.5,
            context_fresh=True,
            exceeded="DISCOUNT_EXCEEDS_CONTRACT",
            exceeded_why="16 is over 15",
        ),
    ],
    description="whether a proposal is executed, refused or shown to a person",
)
def gate_validation(params: GateParams, facts: GateFacts) -> Evaluation:
    """Accept what no check complains about."""
    confidence = 0.0 if facts.confidence is None else facts.confidence
    return first_match(
        case(
            "reasoning-exhaustion",
            facts.rejections >= params.max_rejections,
            deny(),
            why=f"this flow was rejected {facts.rejections} times",
            why_not=f"this flow was rejected {facts.rejections} times, fewer than {params.max_rejections}",
        ),
        case(
            "schema-invalid",
            facts.schema_problem is not None,
            deny(),
            why=f"it cannot be read: {facts.schema_problem}",
            why_not="it is of the schema",
        ),
        case("ttl-expired", facts.expired, deny(), why="its time is over", why_not="it is in time"),
        case(
            "rbac-denied",
            facts.standing != "ACTIVE" or not facts.token_valid,
            deny(),
            why=f"the agent is {facts.standing}" if facts.standing != "ACTIVE" else "the session token is not its own",
            why_not="the agent is active and known by its token",
        ),
        case(
            "policy-type-not-allowed",
            facts.policy_kind not in facts.allowed_policy_types,
            deny(),
            why=f"{facts.policy_kind} is not in the contract",
            why_not=f"{facts.policy_kind} is in the contract",
        ),
        case(
            "confidence-too-low",
            confidence < facts.minimum_confidence,
            deny(),
            why=f"confidence {confidence} is under {facts.minimum_confidence}",
            why_not=f"confidence {confidence} is not under {facts.minimum_confidence}",
        ),
        case(
            "stale-context",
            not facts.context_fresh,
            deny(),
            why="it was made on another context",
            why_not="it was made on this context",
        ),
        case(
            "custom-escalates",
            facts.complaint is not None and facts.complaint_escalates,
            require_approval(),
            why=f"{facts.complaint}",
            why_not="no validator wants a person to look at it",
        ),
        case(
            "custom",
            facts.complaint is not None,
            deny(),
            why=f"{facts.complaint}",
            why_not="no validator complains",
        ),
        case(
            "ceiling",
            facts.exceeded is not None,
            deny(),
            why=f"{facts.exceeded_why}",
            why_not="it is within the limits of the contract",
        ),
        otherwise("validation-passed", allow(), why="nothing speaks against it"),
    )


_CODES = {
    "reasoning-exhaustion": "REASONING_EXHAUSTION",
    "schema-invalid": "SCHEMA_INVALID",
    "facts": "SCHEMA_INVALID",
    "ttl-expired": "TTL_EXPIRED",
    "rbac-denied": "RBAC_DENIED",
    "policy-type-not-allowed": "POLICY_TYPE_NOT_ALLOWED",
    "confidence-too-low": "CONFIDENCE_TOO_LOW",
    "stale-context": "STALE_CONTEXT",
    "validation-passed": "VALIDATION_PASSED",
}
_VERDICTS: Mapping[str, Verdict] = {"allow": "ACCEPT", "require_approval": "ESCALATE"}


def said_in_code(said: Evaluation, facts: GateFacts) -> tuple[Verdict, str]:
    """Return the verdict and its machine code."""
    verdict = _VERDICTS.get(said.effect, "REJECT")
    if said.rule in ("custom", "custom-escalates"):
        return verdict, str(facts.complaint).partition(":")[0]
    return verdict, str(facts.exceeded) if said.rule == "ceiling" else _CODES.get(said.rule, "SCHEMA_INVALID")


def missing_number(proposal: PolicyProposal, contract: ResponsibilityContract) -> str | None:
    """Return what is wrong with the parameters that have a bound: each has to be there, and to be a number."""
    for name in (*contract.limits, *(each for each in contract.floors if "." not in each)):
        if not is_number(proposal.params.get(name)):
            return f"params.{name}: expected a number"
    return None


def bound_broken(
    proposal: PolicyProposal, contract: ResponsibilityContract
) -> tuple[str, str] | tuple[Literal[None], Literal[None]]:
    """Return the code and the words of the first bound that is broken: ceilings first, then floors; both inclusive.

    A number below zero is under its floor unless the contract sets one that is lower, wherever it stands.
    """
    for name, ceiling in contract.limits.items():
        value: Any = proposal.params.get(name)
        if is_number(value) and value > ceiling:
            code = f"{name.partition('_')[0].upper()}_EXCEEDS_CONTRACT"
            return code, f"{name} {value} is over {ceiling:g}"
    for path, number in _numbers_in(proposal.params):
        floor = contract.floors.get(path, 0.0)
        if number < floor:
            return f"{_word(path)}_BELOW_CONTRACT", f"{path:.200} {number} is under {floor:g}"
    return None, None


_NO_LETTER = re.compile(r"[^A-Z0-9]+")


def _word(name: str) -> str:
    """Return what a parameter is called in a code; its name may be anything that an agent wrote."""
    return _NO_LETTER.sub("_", name.partition("_")[0].upper()).strip("_")[:40] or "PARAMETER"


def _numbers_in(value: JsonValue, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number with the path to it; those of a list share the path of the list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers_in(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers_in(inner, path)
    elif is_number(value):
        number: Any = value
        yield path, number


def complaint_of(
    proposal: PolicyProposal, context: Mapping[str, JsonValue], validators: tuple[Validator, ...]
) -> Complaint | None:
    """Return the first complaint; a validator that fails is one, as its answer is unknown."""
    for validator in validators:
        try:
            complaint = validator(proposal, context)
        except Exception as error:
            return Complaint("VALIDATOR_FAILED", f"{type(error).__name__}")
        if complaint is not None:
            return complaint
    return None
