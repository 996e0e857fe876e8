"""Proposals: what user space may say, and no more than that. Read strictly, as it comes from a model."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import PydanticCustomError

from loom.errors import AdmissionError
from loom.gate.digest import digest
from loom.journal.admission import json_value

__all__ = ["PolicyProposal", "idempotency_key", "is_number", "read_proposal", "sanitised"]


def is_number(value: object) -> bool:
    """Tell whether a value is a number: no boolean, no text that looks like one, no NaN, no infinity."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _number(value: object) -> object:
    if not is_number(value):
        raise PydanticCustomError("not_a_number", "expected a number")
    return value


class PolicyProposal(BaseModel):
    """A proposed policy: of which kind, with which parameters, why, how sure, on which context, and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy_kind: str = Field(strict=True, min_length=1, max_length=64)
    params: dict[str, JsonValue]
    justification: str = Field(strict=True, max_length=10_000)
    confidence: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
    context_hash: str = Field(strict=True, max_length=64)
    valid_until: AwareDatetime | None = None

    def expired(self, now: datetime) -> bool:
        """Tell whether its time is over."""
        return self.valid_until is not None and now >= self.valid_until


def read_proposal(raw: JsonValue) -> tuple[PolicyProposal | None, str | None]:
    """Return a proposal, or what is wrong with it."""
    try:
        return PolicyProposal.model_validate_json(json.dumps(raw)), None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return None, f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"


def sanitised(raw: object) -> tuple[JsonValue, str | None]:
    """Return what a journal can hold of a proposal, or why it can hold nothing: NaN, depth, size, lone surrogates."""
    try:
        value = json_value(raw)
    except AdmissionError as error:
        return None, str(error).encode(errors="replace").decode()[:300]
    if len(json.dumps(value)) > _LONGEST:
        return None, f"it is longer than [{_LONGEST}] characters"
    return value, None


_LONGEST = 65_536


def idempotency_key(flow_id: str, step_id: str, params: Any) -> str:
    """Return SHA-256 over flow, step and the canonical parameters, in hex. The attempt is not in it."""
    return digest("execution", {"flow_id": flow_id, "step_id": step_id, "params": params})
