"""Responsibility contracts: what an agent may propose, within which limits; registered by people, versioned."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loom.absent import is_empty, is_none
from loom.errors import AdmissionError
from loom.gate.digest import digest

__all__ = ["ResponsibilityContract", "fits"]

_VERSION = r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$"
_REQUIREMENT = re.compile(r"(0|[1-9][0-9]{0,5})\.(x|0|[1-9][0-9]{0,5})\Z")


class ResponsibilityContract(BaseModel):
    """What an agent is responsible for, and who is asked where a validator escalates.

    `limits` are ceilings and `floors` are lower bounds, both inclusive, for numbers among the parameters. A parameter
    that has one has to be there. A number below zero needs a floor that allows it, wherever it stands in the
    parameters; a floor of a number further down is named by its path, `adjustment.amount`.

    What is not set of `floors` and `escalate_to` stays out of the hash: contracts from before there were any keep
    theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    contract_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    version: Annotated[str, Field(pattern=_VERSION)]
    role: str = Field(min_length=1, max_length=200)
    allowed_policy_types: tuple[str, ...] = Field(min_length=1)
    limits: dict[str, float] = Field(default_factory=dict)
    minimum_confidence: float = Field(default=0.0, ge=0, le=1)
    floors: dict[str, float] = Field(default_factory=dict, exclude_if=is_empty)
    escalate_to: str | None = Field(default=None, max_length=200, exclude_if=is_none)
    """The person or role that is asked for consent where a validator escalates; without one that is a rejection."""

    @model_validator(mode="after")
    def _floors_are_under_ceilings(self) -> Self:
        for name, floor in self.floors.items():
            if name in self.limits and floor > self.limits[name]:
                raise ValueError(f"floor [{floor:g}] of [{name}] is over its ceiling [{self.limits[name]:g}]")
        return self

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
