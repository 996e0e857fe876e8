"""The verb `gather_context`: looks something up, and journals what came back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import JsonValue
from pydantic_core import to_json

from loom.actors.gathered import LookedUp
from loom.actors.retrying import Retry
from loom.actors.turn import Turn
from loom.actors.verbs.attempts import Attempts
from loom.actors.verbs.protected_lookup import LookupProtection, opened_result, protection_of
from loom.actors.verbs.shared import Came, attempt, expect, failure_of, result_written, typed
from loom.clock import datetime_from_us
from loom.decisions.entries import ContextGatheredEntry, Failure
from loom.errors import AdmissionError, LookupFailedError
from loom.journal.admission import json_value
from loom.journal.entry import Recorded, Step, StepReference
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
    protect: Mapping[str, str] | None,
    subject: str | None,
    retry: Retry | None,
) -> Any:
    """See `Actor.gather_context`."""
    json_value([system, entity, query, relevance])  # what cannot be journaled is refused before anything is done
    protection = await protection_of(turn, protect=protect, returns=returns, subject=subject, query=query)
    named = query if protection is None else protection.query
    with turn.step("gather_context", key or f"{system}/{entity}/{named}") as step:
        attempts = None
        if retry is not None or turn.recorded_steps is not None:
            attempts = await Attempts.begin(turn, step, retry)
        recorded = await turn.take(step)
        if recorded is not None:
            value, failure = await _given_again(turn, recorded)
            text = None
        else:
            asked = {
                "step": step_text(step),
                "system": name_text(system),
                "entity": name_text(entity),
                **({"query": json_text(query)} if protection is None else protection.asked()),
                "relevance": name_text(relevance if relevance is None else turn.protected.redact(relevance)),
            }
            patience = timeout_s if timeout_s is not None else turn.services.options.lookup_timeout_s
            with span("loom.lookup", {"loom.system": system, "loom.entity": entity}) as under_way:
                came = await _fetch(turn, step, asked, fetcher, patience, protection, attempts)
                under_way.set_attribute("loom.outcome", "found" if came.failure is None else came.failure.type_name)
            (value, text), failure = came.result, came.failure
        if failure is not None:
            raise LookupFailedError(failure.type_name, failure.message)
        return typed(value, returns, text=text)


async def _given_again(turn: Turn, recorded: Recorded) -> tuple[JsonValue, Failure | None]:
    """Return the value of a recorded look-up, as the code got it, or raise its failure."""
    entry = expect(recorded.entry, ContextGatheredEntry, turn)
    if entry.masked and turn.compare is None:
        raise turn.halt(turn.not_resumable("masked"))
    value = await opened_result(turn, entry) if entry.protected else entry.result
    plain = (value,) if entry.protected else None
    turn.gathered.looked_up.append(LookedUp(recorded.reference, lambda: entry, plain))
    return value, entry.failure


async def _fetch(
    turn: Turn,
    step: Step,
    asked: Mapping[str, bytes],
    fetcher: Callable[[], Awaitable[Any] | Any],
    timeout_s: float | None,
    protection: LookupProtection | None,
    attempts: Attempts | None,
) -> Came:
    """Run a fetcher, and journal its query (`asked`), its result, its start and its duration.

    Start and duration are those of the last attempt. Protected values are written in protected form; the code gets the
    plain result.
    """
    services = turn.services
    made = None if protection is None else protection.made
    while True:
        began_us, began = services.sources.clock.now_us(), time.perf_counter()
        came = await attempt(fetcher, timeout_s=timeout_s, limits=services.limits, made=made)
        duration_ms = round((time.perf_counter() - began) * 1000, 3)
        if attempts is None or came.error is None or not await attempts.again(came.error, came.failure):
            break
    took = {"retrieved_at": to_json(datetime_from_us(began_us)), "duration_ms": to_json(duration_ms)}
    hidden, places, refused = came, dict[str, bytes](), False
    if protection is not None:
        try:
            hidden, places = await protection.protected(step, came)
        except AdmissionError as error:  # its shape is not the declared one, or it must not be written at all
            hidden, refused = Came(failure=failure_of(error)), True
    texts = {**asked, **took, **places, **(attempts.text if attempts else {})}
    written, ready = result_written(turn, ContextGatheredEntry, texts, hidden, own_words=refused)
    reference = StepReference(turn.host.sequence, ready.body_digest.hex())
    plain = (came.result.value,) if places and written.failure is None else None
    turn.gathered.looked_up.append(LookedUp(reference, partial(decoded, ready), plain))
    return came if written.failure is None else written
