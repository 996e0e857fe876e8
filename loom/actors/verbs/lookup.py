"""The verb `gather_context`: looks something up, and journals what came back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import JsonValue

from loom.actors.turn import Turn
from loom.actors.verbs.shared import attempt, expect, result_written, typed
from loom.clock import datetime_from_us
from loom.decisions.entries import ContextGatheredEntry, Failure
from loom.errors import LookupFailedError
from loom.journal.admission import json_value
from loom.spans import span

__all__ = ["gather_context"]

T = TypeVar("T")


async def gather_context(
    turn: Turn,
    *,
    system: str,
    entity: str,
    query: str,
    fetcher: Callable[[], Awaitable[Any] | Any],
    relevance: str | None,
    returns: type[T] | None,
    timeout_s: float | None,
    key: str | None,
) -> Any:
    """See `Actor.gather_context`."""
    json_value([system, entity, query, relevance])  # what cannot be journaled is refused before anything is done
    with turn.step("gather_context", key or f"{system}/{entity}/{query}") as step:
        recorded = await turn.take(step)
        if recorded is not None:
            gathered, reference = expect(recorded.entry, ContextGatheredEntry, turn), recorded.reference
            if gathered.masked and turn.compare is None:
                raise turn.halt(turn.not_resumable("masked"))
        else:
            options = turn.services.options
            with span("loom.lookup", {"loom.system": system, "loom.entity": entity}) as under_way:
                value, failure, began_us, duration_ms = await _fetch(
                    turn, fetcher, timeout_s if timeout_s is not None else options.lookup_timeout_s
                )
                under_way.set_attribute("loom.outcome", "found" if failure is None else failure.type_name)
            gathered = ContextGatheredEntry(
                step=step, system=system, entity=entity, query=query, relevance=relevance, result=value,
                failure=failure, retrieved_at=datetime_from_us(began_us), duration_ms=duration_ms,
            )  # fmt: skip
            gathered, reference = result_written(turn, gathered)
        turn.gathered.inputs.append(gathered.as_input())
        turn.gathered.looked_up.append(reference)
        if gathered.failure is not None:
            raise LookupFailedError(gathered.failure.type_name, gathered.failure.message)
        return typed(gathered.result, returns)


async def _fetch(
    turn: Turn, fetcher: Callable[[], Awaitable[Any] | Any], timeout_s: float | None
) -> tuple[JsonValue, Failure | None, int, float]:
    """Run a fetcher; return what JSON makes of its value, or how it failed, and when it began and how long it took."""
    services = turn.services
    began_us, began = services.sources.clock.now_us(), time.perf_counter()
    value, failure = await attempt(fetcher, timeout_s=timeout_s, limits=services.limits)
    return value, failure, began_us, round((time.perf_counter() - began) * 1000, 3)
