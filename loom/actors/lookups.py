"""The verbs that find out: `gather_context`, `evaluate`, `find_precedents`."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from loom.actors.turn import Turn
from loom.clock import datetime_from_us
from loom.decisions.decision import DecisionInput
from loom.decisions.entries import (
    ContextGatheredEntry,
    EvaluatedEntry,
    Failure,
    PrecedentFound,
    PrecedentReferencedEntry,
)
from loom.errors import (
    AdmissionError,
    LookupFailedError,
    LoomError,
    NoRuleError,
    NotReplayableError,
    PolicyCodeChangedError,
)
from loom.journal.admission import Limits, json_value
from loom.journal.entry import Entry
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import Evaluation
from loom.policies.tables import Table
from loom.policies.tables.table import LANGUAGE
from loom.precedents.similarity import check_nearness
from loom.spans import span

T = TypeVar("T")

_MAX_MESSAGE = 2_000
_MAX_PRECEDENTS = 1_000


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
            gathered = expect(recorded.entry, ContextGatheredEntry, turn)
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
            gathered = _written(turn, gathered)
        turn.gathered.inputs.append(
            DecisionInput(
                system=gathered.system,
                entity=gathered.entity,
                query=gathered.query,
                result=gathered.result,
                relevance=gathered.relevance,
                retrieved_at=gathered.retrieved_at,
                duration_ms=gathered.duration_ms,
                masked=gathered.masked,
                failure=gathered.failure,
            )
        )
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


async def attempt(
    work: Callable[[], Awaitable[Any] | Any], *, timeout_s: float | None, limits: Limits
) -> tuple[JsonValue, Failure | None]:
    """Call code of a user's that reaches out; return what JSON makes of its value, or how it failed."""
    try:
        async with asyncio.timeout(timeout_s) as patience:
            raw = work()
            if inspect.isawaitable(raw):
                raw = await raw
        return json_value(raw, limits=limits), None
    except TimeoutError as error:
        if patience.expired():
            return None, Failure(type_name="TimeoutError", message=f"no answer within {timeout_s} s")
        return None, failure_of(error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return None, failure_of(error)  # something that it waited for was cancelled, not the turn
    except Exception as error:
        return None, failure_of(error)


def _written(turn: Turn, gathered: ContextGatheredEntry) -> ContextGatheredEntry:
    """Journal a look-up; one whose value is too large to be kept is journaled as failed, not lost."""
    try:
        ready = turn.draft(gathered)
    except AdmissionError as error:
        gathered = gathered.model_copy(update={"result": None, "failure": failure_of(error)})
        ready = turn.draft(gathered)
    turn.write(ready)
    return gathered


def evaluate(turn: Turn, facts: BaseModel | Mapping[str, object]) -> Evaluation:
    """See `Actor.evaluate`. Synchronous: a rule is pure, so nothing is waited for."""
    plain = plain_facts(facts, turn)
    with turn.step("evaluate", digest(plain)) as step:
        recorded = None if turn.script is None else turn.script.take_now(step)
        if turn.counterfactual:
            evaluated = EvaluatedEntry(step=step, facts=plain, evaluation=_judge(turn, facts, plain))
        elif recorded is not None:
            evaluated = expect(recorded.entry, EvaluatedEntry, turn)
        else:
            if turn.compare is not None:
                raise turn.never_recorded(step)
            evaluated = EvaluatedEntry(step=step, facts=plain, evaluation=_judge(turn, facts, plain))
            turn.write_when_live(turn.draft(evaluated))
        turn.gathered.evaluated = evaluated
        return evaluated.evaluation


def parameters(turn: Turn) -> Mapping[str, object]:
    """See `Actor.parameters`."""
    return _pinned(turn).parameters


def _judge(turn: Turn, facts: BaseModel | Mapping[str, object], plain: Mapping[str, JsonValue]) -> Evaluation:
    """Return what the pinned version says; a table is asked about the facts as they are recorded."""
    pinned = _pinned(turn)
    return pinned.evaluate(plain if isinstance(pinned, Table) else facts)


def _table(turn: Turn) -> Table | None:
    """Return the table that the turn is judged by; None where it is a rule in Python, or there is none."""
    if turn.policy.document.get("language") != LANGUAGE:
        return None
    pinned = turn.services.policies.runnable(turn.policy)
    return pinned if isinstance(pinned, Table) else None


def _pinned(turn: Turn) -> AnyPolicy:
    if not turn.policy.has_rule:
        raise NoRuleError(
            f"actor [{turn.cell.journal}] has no policy; expected one to evaluate facts with: set policy on its class"
        )
    try:
        return turn.services.policies.runnable(turn.policy)
    except PolicyCodeChangedError as error:  # other code is never run in its name, whatever agent code would make of it
        raise turn.halt(error) from error


async def find_precedents(
    turn: Turn,
    *,
    facts: BaseModel | Mapping[str, object] | None,
    facets: Mapping[str, JsonValue] | None,
    text: str | None,
    similar_to: str | None,
    min_similarity: float | None,
    limit: int,
    key: str | None,
) -> tuple[PrecedentFound, ...]:
    """See `Actor.find_precedents`."""
    if not 0 < limit <= _MAX_PRECEDENTS:
        raise AdmissionError(
            f"limit of precedents is [{limit}]; expected [1 to {_MAX_PRECEDENTS}]: ask for as many as "
            "somebody will read"
        )
    check_nearness(similar_to, min_similarity)
    situation = None if facts is None else _situation(turn, facts)
    if situation is None and not facets and not text and not similar_to:
        raise AdmissionError(
            "precedents are looked for by nothing; expected [facts, facets, text or similar_to]: give one of them"
        )
    asked: dict[str, JsonValue] = {"situation": situation, "facets": dict(facets or {}), "text": text, "limit": limit}
    if similar_to is not None:  # what did not ask for it has the key that it always had
        asked |= {"similar_to": similar_to, "min_similarity": min_similarity}
    plain = json_value(asked, limits=turn.services.limits)
    with turn.step("find_precedents", key or digest(plain)) as step:
        recorded = await turn.take(step)
        if recorded is not None:
            seen = expect(recorded.entry, PrecedentReferencedEntry, turn)
        else:
            found, position, failure = await _find(
                turn,
                situation=situation,
                facets=facets,
                text=text,
                similar_to=similar_to,
                min_similarity=min_similarity,
                limit=limit,
            )
            seen = PrecedentReferencedEntry(
                step=step,
                situation=situation,
                facets=dict(facets) if facets else None,
                text=text,
                similar_to=similar_to,
                min_similarity=min_similarity,
                found=found,
                failure=failure,
                position=position,
            )
            turn.write(turn.draft(seen))
        if seen.failure is not None:
            raise LookupFailedError(seen.failure.type_name, seen.failure.message)
        known = {precedent.decision_id for precedent in turn.gathered.precedents}
        turn.gathered.precedents.extend(  # a suggestion is no precedent until the agent's code names it as one
            found for found in seen.found if found.decision_id not in known and found.basis is None
        )
        return seen.found


async def _find(
    turn: Turn, *, similar_to: str | None, **asked: Any
) -> tuple[tuple[PrecedentFound, ...], int | None, Failure | None]:
    """Ask the index; a function of a user's that turns texts into vectors has as long as a fetcher has."""
    precedents = turn.services.precedents
    timeout_s = None if similar_to is None else turn.services.options.lookup_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            position = await precedents.position()
            found = await precedents.find(
                **asked, similar_to=similar_to, exclude_turn=(turn.cell.journal, turn.command_id)
            )
    except TimeoutError:
        return (), None, Failure(type_name="TimeoutError", message=f"no answer within {timeout_s} s")
    except LoomError as error:  # an index that lags or has stopped
        return (), None, failure_of(error)
    return found, position, None


def _situation(turn: Turn, facts: BaseModel | Mapping[str, object]) -> str:
    rule = None if turn.actor is None else turn.actor.equivalence
    if rule is None:
        raise AdmissionError(
            f"actor [{turn.cell.journal}] has no equivalence rule; expected one to find precedents by facts: "
            "set equivalence on its class, or look by facets or text"
        )
    return rule.situation_key(plain_facts(facts, turn))


# --- shared by the verbs ------------------------------------------------------------------------

E = TypeVar("E", bound=Entry)


def expect(entry: Entry, cls: type[E], turn: Turn) -> E:
    """Return a recorded entry as what its step needs; a body that is gone stops the turn for good."""
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


def plain_facts(facts: BaseModel | Mapping[str, object], turn: Turn) -> dict[str, JsonValue]:
    """Return facts as the plain JSON that is journaled, with exact values in the form that the turn's table asks for.

    NaN and infinity are refused, and so is a float for a decimal of a table.
    """
    given = facts.model_dump(mode="json") if isinstance(facts, BaseModel) else dict(facts)
    table = _table(turn)
    plain = json_value(given if table is None else table.facts(given), limits=turn.services.limits)
    assert isinstance(plain, dict)  # noqa: S101 - a model dumps to an object
    return plain


def digest(value: JsonValue) -> str:
    """Return a digest of plain JSON that is the same whenever the same code asks the same thing."""
    raw = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(raw.encode()).hexdigest()[:32]


def failure_of(error: BaseException) -> Failure:
    """Return an exception in the form that is journaled: its type, and its words as far as they can be kept."""
    return Failure(type_name=keepable(type(error).__name__, 200), message=keepable(_words(error), _MAX_MESSAGE))


def _words(error: BaseException) -> str:
    try:
        words = str(error)
        if isinstance(error, BaseExceptionGroup):  # says how many there are, not which
            words += ": " + "; ".join(f"{type(inner).__name__}: {_words(inner)}" for inner in error.exceptions[:5])
    except Exception:  # its __str__ is code of a user's
        return "its message cannot be read"
    return words


def keepable(text: str, longest: int) -> str:
    """Return text as far as it can be journaled."""
    return text[:longest].replace("\x00", "�").encode(errors="replace").decode()


@lru_cache(maxsize=1_024)
def _adapter(returns: Any) -> TypeAdapter[Any]:
    return TypeAdapter(returns)


def typed(value: JsonValue, returns: Any) -> Any:
    """Return plain JSON as a type, or as it is; what does not fit is a `LookupFailedError`."""
    if returns is None:
        return value
    try:
        return _adapter(returns).validate_json(json.dumps(value))
    except ValidationError as error:
        raise LookupFailedError("ValidationError", f"result is no {returns!r}: {error.errors()[0]['msg']}") from error
