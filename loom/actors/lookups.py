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

from loom.actors.turn import Turn, TurnStopped
from loom.clock import datetime_from_us
from loom.decisions.decision import DecisionInput
from loom.decisions.entries import (
    ContextGatheredEntry,
    EvaluatedEntry,
    Failure,
    PrecedentFound,
    PrecedentReferencedEntry,
)
from loom.errors import AdmissionError, LookupFailedError, NoRuleError, NotReplayableError, PolicyRuleError
from loom.journal.admission import json_value
from loom.journal.entry import Entry
from loom.policies.evaluation import Evaluation

T = TypeVar("T")

_MAX_MESSAGE = 2_000


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
    with turn.step("gather_context", key or f"{system}/{entity}/{query}") as step:
        recorded = await turn.take(step)
        if recorded is not None:
            gathered = expect(recorded.entry, ContextGatheredEntry, turn)
        else:
            options = turn.host.services.options
            value, failure, began_us, duration_ms = await _fetch(
                turn, fetcher, timeout_s if timeout_s is not None else options.lookup_timeout_s
            )
            gathered = ContextGatheredEntry(
                step=step, system=system, entity=entity, query=query, relevance=relevance, result=value,
                failure=failure, retrieved_at=datetime_from_us(began_us), duration_ms=duration_ms,
            )  # fmt: skip
            gathered = _written(turn, gathered)
        turn.gathered.inputs.append(
            DecisionInput(
                system=gathered.system, entity=gathered.entity, query=gathered.query, result=gathered.result,
                relevance=gathered.relevance, retrieved_at=gathered.retrieved_at, duration_ms=gathered.duration_ms,
                masked=gathered.masked,
            )  # fmt: skip
        )
        if gathered.failure is not None:
            raise LookupFailedError(gathered.failure.type_name, gathered.failure.message)
        return typed(gathered.result, returns)


async def _fetch(
    turn: Turn, fetcher: Callable[[], Awaitable[Any] | Any], timeout_s: float | None
) -> tuple[JsonValue, Failure | None, int, float]:
    """Run a fetcher; return what JSON makes of its value, or how it failed, and when it began and how long it took."""
    services = turn.host.services
    began_us, began = services.sources.clock.now_us(), time.perf_counter()
    value: JsonValue = None
    failure: Failure | None = None
    try:
        async with asyncio.timeout(timeout_s):
            raw = fetcher()
            if inspect.isawaitable(raw):
                raw = await raw
        value = json_value(raw, limits=services.limits)
    except TimeoutError:
        failure = Failure(type_name="TimeoutError", message=f"no answer within {timeout_s} s")
    except Exception as error:  # noqa: BLE001 - whatever a look-up raises is what it came to
        failure = failure_of(error)
    return value, failure, began_us, round((time.perf_counter() - began) * 1000, 3)


def _written(turn: Turn, gathered: ContextGatheredEntry) -> ContextGatheredEntry:
    """Journal a look-up; one whose value is too large to be kept is journaled as failed, not lost."""
    try:
        turn.write(gathered)
    except AdmissionError as error:
        if gathered.failure is not None:
            raise
        gathered = gathered.model_copy(update={"result": None, "failure": failure_of(error)})
        turn.write(gathered)
    return gathered


def evaluate(turn: Turn, facts: BaseModel) -> Evaluation:
    """See `Actor.evaluate`. Synchronous: a rule is pure, so nothing is waited for."""
    plain = plain_facts(facts, turn)
    with turn.step("evaluate", digest(plain)) as step:
        recorded = None if turn.script is None else turn.script.take_now(step)
        if recorded is not None:
            evaluated = expect(recorded.entry, EvaluatedEntry, turn)
        else:
            evaluated = EvaluatedEntry(step=step, facts=plain, evaluation=_judge(turn, facts))
            if turn.replaying:
                raise NotReplayableError(
                    f"replay of turn [{turn}] evaluates facts that were never evaluated; expected the recorded ones: "
                    "the code has changed",
                    reason="evaluate_never_recorded",
                )
            turn.write_when_live(evaluated)
        turn.gathered.evaluated = evaluated
        return evaluated.evaluation


def _judge(turn: Turn, facts: BaseModel) -> Evaluation:
    if not turn.policy.has_rule:
        raise NoRuleError(
            f"actor [{turn.host.journal}] has no policy; expected one to evaluate facts with: set policy on its class"
        )
    policy = turn.host.services.policies.runnable(turn.policy)
    if not isinstance(facts, policy.facts_model):
        raise PolicyRuleError(
            f"policy [{policy.name}] was asked about a [{type(facts).__name__}]; expected its "
            f"[{policy.facts_model.__name__}]: build that"
        )
    return policy.evaluate(facts)


async def find_precedents(
    turn: Turn,
    *,
    facts: BaseModel | None,
    facets: Mapping[str, JsonValue] | None,
    text: str | None,
    limit: int,
    key: str | None,
) -> tuple[PrecedentFound, ...]:
    """See `Actor.find_precedents`."""
    situation = None if facts is None else _situation(turn, facts)
    if situation is None and not facets and not text:
        raise AdmissionError("precedents are looked for by nothing; expected [facts, facets or text]: give one of them")
    asked: dict[str, JsonValue] = {"situation": situation, "facets": dict(facets or {}), "text": text, "limit": limit}
    plain = json_value(asked, limits=turn.host.services.limits)
    with turn.step("find_precedents", key or digest(plain)) as step:
        recorded = await turn.take(step)
        if recorded is not None:
            seen = expect(recorded.entry, PrecedentReferencedEntry, turn)
        else:
            found = await turn.host.services.precedents.find(
                situation=situation,
                facets=facets,
                text=text,
                exclude_turn=(turn.host.journal, turn.command_id),
                limit=limit,
            )
            seen = PrecedentReferencedEntry(
                step=step, situation=situation, facets=dict(facets) if facets else None, text=text, found=found
            )
            turn.write(seen)
        known = {precedent.decision_id for precedent in turn.gathered.precedents}
        turn.gathered.precedents.extend(found for found in seen.found if found.decision_id not in known)
        return seen.found


def _situation(turn: Turn, facts: BaseModel) -> str:
    rule = None if turn.actor is None else turn.actor.equivalence
    if rule is None:
        raise AdmissionError(
            f"actor [{turn.host.journal}] has no equivalence rule; expected one to find precedents by facts: "
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
    raise TurnStopped(
        NotReplayableError(
            f"turn [{turn}] cannot go on from an entry that is [{problem}]; expected a [{cls.kind}] with its body: "
            "abandon the turn with `loom turns abandon`",
            reason=f"not_resumable: {problem}",
        )
    )


def plain_facts(facts: BaseModel, turn: Turn) -> dict[str, JsonValue]:
    """Return facts as the plain JSON that is journaled; NaN and infinity are refused."""
    plain = json_value(facts.model_dump(mode="json"), limits=turn.host.services.limits)
    assert isinstance(plain, dict)  # noqa: S101 - a model dumps to an object
    return plain


def digest(value: JsonValue) -> str:
    """Return a digest of plain JSON that is the same whenever the same code asks the same thing."""
    raw = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(raw.encode()).hexdigest()[:32]


def failure_of(error: BaseException) -> Failure:
    """Return an exception in the form that is journaled: its type, and its words as far as they can be kept."""
    words = str(error)[:_MAX_MESSAGE].replace("\x00", "�").encode(errors="replace").decode()
    return Failure(type_name=type(error).__name__, message=words)


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
