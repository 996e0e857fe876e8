"""Responsibility contracts: what an agent may propose, within which limits; registered by people, versioned."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from loom.errors import AdmissionError
from loom.gate.digest import digest

__all__ = ["ResponsibilityContract", "fits"]

_VERSION = r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$"
_REQUIREMENT = re.compile(r"(0|[1-9][0-9]{0,5})\.(x|0|[1-9][0-9]{0,5})\Z")


class ResponsibilityContract(BaseModel):
    """What an agent is responsible for. `limits` are ceilings, inclusive, for numbers among the parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    contract_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    version: Annotated[str, Field(pattern=_VERSION)]
    role: str = Field(min_length=1, max_length=200)
    allowed_policy_types: tuple[str, ...] = Field(min_length=1)
    limits: dict[str, float] = Field(default_factory=dict)
    minimum_confidence: float = Field(default=0.0, ge=0, le=1)

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of the contract in canonical form: what an agent has to know to shake hands."""
        return digest("contract", self.model_dump(mode="json"))


def fits(version: str, requirement: str) -> bool:
    """Tell whether a version meets a requirement: `1.x` is the same major, `1.2` that and a minor of at least 2."""
    wanted = _REQUIREMENT.match(requirement)
    if wanted is None:
        raise AdmissionError(
            f"version requirement [{requirement!r:.40}] is none; expected [1.x or 1.2]: write major and minor"
        )
    major, minor, _ = version.split(".")
    return major == wanted[1] and (wanted[2] == "x" or int(minor) >= int(wanted[2]))
