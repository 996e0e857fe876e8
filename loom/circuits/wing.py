"""Circuits as an extension: what they bring to a loom, and what can be asked of them from the shell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.circuits.circuits import Circuits
from loom.circuits.core import CLIENT_DATA
from loom.circuits.decline import strategy_decline
from loom.circuits.earlier import EARLIER
from loom.circuits.entries import EscalationOpenedEntry
from loom.circuits.view import CircuitsProjection
from loom.config import LoomConfig
from loom.extension import Check, Extension, Named, Operation
from loom.sealing import SealingConfig

if TYPE_CHECKING:
    from fastapi import APIRouter

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


def _checks(config: LoomConfig) -> Iterator[Check]:
    """Say whether what circuits are given of clients is encrypted."""
    section = config.sections.get("sealing")
    if not isinstance(section, SealingConfig) or not section.enabled:
        yield Check(
            "ok",
            "sealing",
            "off: what circuits are given and come to is written as it is, but for their own fields",
            "sealing: {enabled: true} encrypts the data of clients at rest; see `loom docs circuits`",
        )
    elif not section.core_circuits:
        yield Check("ok", "sealing", "on for fields of your circuits; core_circuits: false leaves the core as it is")
    else:
        count = sum(map(len, CLIENT_DATA.values()))
        yield Check("ok", "sealing", f"on: {count} fields of the core circuits, and those of yours, are encrypted")


def _routes(_: Any) -> APIRouter:
    from loom.circuits.routes import routes  # the extra `server`

    return routes


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
    routes=_routes,
    checks=_checks,
    notices={EscalationOpenedEntry.kind: "loom.escalation.opened"},
)
