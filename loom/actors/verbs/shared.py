"""Helpers of all verbs: recorded entries, values as JSON, and failures in the form that is journaled."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from loom.actors.ports import Seen
from loom.actors.protected import NOT_KEPT
from loom.actors.steps import Phase
from loom.actors.turn import Turn
from loom.decisions.entries import Failure
from loom.errors import AdmissionError, LookupFailedError, NotReplayableError
from loom.identity import parse_journal_name
from loom.journal.admission import NOTHING, Limits, Written, json_value, written
from loom.journal.entry import Entry, Recorded, Step
from loom.journal.serialisation import EntryText, model_text
from loom.journal.store import Draft

__all__ = [
    "Came",
    "attempt",
    "context_of",
    "digest",
    "expect",
    "failure_of",
    "keepable",
    "once",
    "result_written",
    "typed",
]

E = TypeVar("E", bound=Entry)

_MAX_MESSAGE = 2_000
_MAX_LEAVES = 20


def expect(entry: Entry, cls: type[E], turn: Turn) -> E:
    """Return a recorded entry as the type that its step needs; a body that is gone stops the turn permanently."""
    if isinstance(entry, cls):
        return entry
    problem = getattr(entry, "problem", "another kind")
    raise turn.halt(
        NotReplayableError(
            f"turn [{turn}] cannot go on from an entry that is of [{problem}]; expected a [{cls.kind}]: bring back the "
            "code that reads it and `loom turns retry`, or `loom turns abandon`",
            reason=problem,
        )
    )


async def once(
    turn: Turn, step: Step, entry: Entry, phase: Phase = "end", *, seen: Seen | None = None
) -> Recorded | None:
    """Journal this half of a step if it is not recorded yet; else return the recorded one. A replay compares both.

    Raises `AdmissionError` for an entry that cannot be kept, before the step is taken.
    """
    ready = turn.draft(entry)
    recorded = await turn.take(step, phase)
    if recorded is None:
        turn.write(ready, seen=seen)
    elif turn.compare is not None:
        turn.compare(recorded, entry)
    return recorded


class Came(NamedTuple):
    """The result of user code that acts outside: its value as JSON, or its failure."""

    result: Written = NOTHING
    failure: Failure | None = None
    error: BaseException | None = None
    """What it raised; None for a value, also for one that cannot be kept."""


def result_written(
    turn: Turn, cls: type[Entry], texts: Mapping[str, bytes], came: Came, *, own_words: bool = False
) -> tuple[Came, Draft]:
    """Journal a result, with the other fields of its entry as texts; return it, and the journaled entry.

    A result that is too large is journaled as a failure, so it is not lost. The message of a failure that is loom's own
    (`own_words`) is kept also where protected values were handled.
    """
    if came.failure is not None and not own_words and turn.withholds_words:
        came = Came(failure=came.failure.model_copy(update={"message": NOT_KEPT}))
    try:
        ready = turn.draft(EntryText(cls, {**texts, **_texts_of(came)}))
    except AdmissionError as error:
        came = Came(failure=failure_of(error))
        ready = turn.draft(EntryText(cls, {**texts, **_texts_of(came)}))
    turn.write(ready)
    return came, ready


def _texts_of(came: Came) -> dict[str, bytes]:
    failure = came.failure
    return {"result": came.result.text} if failure is None else {"failure": model_text(failure)}


async def attempt(
    work: Callable[[], Awaitable[Any] | Any],
    *,
    timeout_s: float | None,
    limits: Limits,
    made: Callable[[Any], Any] | None = None,
) -> Came:
    """Call user code that acts outside; return its value as JSON, or its failure.

    `made` converts a value that is not wholly JSON into one that is.
    """
    patience: asyncio.Timeout | None = None
    try:
        raw = work()
        if inspect.isawaitable(raw):
            async with asyncio.timeout(timeout_s) as patience:
                raw = await raw
    except TimeoutError as error:
        if patience is not None and patience.expired():
            failure = Failure(type_name="TimeoutError", message=f"no answer within {timeout_s} s")
            return Came(failure=failure, error=error)
        return Came(failure=failure_of(error), error=error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Came(failure=failure_of(error), error=error)  # a task for which it waited was cancelled, not the turn
    except Exception as error:
        return Came(failure=failure_of(error), error=error)
    try:
        return Came(written(raw if made is None else made(raw), limits=limits))
    except Exception as error:
        return Came(failure=failure_of(error))


def digest(value: JsonValue) -> str:
    """Return a digest of plain JSON; it is the same whenever the same code makes the same call."""
    return hashlib.sha256(_SORTED.encode(value).encode()).hexdigest()[:32]


_SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def failure_of(error: BaseException) -> Failure:
    """Return an exception in the form that is journaled: its type, and its message as far as it can be kept."""
    return Failure(type_name=keepable(type(error).__name__, 200), message=keepable(_words(error), _MAX_MESSAGE))


def _words(error: BaseException) -> str:
    try:
        if isinstance(error, BaseExceptionGroup):
            return _leaves(error)
        words = str(error)
    except Exception:  # its __str__ is user code
        return "its message cannot be read"
    return words


def _leaves(group: BaseExceptionGroup[BaseException]) -> str:
    """Return the exceptions of a group, also of groups in it, a line each."""
    leaves: list[BaseException] = []
    groups: list[BaseException] = [group]
    while groups:
        error = groups.pop()
        if isinstance(error, BaseExceptionGroup):
            groups += reversed(error.exceptions)
        else:
            leaves.append(error)
    lines = [f"{type(leaf).__name__}: {_words(leaf)}" for leaf in leaves[:_MAX_LEAVES]]
    more = len(leaves) - len(lines)
    return "\n".join([*lines, f"and {more} more"] if more else lines)


def keepable(text: str, longest: int) -> str:
    """Return text as far as it can be journaled."""
    return text[:longest].replace("\x00", "�").encode(errors="replace").decode()


@lru_cache(maxsize=1_024)
def _adapter(returns: Any) -> TypeAdapter[Any]:
    return TypeAdapter(returns)


def typed(value: JsonValue, returns: Any, *, text: bytes | None = None) -> Any:
    """Return plain JSON as a type, or as it is; what does not fit is a `LookupFailedError`. `text` is its JSON."""
    if returns is None:
        return value
    try:
        return _adapter(returns).validate_json(text or json.dumps(value))
    except ValidationError as error:
        raise LookupFailedError("ValidationError", f"result is no {returns!r}: {error.errors()[0]['msg']}") from error


def context_of(turn: Turn, given: Mapping[str, object] | None = None) -> dict[str, JsonValue]:
    """Return the context of a decision: the given values and the actor's own."""
    actor_type, key = parse_journal_name(turn.host.journal)
    known = {} if turn.actor is None else turn.actor.context()
    merged: Any = json_value(
        {"actor_type": actor_type, "actor_key": key, **known, **(given or {})}, limits=turn.services.limits
    )
    return dict(merged)
