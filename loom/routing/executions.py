"""Running an agent so that routing can learn from it: how long it took, what it cost, whether it came to its end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors import Actor
from loom.routing.entries import ExecutionEntry
from loom.routing.request import ContextSize

__all__ = ["Executed", "execute_agent"]


class Executed(BaseModel):
    """What came of running an agent: its value, or the type of the exception that ended it."""

    model_config = ConfigDict(frozen=True)

    succeeded: bool
    latency_ms: float
    value: JsonValue = None
    error_type: str | None = None


async def execute_agent(
    actor: Actor[Any],
    agent: str,
    work: Callable[[str], Awaitable[Any] | Any],
    *,
    key: str,
    cost_micro_usd: Callable[[Any], int] | None = None,
    recovered: bool = False,
    context_size: ContextSize | None = None,
) -> Executed:
    """Run an agent within a turn, and journal how that went as an `ExecutionEntry`.

    `work` is called with `key`, at least once, like the effect of `Actor.perform`; what it raises is an execution that
    failed. `cost_micro_usd` says what a value has cost. `recovered` says whether this run is a recovery of an earlier.
    """

    async def timed(idempotency_key: str) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            value = work(idempotency_key)
            if isinstance(value, Awaitable):
                value = await value
        except Exception as error:
            return {"succeeded": False, "latency_ms": _ms_since(began), "error_type": type(error).__name__}
        return {"succeeded": True, "latency_ms": _ms_since(began), "value": value}

    executed: Executed = await actor.perform(action=f"run {agent}", effect=timed, key=key, returns=Executed)
    await actor.record(
        ExecutionEntry(
            agent=agent,
            succeeded=executed.succeeded,
            latency_ms=executed.latency_ms,
            cost_micro_usd=cost_micro_usd(executed.value) if cost_micro_usd and executed.succeeded else None,
            recovered=recovered,
            context_size=context_size,
        ),
        key=key,
    )
    return executed


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1_000, 3)
