"""Select decisions, and read them for judging: the recorded facts and evaluation, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from loom.background import awaiting
from loom.clock import us_from_datetime
from loom.decisions.confirming import imports_of
from loom.decisions.finding import ByTime, matching
from loom.decisions.imports import ImportEnds
from loom.decisions.referring import Referred
from loom.decisions.rows import DEFAULTS, decided_at_us, decision_parts
from loom.journal.entry import Part
from loom.journal.kinds import OWN_IDS
from loom.projections import Queries

__all__ = ["Recall", "Recalled", "Selection", "count", "made_by_anybody", "newest_from"]

_PAGE = 2_000
_LAST = 2**63 - 1
_IDS = 400
_LOOK = "SELECT position FROM trace_decisions"
_NAMES = ("traces",)
_READ = (
    "decision_id",
    "policy.name",
    "policy.version",
    "policy.hash",
    "evaluation.effect",
    "policy.rule",
    "run_id",
    "evaluation.tier",
    "facts",
)
_EXACT = {"run_id": "run_id", "decision_type": "decision_type", "origin": "origin", "policy": "policy.name"}
"""The conditions of a selection that are values of a decision."""
_ENDED = "(origin <> 'observed' OR status = 'settled')"
"""Imported decisions are judged once their import has ended."""
_RUN = _READ.index("run_id")
_COUNT = "SELECT count(*) FROM trace_decisions"


@dataclass(frozen=True, slots=True)
class Selection:
    """Decisions that match all given conditions; `ids` may be prefixes of ids. `until` itself is excluded.

    Only original decisions are selected, unless `origin` is another or `any`, or a run or ids are given. Times are the
    times at which decisions were made (for observed ones, as their source claims), or, with `by_time="recorded"`, the
    times at which they were recorded.
    """

    run_id: str | None = None
    journal: str | None = None
    policy: str | None = None
    policy_version: str | None = None
    actor_type: str | None = None
    actor_key: str | None = None
    decision_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    origin: Literal["original", "replayed", "observed", "any"] | None = None
    ids: tuple[str, ...] = ()
    by_time: ByTime = "decided"

    def plain(self) -> dict[str, object]:
        """Return the given conditions as plain JSON."""
        given = {key: value for key, value in asdict(self).items() if value not in (None, ()) and key != "by_time"}
        given |= {"by_time": self.by_time} if self.by_time != "decided" else {}
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in given.items()}


class Recalled(NamedTuple):
    """The parts of a decision that judging needs: its place, its version, the recorded evaluation, and the facts.

    An observed decision has no policy and no evaluation. `more` has the additional fields, in the order of `also`.
    """

    position: int
    decision_id: str
    journal: str
    sequence: int
    policy_name: str | None
    policy_version: str | None
    policy_hash: str | None
    effect: str | None
    rule: str | None
    run_id: str | None
    tier: str | None
    facts: Mapping[str, JsonValue] | None
    recorded_at_us: int = 0
    more: tuple[Any, ...] = ()
    decided_at_us: int = 0
    closed: Literal["sealed", "erased"] | None = None
    """Why the facts cannot be read whole."""
    outcome_closed: Literal["sealed", "erased"] | None = None
    opened: bool = False
    """Whether sealed values of it were opened."""


class Recall:
    """Reads the decisions of a selection, oldest first, from their entries: the views only give the positions.

    `also` names additional fields of each decision. `left_out` counts the rows of the views that differ from the
    journal; they are not used. Decisions up to position `behind` are passed over.
    """

    def __init__(self, queries: Queries, selection: Selection, *, also: Sequence[str] = (), behind: int = 0) -> None:
        self._queries = queries
        self._behind = behind
        self.selection = selection
        given = _given(selection)
        exact = {_EXACT[name]: value for name, value in given.items() if name in _EXACT and value is not None}
        self._names = tuple(dict.fromkeys((*_READ, *exact, *also, "decided_at")))
        self._decided_at = self._names.index("decided_at")
        self._also = [self._names.index(name) for name in also]
        self._joined: tuple[Referred, ...] = ("approvals",) if "approvals" in also else ()
        self._as_written = exact.keys() - set(also)
        self._exact = [(self._names.index(name), _written_as(name, value)) for name, value in exact.items()]
        self._version = given["policy_version"]
        self._actor = (given["actor_type"], given["actor_key"])
        self._since_us = 0 if selection.since is None else us_from_datetime(selection.since)
        self._until_us = _LAST if selection.until is None else us_from_datetime(selection.until)
        self._by_recorded = selection.by_time == "recorded"
        self._imports = ImportEnds()
        self.left_out = 0

    async def pages(self) -> AsyncIterator[list[Recalled]]:
        """Yield the decisions in pages; the next page is read while the caller works on the last."""
        page, behind = await self._page(self._behind)
        while behind is not None:
            async with awaiting(self._page(behind)) as following:
                if page:
                    yield page
                page, behind = await following
        if page:
            yield page

    async def _page(self, behind: int) -> tuple[list[Recalled], int | None]:
        """Return the decisions of a page, and the position at which it ends if there may be more."""
        conditions, parameters = _conditions(self.selection)
        where = " AND ".join([*conditions, "trace_decisions.position > :behind"])
        self._imports = await imports_of(self._queries)
        statement = f"{_LOOK} WHERE {where} ORDER BY trace_decisions.position LIMIT {_PAGE}"
        rows = await self._queries.fetch(statement, {**parameters, "behind": behind}, names=_NAMES)
        positions = [row["position"] for row in rows]
        found: Mapping[int, Part] = {}
        if rows:
            found = await decision_parts(
                self._queries.entries, positions, self._names, joined=self._joined, as_written=self._as_written
            )
        page = [each for at in positions if (each := self._recalled(at, found.get(at))) is not None]
        return page, positions[-1] if len(rows) == _PAGE else None

    def _recalled(self, position: int, part: Part | None) -> Recalled | None:
        """Return the decision of an entry; None if it is pruned, or does not match the selection."""
        if part is None:
            return self._differs(position, "there is no decision at its position")
        if part.values is None:
            return None
        values, recorded = part.values, part.recorded_at_us
        claimed = values[self._decided_at]
        decided = recorded if claimed is None else decided_at_us(part, claimed)
        if not self._is_meant(part, values, recorded if self._by_recorded else decided):
            return self._differs(position, "it is not of the selection")
        if part.kind in OWN_IDS and self._imports.status(values[_RUN]) != "settled":
            return None
        more = tuple([values[index] for index in self._also]) if self._also else ()
        decision_id, *said = values[: len(_READ)]
        return Recalled._make(
            (position, decision_id, part.journal, part.sequence, *said, recorded, more, decided, None, None, False)
        )

    def _is_meant(self, part: Part, values: tuple[Any, ...], at_us: int) -> bool:
        """Tell whether a decision matches the selection, by its own entry."""
        if not self._since_us <= at_us < self._until_us:
            return False
        for index, wanted in self._exact:
            if values[index] not in wanted:
                return False
        if self._actor != (None, None):
            wanted_type, wanted_key = self._actor
            actor_type, _, actor_key = part.journal.partition("/")
            if wanted_type not in (None, actor_type) or wanted_key not in (None, actor_key):
                return False
        if self._version is not None:
            _, _, version, full_hash, *_ = values
            if self._version not in (version, (version or "").removeprefix("policy_"), full_hash):
                return False
        return not self.selection.ids or values[0].startswith(self.selection.ids)

    def _differs(self, position: int, problem: str) -> Recalled | None:
        self.left_out += 1
        self._queries.differences.add("trace_decisions", position, problem)
        return None


def made_by_anybody(selection: Selection) -> tuple[Selection, ...]:
    """Return selections that include observed decisions, unless the selection names an origin, a run or ids."""
    if selection.origin is not None or selection.run_id is not None or selection.ids:
        return (selection,)
    return replace(selection, origin="original"), replace(selection, origin="observed")


async def count(queries: Queries, selection: Selection) -> int:
    """Return how many decisions a selection has, by the views: exact enough for a progress report."""
    conditions, parameters = _conditions(selection)
    where = " AND ".join(conditions) or "true"
    return int((await queries.fetch(f"{_COUNT} WHERE {where}", parameters, names=_NAMES))[0][0])


async def newest_from(queries: Queries, selection: Selection, *, most: int) -> tuple[int, int]:
    """Return the position behind which the newest `most` decisions of a selection lie, and the number of older ones."""
    conditions, parameters = _conditions(selection)
    where = " AND ".join(conditions) or "true"
    older = max(0, await count(queries, selection) - most)
    if not older:
        return 0, 0
    statement = f"{_LOOK} WHERE {where} ORDER BY trace_decisions.position LIMIT 1 OFFSET :older"
    rows = await queries.fetch(statement, {**parameters, "older": older - 1}, names=_NAMES)
    return (int(rows[0][0]), older) if rows else (0, 0)


def _written_as(name: str, value: object) -> tuple[object, ...]:
    """Return how a decision writes a value; a default one may be left out."""
    return (value, None) if DEFAULTS.get(name) == value else (value,)


def _given(selection: Selection) -> dict[str, Any]:
    """Return the conditions by name, with the default origin filled in."""
    given = asdict(selection)
    ids, journal = given.pop("ids"), given.pop("journal")
    if given["origin"] is None and given["run_id"] is None and not ids:
        given["origin"] = "original"
    elif given["origin"] == "any":
        given["origin"] = None
    if journal is not None:
        given["actor_type"], _, given["actor_key"] = journal.partition("/")
    return given


def _conditions(selection: Selection) -> tuple[list[str], dict[str, Any]]:
    ids: Sequence[str] = selection.ids
    condition, parameters = matching(_given(selection))
    conditions = [condition] if condition else []
    conditions.append(_ENDED)
    if ids:
        alternatives = []
        for number, begin in enumerate(ids[:_IDS]):
            parameters[f"id_{number}"], parameters[f"id_{number}_end"] = begin, begin + "\U0010ffff"
            alternatives.append(f"(decision_id >= :id_{number} AND decision_id < :id_{number}_end)")
        conditions.append(f"({' OR '.join(alternatives)})")
    return conditions, parameters
