"""The verb `gather_context`: looks something up, and journals what came back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic_core import to_json

from loom.actors.turn import LookedUp, Turn
from loom.actors.verbs.shared import Came, attempt, expect, result_written, typed
from loom.clock import datetime_from_us
from loom.decisions.entries import ContextGatheredEntry
from loom.errors import LookupFailedError
from loom.journal.admission import json_value
from loom.journal.entry import StepReference
from loom.journal.serialisation import json_text, name_text, step_text
from loom.journal.store import decoded
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
            entry = expect(recorded.entry, ContextGatheredEntry, turn)
            if entry.masked and turn.compare is None:
                raise turn.halt(turn.not_resumable("masked"))
            turn.gathered.looked_up.append(LookedUp(recorded.reference, lambda: entry))
            value, text, failure = entry.result, None, entry.failure
        else:
            asked = {
                "step": step_text(step),
                "system": name_text(system),
                "entity": name_text(entity),
                "query": json_text(query),
                "relevance": name_text(relevance),
            }
            patience = timeout_s if timeout_s is not None else turn.services.options.lookup_timeout_s
            with span("loom.lookup", {"loom.system": system, "loom.entity": entity}) as under_way:
                came = await _fetch(turn, asked, fetcher, patience)
                under_way.set_attribute("loom.outcome", "found" if came.failure is None else came.failure.type_name)
            (value, text), failure = came
        if failure is not None:
            raise LookupFailedError(failure.type_name, failure.message)
        return typed(value, returns, text=text)


async def _fetch(
    turn: Turn, asked: Mapping[str, bytes], fetcher: Callable[[], Awaitable[Any] | Any], timeout_s: float | None
) -> Came:
    """Run a fetcher, and journal what it was `asked` and what came of it, when it began and how long it took."""
    services = turn.services
    began_us, began = services.sources.clock.now_us(), time.perf_counter()
    came = await attempt(fetcher, timeout_s=timeout_s, limits=services.limits)
    duration_ms = round((time.perf_counter() - began) * 1000, 3)
    took = {"retrieved_at": to_json(datetime_from_us(began_us)), "duration_ms": to_json(duration_ms)}
    came, ready = result_written(turn, ContextGatheredEntry, {**asked, **took}, came)
    reference = StepReference(turn.host.sequence, ready.body_digest.hex())
    turn.gathered.looked_up.append(LookedUp(reference, partial(decoded, ready)))
    return came
