"""Results of a search in the index, compared with the journal before they are shown or used.

Whether a case is superseded follows from other entries: from the adopted version, which the registry knows, and from a
later decision, which the index can hide but not invent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Literal

from pydantic import JsonValue

from loom.decisions.confirming import Confirmed, TurnEnds, confirmed_decisions
from loom.decisions.holding import held_decisions
from loom.decisions.referring import Referred
from loom.decisions.rows import decision_row, decisions_at
from loom.policies.entries import PolicyAdoptedEntry
from loom.policies.registry import POLICY_JOURNAL, PolicyRegistry
from loom.precedents.index import (
    CLASS,
    ROW,
    WORDS,
    PrecedentsProjection,
    confirmable_row,
    facet_text,
    facets_of,
    is_original,
    overruled_in,
    precedent_row,
    words_of,
)
from loom.projections import Queries, Row
from loom.projections.private import PrivateViews
from loom.projections.sql import statements

__all__ = ["Hits", "has_facets", "hold_precedents", "with_words"]

_TABLE = "precedents"
_MATCH = "SELECT rowid FROM precedent_words WHERE precedent_words MATCH ?"


class Hits:
    """Compares hits with their entries. Without a registry of `policies`, adoptions are read from its journal."""

    def __init__(self, queries: Queries, policies: PolicyRegistry | None = None) -> None:
        self._queries = queries
        self._policies = policies
        self._adopted: dict[str, str] = {}
        self._read_to = 0

    async def confirmed(
        self,
        rows: Sequence[Row],
        *,
        facets: Mapping[str, JsonValue] | None = None,
        words: str | None = None,
        also: Sequence[str] = (),
        by_class: bool = False,
    ) -> list[Confirmed]:
        """Return the rows of `precedents` that match their entries, facets and words.

        A row gets `superseded`: why it is no longer valid, or None. `also` names further parts of the decisions to
        read. A class that is sealed and cannot be opened is left out of its row, and with `by_class` the row with it.
        """
        if not rows:
            return []
        names = (*ROW, *(("facts", "context") if facets else ()), *(("reasoning",) if words is not None else ()))
        names = tuple(dict.fromkeys((*names, *also)))
        joined: tuple[Referred, ...] = ("approvals",) if "approvals" in also else ()
        found = await confirmed_decisions(
            self._queries, rows, table=_TABLE, make_row=confirmable_row, names=names, joined=joined
        )
        for each in found:
            if _is_closed(each):
                each.row.update(dict.fromkeys(CLASS & each.row.keys()))
        kept = [each for each in found if self._matches(each, facets) and not (by_class and _is_closed(each))]
        if words is not None:
            said = with_words(kept, words)
            kept = [each for each in kept if each.row["position"] in said or self._doubt(each, "it has other words")]
        await self._mark(kept)
        return kept

    def _matches(self, hit: Confirmed, facets: Mapping[str, JsonValue] | None) -> bool:
        if not is_original(hit.decision):
            return self._doubt(hit, "it was replayed")
        return has_facets(hit, facets or {}) or self._doubt(hit, "it has other facets")

    def _doubt(self, hit: Confirmed, problem: str) -> bool:
        self._queries.differences.add(_TABLE, hit.row["position"], problem)
        return False

    async def _mark(self, hits: Sequence[Confirmed]) -> None:
        overruling = await self._overruling({each.row["overruled_at"] for each in hits} - {None})
        if self._policies is None and hits:
            await self._read_adopted()
        for hit in hits:
            row = hit.row
            superseded: Literal["policy", "overruled"] | None = None
            policy = row["policy_name"]
            if policy is not None and self._hash_adopted(policy) not in (None, row["policy_hash"]):
                superseded = "policy"
            if row["overruled_at"] is not None and row["decision_id"] in overruling.get(row["overruled_at"], ()):
                superseded = "overruled"
            elif row["overruled_by"] is not None:
                self._doubt(hit, "nothing that is usable overrules it")
            row["superseded"] = superseded

    async def _overruling(self, positions: set[int]) -> dict[int, list[str]]:
        """Return the decisions that those at some positions overrule, as far as these are usable."""
        if not positions:
            return {}
        found = await decisions_at(self._queries.entries, sorted(positions), ("precedents", "origin"))
        ends = await TurnEnds.of(self._queries, [header for header, _ in found.values()])
        return {
            position: overruled_in(decision)
            for position, (header, decision) in found.items()
            if decision is not None and is_original(decision) and ends.excluded(header) is None
        }

    def _hash_adopted(self, policy: str) -> str | None:
        if self._policies is None:
            return self._adopted.get(policy)
        version = self._policies.adopted(policy)
        return None if version is None else version.hash

    async def _read_adopted(self) -> None:
        async for recorded in self._queries.entries.read(POLICY_JOURNAL, after=self._read_to):
            if isinstance(recorded.entry, PolicyAdoptedEntry):
                self._adopted[recorded.entry.name] = recorded.entry.hash
            self._read_to = recorded.sequence


def _is_closed(hit: Confirmed) -> bool:
    return hit.decision["sealed_class"] is not None and hit.decision["precedent_class"] is None


def has_facets(hit: Confirmed, facets: Mapping[str, JsonValue]) -> bool:
    """Tell whether a decision has these facts or context."""
    known = facets_of(hit.decision) if facets else ()
    return all((name, facet_text(value)) in known for name, value in facets.items())


def with_words(hits: Sequence[Confirmed], words: str) -> frozenset[int]:
    """Return the positions of hits that contain some words, by the same full-text search as the index."""
    [create] = [each for each in statements(PrecedentsProjection.schema) if "VIRTUAL TABLE precedent_words" in each]
    with closing(sqlite3.connect(":memory:")) as index:
        index.execute(create)
        index.executemany(WORDS, [(each.row["position"], *words_of(each.decision)) for each in hits])
        return frozenset(row[0] for row in index.execute(_MATCH, (words,)))


async def _with_class(queries: Queries, decision: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a decision with its sealed class opened, where this process has the keys."""
    sealed = decision.get("sealed_class")
    if sealed is None or queries.opener is None:
        return decision
    return {**decision, "precedent_class": await queries.opener.opened(sealed)}


async def hold_precedents(queries: Queries, views: PrivateViews, positions: Sequence[int]) -> None:
    """Add decisions and, for the original ones, their rows in the index to private tables, from their entries.

    Which later decision overruled one is left out: no sum needs it.
    """
    async for page in held_decisions(queries, positions):
        ends = await TurnEnds.of(queries, [each.recorded for each in page])
        await views.add("trace_decisions", [decision_row(*each) for each in page])
        await views.add(
            _TABLE,
            [
                {
                    **precedent_row(each.recorded, await _with_class(queries, each.decision)),
                    "excluded": ends.excluded(each.recorded, run_id=each.decision.get("run_id")),
                }
                for each in page
                if is_original(each.decision)
            ],
        )
