"""The verb `find_precedents`: looks for earlier decisions, and journals those that it found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from loom.actors.keeping import keyed_digest
from loom.actors.turn import Turn
from loom.actors.verbs.evaluation import given_facts
from loom.actors.verbs.keyed_class import Situation, key_of_classes, situation_of
from loom.actors.verbs.protected_facts import check_facets, declared_facts, hold_keys_of_facts
from loom.actors.verbs.shared import context_of, digest, expect, failure_of
from loom.decisions.entries import Failure, PrecedentFound, PrecedentReferencedEntry
from loom.errors import AdmissionError, LookupFailedError, LoomError
from loom.journal.admission import json_value
from loom.precedents.similarity import check_nearness

__all__ = ["find_precedents"]

_MAX_PRECEDENTS = 1_000


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
            f"limit of precedents is [{limit}]; expected [1 to {_MAX_PRECEDENTS}]: ask for as many as are read"
        )
    check_nearness(similar_to, min_similarity)
    alike = None if facts is None else await _situation(turn, facts)
    situation = None if alike is None else alike.key
    _check_facets(turn, facets, facts)
    text = None if text is None else turn.protected.redact(text)  # as in the words that are searched
    similar_to = None if similar_to is None else turn.protected.redact(similar_to)
    if situation is None and not facets and not text and not similar_to:
        raise AdmissionError(
            "no criterion for precedents is given; expected [facts, facets, text or similar_to]: give one of them"
        )
    asked: dict[str, JsonValue] = {"situation": situation, "facets": dict(facets or {}), "text": text, "limit": limit}
    if similar_to is not None:  # searches without it keep the key that they always had
        asked |= {"similar_to": similar_to, "min_similarity": min_similarity}
    if alike is not None and alike.keys:  # the key of a step is in clear
        asked["situation"] = keyed_digest(alike.keys, alike.key, about="loom situation")
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
                situation=None if alike is None or alike.keys else alike.key,
                sealed_situation=None if alike is None else alike.sealed(turn),
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
    """Search the index; a user function that turns texts into vectors has the timeout of a fetcher."""
    precedents = turn.services.precedents
    timeout_s = None if similar_to is None else turn.services.options.lookup_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            position = await precedents.position()
            found = await precedents.find(
                **asked, similar_to=similar_to, exclude_turn=(turn.host.journal, turn.command_id)
            )
    except TimeoutError:
        return (), None, Failure(type_name="TimeoutError", message=f"no answer within {timeout_s} s")
    except LoomError as error:  # an index that lags or has stopped
        return (), None, failure_of(error)
    return found, position, None


async def _situation(turn: Turn, facts: BaseModel | Mapping[str, object]) -> Situation:
    rule = None if turn.actor is None else turn.actor.equivalence
    if rule is None:
        raise AdmissionError(
            f"actor [{turn.host.journal}] has no equivalence rule; expected one to find precedents by facts: "
            "set equivalence on its class, or look by facets or text"
        )
    await hold_keys_of_facts(turn, facts)
    given = given_facts(facts, turn)
    key_of = await key_of_classes(turn, rule)
    return situation_of(turn, rule, given, context_of(turn), key_of=key_of)


def _check_facets(turn: Turn, facets: Mapping[str, JsonValue] | None, facts: object) -> None:
    """Refuse a facet that is sealed in the given facts, or in those that the actor's rule evaluates."""
    if not facets:
        return
    evaluated, rule = turn.gathered.evaluated, getattr(turn.host.cls.policy, "facts_model", None)
    declared = [
        None if evaluated is None or evaluated.kept is None else evaluated.kept.declared,
        declared_facts(type(facts)) if isinstance(facts, BaseModel) else None,
        None if rule is None else declared_facts(rule),
    ]
    check_facets(facets, declared)
