"""Decision memory: all search conditions for decisions together; filters before the limit, pages by key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from loom.decisions.confirming import Confirmed, confirmed_decisions
from loom.decisions.finding import matching, within
from loom.decisions.rows import ROW
from loom.decisions.trace import SUMMARY, DecisionSummary
from loom.errors import AdmissionError
from loom.precedents.conditions import match_expression
from loom.precedents.filters import FILTERS, checked_filters
from loom.precedents.hits import has_facets, with_words
from loom.precedents.index import facet_text, is_original
from loom.precedents.similarity import Similarity, check_nearness, usable
from loom.projections import Queries

__all__ = ["Memory"]

_FIND = f"SELECT {SUMMARY} FROM trace_decisions WHERE "  # noqa: S608 - constants only
_FIND_BY_COMMAND = f"SELECT {SUMMARY}, command_type FROM trace_decisions WHERE "  # noqa: S608
_POSITIONS = "SELECT position FROM trace_decisions WHERE "
_ORIGINAL = "position IN (SELECT position FROM precedents WHERE excluded IS NULL)"
_AMONG = "position IN (SELECT value FROM json_each(:positions))"
_FIND_BY_WORDS = f"""
SELECT {SUMMARY} FROM (SELECT rowid AS place FROM precedent_words WHERE precedent_words MATCH :words) AS worded
CROSS JOIN trace_decisions ON position = worded.place WHERE
"""  # noqa: S608
_NEWEST_OF_WORDS = " ORDER BY worded.place DESC LIMIT :limit"
_NEWEST = " ORDER BY position DESC LIMIT :limit"
_FACET = "position IN (SELECT position FROM precedent_facets WHERE name = :facet_{0} AND value = :value_{0})"
_WORDS = "position IN (SELECT rowid FROM precedent_words WHERE precedent_words MATCH :words)"
_CLASS = "position IN (SELECT position FROM precedents WHERE precedent = :class OR situation = :class)"
_OUTCOME = """
position IN (
  SELECT position FROM precedents
  WHERE json_type(outcome, :path_{0}) = :type_{0} AND json_extract(outcome, :path_{0}) IS :said_{0}
)
"""
_NAMES = ("traces", "precedents")
_MOST = 16


class Memory:
    """Searches decisions by their content, in addition to the filters of `Traces.find`."""

    def __init__(self, queries: Queries, *, similarity: Similarity | None = None) -> None:
        self._queries = queries
        self._similarity = similarity

    async def search(
        self,
        *,
        facets: Mapping[str, JsonValue] | None = None,
        outcome: Mapping[str, JsonValue] | None = None,
        text: str | None = None,
        alike: str | None = None,
        similar_to: str | None = None,
        min_similarity: float | None = None,
        limit: int = 50,
        after: int | None = None,
        **given: Any,
    ) -> tuple[DecisionSummary, ...]:
        """Return the decisions that match all filters, newest first.

        `facets` are exact scalars of facts or context; a dot is a path into an object. `outcome` are values of the
        outcome. `text` are words of rationale and reasoning, all of which must match. `alike` is the full key of a
        situation or a precedent class. The other filters are those of `Traces.find`. `after` is the position of the
        last one already seen. With any filter that `Traces.find` does not have, only original decisions are found.

        With `similar_to` the matching decisions are suggested by the similarity of their rationale to a text, nearest
        first and not in pages; `min_similarity` (a cosine, -1..1) leaves out those below it.
        """
        given = checked_filters(given)
        check_nearness(similar_to, min_similarity)
        if similar_to is not None and after is not None:
            raise AdmissionError(
                f"similar decisions were requested after position [{after}]; expected one of the two, as the "
                "nearest come first: raise the limit"
            )
        bound: dict[str, object] = {"limit": limit}
        conditions = [*_facets(facets or {}, bound), *_outcomes(outcome or {}, bound)]
        if text is not None:
            bound["words"] = match_expression(text)
            if not bound["words"]:
                return ()
            conditions.append(_WORDS)
        if alike is not None:
            bound["class"] = alike
            conditions.append(_CLASS)
        matches, parameters = matching({**given, "after": 2**63 - 1 if after is None else after})
        select = _FIND if given.get("command_type") is None else _FIND_BY_COMMAND
        newest, asks_more = _NEWEST, bool(conditions)
        if conditions == [_WORDS] and similar_to is None and _NARROW.isdisjoint(given):
            # The index of words is read backwards, and no further than the limit asks.
            select, newest, conditions = _FIND_BY_WORDS, _NEWEST_OF_WORDS, []
        near: dict[int, float] = {}
        if similar_to is not None:
            conditions.append(_ORIGINAL)
            statement = _POSITIONS + " AND ".join([matches, *conditions])
            matching_rows = await self._queries.fetch(statement, {**parameters, **bound}, names=_NAMES)
            near = await usable(self._similarity).nearest(
                similar_to, [row["position"] for row in matching_rows], min_similarity=min_similarity, limit=limit
            )
            matches, parameters = _AMONG, {"positions": json.dumps(list(near))}
        statement = select + " AND ".join([matches, *conditions]) + newest
        rows = await self._queries.fetch(statement, {**parameters, **bound}, names=_NAMES)
        names = (
            *ROW,
            *(("sealed_class",) if alike is not None else ()),
            *(("facts", "context") if facets else ()),
            *(("reasoning",) if text is not None else ()),
        )
        hits = await confirmed_decisions(self._queries, rows, names=names)
        said = with_words(hits, str(bound["words"])) if text is not None else frozenset()
        found = []
        for hit in hits:
            alike_too = alike is None or alike in (hit.decision.get("precedent_class") or {}).values()
            worded = text is None or hit.row["position"] in said
            original = not asks_more or is_original(hit.decision)
            if alike_too and worded and original and has_facets(hit, facets or {}) and _came_to(hit, outcome or {}):
                found.append(DecisionSummary.of(hit.row))
            elif alike is None or hit.decision["sealed_class"] is None:
                self._queries.differences.add("precedents", hit.row["position"], "it is not what was looked for")
        times: dict[str, Any] = {name: given[name] for name in ("since", "until", "status", "by_time") if name in given}
        kept = [each for each in found if within(each, **times)]
        if similar_to is None:
            return tuple(kept)
        named = {each.position: each.model_copy(update={"similarity": near[each.position]}) for each in kept}
        return tuple(named[at] for at in near if at in named)


_NARROW = FILTERS - {"origin", "status", "since", "until", "by_time"}
"""The filters with an own index that is more selective than words."""


def _facets(facets: Mapping[str, JsonValue], bound: dict[str, object]) -> list[str]:
    _bounded(facets)
    for number, (name, value) in enumerate(facets.items()):
        text = facet_text(value)
        if text is None:
            raise AdmissionError(
                f"facet [{name}] is [{value!r:.60}]; expected a scalar: name a part of it, as in {name}.part"
            )
        bound[f"facet_{number}"], bound[f"value_{number}"] = name, text
    return [_FACET.format(number) for number in range(len(facets))]


def _outcomes(outcome: Mapping[str, JsonValue], bound: dict[str, object]) -> list[str]:
    _bounded(outcome)
    for number, (name, value) in enumerate(outcome.items()):
        if isinstance(value, list | dict) or '"' in name:
            raise AdmissionError(f"outcome [{name!r:.40}] is [{value!r:.60}]; expected a name and a scalar")
        bound[f"path_{number}"] = f'$."{name}"'
        bound[f"type_{number}"], bound[f"said_{number}"] = _json_type(value), value
    return [_OUTCOME.format(number) for number in range(len(outcome))]


def _came_to(hit: Confirmed, outcome: Mapping[str, JsonValue]) -> bool:
    """Tell whether a decision has these values in its outcome; 1, true and 1.0 are different."""
    said = hit.decision.get("outcome") or {}
    return all(
        name in said and said[name] == value and type(said[name]) is type(value) for name, value in outcome.items()
    )


def _bounded(given: Mapping[str, JsonValue]) -> None:
    if len(given) > _MOST:
        raise AdmissionError(f"[{len(given)}] values were given; expected at most [{_MOST}]: drop the least selective")


def _json_type(value: JsonValue) -> str:
    """Return SQLite's name for the type of a scalar, so that 1 and true are different."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "text" if isinstance(value, str) else "integer" if isinstance(value, int) else "real"
