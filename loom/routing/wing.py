"""Routing as an extension: what it brings to a loom, and what can be asked of it from the shell."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.extension import Extension, Named, Operation
from loom.routing.config import CareOptimizationConfig, Mode
from loom.routing.entries import KillSwitchEngagedEntry
from loom.routing.optimizer import care_optimizer
from loom.routing.router import Router
from loom.routing.views import RoutingProjection

__all__ = ["extension"]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Throw(_Arguments):
    """Who does something with the kill switch, and why."""

    by: Named
    reason: str


class Rearm(Throw):
    """Who re-arms the switch, and why; after a stop condition also its cause, and which request to replay."""

    cause: str | None = None
    replay: str | None = None


class SetMode(_Arguments):
    """What history may do from here on, who says so and why."""

    mode: Mode
    by: Named
    reason: str | None = None
    version: str | None = None


class Again(_Arguments):
    """Which request is replayed."""

    request_id: str


async def _kill(router: Router, given: Throw) -> JsonValue:
    await router.kill(by=given.by, reason=given.reason)
    return await _status(router)


async def _rearm(router: Router, given: Rearm) -> JsonValue:
    await router.rearm(by=given.by, reason=given.reason, cause=given.cause, replay=given.replay)
    return await _status(router)


async def _mode(router: Router, given: SetMode) -> JsonValue:
    await router.set_mode(given.mode, by=given.by, reason=given.reason, version=given.version)
    return await _status(router)


async def _replay(router: Router, given: Again) -> JsonValue:
    replayed = await router.replay(given.request_id)
    plain: dict[str, Any] = replayed.model_dump(mode="json")
    return {**plain, "diverged": replayed.diverged, "killed": router.switch.engaged}


async def _status(router: Router) -> JsonValue:
    plain: JsonValue = (await router.status()).model_dump(mode="json")
    return plain


extension = Extension(
    name="routing",
    projections=(RoutingProjection(),),
    policies=(care_optimizer,),
    sections={"care_optimization": CareOptimizationConfig},
    operations={
        "kill": Operation(Throw, _kill),
        "rearm": Operation(Rearm, _rearm),
        "mode": Operation(SetMode, _mode),
        "replay": Operation(Again, _replay),
    },
    start=Router.open,
    notices={KillSwitchEngagedEntry.kind: "loom.kill_switch.engaged"},
)
