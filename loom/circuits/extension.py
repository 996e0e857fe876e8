"""Circuits as an extension: what they bring to a loom, and what can be asked of them from the shell."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.circuits.circuits import Circuits
from loom.circuits.view import CircuitsProjection
from loom.extension import Extension, Operation
from loom.sealing import SealingConfig

__all__ = ["extension"]


class Erase(BaseModel):
    """Whose key is destroyed, by whom and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: str
    by: str
    reason: str


class Close(BaseModel):
    """Which escalation was looked at, by whom, and what came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    by: str
    reason: str


async def _erase(circuits: Circuits, given: Erase) -> JsonValue:
    await circuits.erase(given.client, by=given.by, reason=given.reason)
    return {"client": given.client, "erased": True}


async def _close(circuits: Circuits, given: Close) -> JsonValue:
    closed = await circuits.escalations.close(given.id, by=given.by, reason=given.reason)
    return {"id": closed.escalation_id, "open": False}


extension = Extension(
    name="circuits",
    projections=(CircuitsProjection(),),
    sections={"sealing": SealingConfig},
    operations={"erase": Operation(Erase, _erase), "close": Operation(Close, _close)},
    start=Circuits.open,
)
