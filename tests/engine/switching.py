"""The kill switch of routing in a cluster: engaged on one node, seen by choices on another, with their times.

Times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from loom.config import Section
from loom.identity import Identity, journal_name
from loom.routing import CareOptimizationConfig, RearmRefusedError, Router, RouterActor
from loom.routing.actor import ROUTER_KEY
from loom.runtime import Loom
from tests.routing.support import CANDIDATES, REQUEST, history_for_b

__all__ = ["ROUTER", "section", "switched"]

ROUTER = journal_name(RouterActor.actor_type, ROUTER_KEY)
_DANA = Identity("dana", "api_key:9", "http")
_MOST_CHOICES = 2_000


def section() -> dict[str, Section]:
    """Return the part of the config with which history may choose."""
    given = {"enabled": True, "version": "v1.0", "mode": "active"}
    return {"care_optimization": CareOptimizationConfig.model_validate(given)}


async def switched(loom: Loom, verb: str, tag: str) -> Any:
    """Do what a line asks for: `history`, `kill`, `choose` until a choice is the baseline's, `optimised` until not."""
    router = Router.of(loom)
    match verb:
        case "history":
            await history_for_b(loom)
            return (await router.choose(REQUEST, CANDIDATES, request_id=tag)).agent
        case "kill":
            await router.kill(by=_DANA, reason="a test")
            return time.monotonic()
        case "choose":
            choices: list[tuple[float, float, str | None]] = []
            while len(choices) < _MOST_CHOICES and (not choices or choices[-1][2] != "agent-a"):
                began = time.monotonic()
                choice = await router.choose(REQUEST, CANDIDATES, request_id=f"{tag}-{len(choices)}")
                choices.append((began, time.monotonic(), choice.agent))
                await asyncio.sleep(0)
            return choices
        case "optimised":  # until a choice is history's again
            for at in range(_MOST_CHOICES):
                if router.switch.engaged:  # by the watch, too: a choice was made before the switch was seen here
                    with contextlib.suppress(RearmRefusedError):  # it was engaged again meanwhile
                        await router.rearm(by=_DANA, reason="it goes on", cause="it was on its way", replay="first")
                if (await router.choose(REQUEST, CANDIDATES, request_id=f"{tag}-{at}")).agent == "agent-b":
                    return at
                await asyncio.sleep(0.02)
    raise ValueError(verb)
