"""The gate as an extension: what it brings to a loom, and what can be asked of it from the shell."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.extension import Extension, Named, Operation
from loom.gate.audit import GateProjection
from loom.gate.cases import read_cases
from loom.gate.contracts import contract_of
from loom.gate.gate import Gate
from loom.gate.monitor import PROFITABILITY
from loom.gate.validation import gate_validation
from loom.standings import Standing

__all__ = ["extension"]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RegisterContract(_Arguments):
    """A contract as plain data, and who registers it."""

    contract: dict[str, JsonValue]
    by: Named
    reason: str | None = None


class ChangeStanding(_Arguments):
    """Whose standing is changed, by whom and why."""

    agent: str
    by: Named
    reason: str


async def _register(gate: Gate, given: RegisterContract) -> JsonValue:
    contract = await gate.contracts.register(contract_of(given.contract), by=given.by, reason=given.reason)
    plain: JsonValue = {**contract.model_dump(mode="json"), "hash": contract.hash}
    return plain


async def _suspend(gate: Gate, given: ChangeStanding) -> JsonValue:
    return _standing_json(await gate.standings.suspend(given.agent, by=given.by, reason=given.reason))


async def _reinstate(gate: Gate, given: ChangeStanding) -> JsonValue:
    return _standing_json(await gate.standings.reinstate(given.agent, by=given.by, reason=given.reason))


async def _retire(gate: Gate, given: ChangeStanding) -> JsonValue:
    return _standing_json(await gate.standings.retire(given.agent, by=given.by, reason=given.reason))


def _standing_json(standing: Standing) -> JsonValue:
    return {
        "agent": standing.subject,
        "standing": standing.standing,
        "by": standing.by,
        "identity_source": standing.identity_source,
        "via": standing.via,
        "trigger": standing.trigger,
        "reason": standing.reason,
        "since": None if standing.since is None else standing.since.isoformat(),
    }


extension = Extension(
    name="gate",
    projections=(GateProjection(),),
    policies=(gate_validation, PROFITABILITY),
    operations={
        "register": Operation(RegisterContract, _register),
        "suspend": Operation(ChangeStanding, _suspend),
        "reinstate": Operation(ChangeStanding, _reinstate),
        "retire": Operation(ChangeStanding, _retire),
    },
    start=Gate.open,
    cases=read_cases,
)
