"""Circuits as an extension: what they bring to a loom, and what can be asked of them from the shell."""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.circuits.circuits import Circuits
from loom.circuits.decline import strategy_decline
from loom.circuits.earlier import EARLIER
from loom.circuits.view import CircuitsProjection
from loom.extension import Extension, Named, Operation
from loom.sealing import SealingConfig

__all__ = ["extension"]


class Erase(BaseModel):
    """Whose key is destroyed, by whom and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: str
    by: Named
    reason: str


class Close(BaseModel):
    """Which escalation was looked at, by whom, and what came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    by: Named
    reason: str


class Strategy(BaseModel):
    """A strategy that may be rotated to, or may no longer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: str
    segment: str
    strategy: str
    success_rate: float
    active: bool = True
    by: Named


async def _erase(circuits: Circuits, given: Erase) -> JsonValue:
    is_new = await circuits.erase(given.client, by=given.by, reason=given.reason)
    return {"client": given.client, "erased": True, "before": not is_new}


async def _strategy(circuits: Circuits, given: Strategy) -> JsonValue:
    await circuits.add_strategy(
        given.client, given.segment, given.strategy, success_rate=given.success_rate, by=given.by, active=given.active
    )
    return given.model_dump(mode="json")


async def _close(circuits: Circuits, given: Close) -> JsonValue:
    closed = await circuits.escalations.close(given.id, by=given.by, reason=given.reason)
    return {"id": closed.escalation_id, "open": False}


extension = Extension(
    name="circuits",
    projections=(CircuitsProjection(),),
    policies=(*EARLIER, strategy_decline),
    sections={"sealing": SealingConfig},
    operations={
        "close": Operation(Close, _close),
        "erase": Operation(Erase, _erase),
        "strategy": Operation(Strategy, _strategy),
    },
    start=Circuits.open,
    replays=partial(Circuits.open, seals=False),
)
