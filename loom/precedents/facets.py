"""Facet counts: the number of decisions for each value of a fact, in a window.

For a declared facet, an attribute of a registered equivalence rule, whole days (UTC) come from sums in the views; the
rest of the first and the last day is read. A facet without sums is read from the entries, newest first, with a time
limit: the answer says whether all were read.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.clock import us_from_datetime
from loom.decisions.confirming import Confirmed, confirmed_decisions, imports_of
from loom.decisions.finding import matching
from loom.decisions.rows import ROW, decisions_at
from loom.errors import AdmissionError
from loom.identity import check_limit
from loom.precedents.attributes import Bin, FromContext
from loom.precedents.filters import checked_filters
from loom.precedents.index import facets_of
from loom.precedents.registry import EquivalenceRegistry, RuleVersion
from loom.precedents.sums import DAY, DAY_US, EVERY, MONTH, OTHERS, YEAR, declaration_of, month_of, value_text
from loom.projections import Queries

__all__ = ["FacetCount", "FacetCounts", "facet_counts"]

_FACET = "SELECT facet FROM precedent_sum_facets WHERE declaration = ?"
_SUMS = """
WITH spans AS MATERIALIZED (
  SELECT json_extract(value, '$[0]') AS span, json_extract(value, '$[1]') AS first, json_extract(value, '$[2]') AS last
  FROM json_each(:spans)
)
SELECT v.value, s.grp, sum(s.decisions) AS decisions
FROM spans CROSS JOIN precedent_sum_values AS v CROSS JOIN precedent_sums AS s
WHERE v.facet = :facet AND s.facet = v.facet AND s.value = v.number AND s.by_time IN (0, :by_time)
  AND s.span = spans.span AND s.begin >= spans.first AND s.begin < spans.last
GROUP BY s.value, s.grp
"""
_GROUPS = """
SELECT grp, verdict, is_exception FROM precedent_sum_groups
WHERE (:origin IS NULL OR origin = :origin) AND (:decision_type IS NULL OR decision_type = :decision_type)
  AND (:actor_type IS NULL OR actor_type = :actor_type) AND (:policy IS NULL OR policy = :policy)
  AND (:is_exception IS NULL OR is_exception = :is_exception)
"""
_SUMMED_BY = ("origin", "decision_type", "actor_type", "policy", "is_exception")
_NEWEST = """
SELECT value, (
  SELECT max(f.position) FROM precedent_facets AS f WHERE f.name = :name AND f.value = wanted.value
) AS position
FROM json_each(:values) AS wanted
"""
_READ = """
SELECT position, journal, command_id, decision_type, actor_type, policy_name, is_exception, verdict, origin, run_id,
  decided_at_us, recorded_at_us{} FROM trace_decisions WHERE {} ORDER BY position DESC LIMIT :limit
"""
_PAGE = 1_000
_NAMES = ("traces", "precedents")
_FIRST, _LAST = -(2**40), 2**40


class FacetCount(BaseModel):
    """One value of a facet, or the part of a range, with its number of decisions.

    `granted` and `denied` are those that say so; `exceptions` may be either.
    """

    model_config = ConfigDict(frozen=True)

    value: JsonValue
    decisions: int
    granted: int
    denied: int
    exceptions: int


class FacetCounts(BaseModel):
    """The number of decisions for each value of a facet, the most frequent first.

    `rule` is the version of the equivalence rule that declares the facet; None where no rule does, and all is read.
    `decisions` are all that match, whatever their facts. `others` have values without sums of their own; `left_out`
    are further values. `read` decisions were read; where these were not all, it is not `complete`.
    """

    model_config = ConfigDict(frozen=True)

    facet: str
    rule: str | None
    decisions: int
    values: tuple[FacetCount, ...]
    others: int = 0
    left_out: int = 0
    read: int = 0
    complete: bool = True


class _Found(NamedTuple):
    """A declared facet, with its rule and attribute."""

    rule: RuleVersion
    declaration: str
    bin: Bin | None


async def facet_counts(
    queries: Queries,
    rules: EquivalenceRegistry,
    name: str,
    *,
    rule: str | None = None,
    limit: int = 50,
    within_s: float = 1.0,
    **given: Any,
) -> FacetCounts:
    """Return the number of matching decisions for each value of a facet; see `Precedents.facets`."""
    check_limit(limit)
    wanted = checked_filters(given)
    declared = _declared(rules, name, rule)
    tally = _Tally(name, declared)
    facet = None if declared is None or not _summed(wanted) else await _facet(queries, declared.declaration)
    windows: Sequence[tuple[int | None, int | None]] = [(_us(wanted.get("since")), _us(wanted.get("until")))]
    if facet is not None:
        spans, windows = _split(*windows[0])
        await _add_sums(queries, tally, facet, spans, wanted)
    until_s, complete = time.monotonic() + within_s, True
    for since, until in windows:
        complete &= await _read(queries, tally, {**wanted, "since": since, "until": until}, until_s=until_s)
    there = await _there(queries, tally, [value for value in tally.ranked()[:limit] if value not in tally.met])
    return tally.counts(there | tally.met, limit=limit, complete=complete)


class _Tally:
    """Decisions by value, verdict and whether they are exceptions."""

    def __init__(self, name: str, declared: _Found | None) -> None:
        self.name = name
        self.declared = declared
        self.decisions = self.others = self.read = 0
        self.met: set[str] = set()
        self._of: dict[str, Counter[str]] = {}

    def add(self, value: str, decisions: int, *, verdict: str | None, is_exception: int) -> None:
        """Add decisions of one value."""
        found = self._of.setdefault(value, Counter())
        found["decisions"] += decisions
        found["exceptions"] += decisions * bool(is_exception)
        found[verdict or ""] += decisions

    def add_decision(self, hit: Confirmed) -> None:
        """Add a decision that was read."""
        self.read += 1
        self.decisions += 1
        about: dict[str, Any] = {"verdict": hit.row["verdict"], "is_exception": hit.row["is_exception"]}
        for name, text in facets_of(hit.decision):
            value = text if self.declared is None else value_text(self.declared.declaration, text)
            if name == self.name and value is not None:
                self.met.add(value)
                self.add(value, 1, **about)

    def ranked(self) -> list[str]:
        """Return the values, the most frequent first."""
        return sorted(self._of, key=lambda value: (-self._of[value]["decisions"], value))

    def counts(self, there: Collection[str], *, limit: int, complete: bool) -> FacetCounts:
        """Return the result, without values that no decision has."""
        plain = self.declared is None or self.declared.bin is None
        ranked = self.ranked()
        return FacetCounts(
            facet=self.name,
            rule=None if self.declared is None else self.declared.rule.version,
            decisions=self.decisions,
            others=self.others,
            read=self.read,
            complete=complete,
            left_out=max(len(ranked) - limit, 0),
            values=tuple(
                FacetCount(
                    value=json.loads(value) if plain else value,
                    decisions=found["decisions"],
                    granted=found["granted"],
                    denied=found["denied"],
                    exceptions=found["exceptions"],
                )
                for value, found in ((each, self._of[each]) for each in ranked[:limit] if each in there)
            ),
        )


def _declared(rules: EquivalenceRegistry, name: str, rule: str | None) -> _Found | None:
    """Return the facet of a name: of the given rule, or of the rule that was last registered, in its last version."""
    last = {each.name: each for each in rules.versions()}
    chosen = [last[rules.resolve(rule).name]] if rule is not None else list(last.values())
    for version in sorted(chosen, key=lambda each: each.registered_at, reverse=True):
        for attribute in version.rule.attributes:
            inner = attribute.attribute if isinstance(attribute, FromContext) else attribute
            plain = inner if isinstance(inner, Bin) or inner.keyed else inner.name
            declaration = declaration_of(plain) if inner.name == name and "set" not in inner.declaration() else None
            if declaration is not None:
                return _Found(version, declaration, inner if isinstance(inner, Bin) else None)
    if rule is not None:
        raise AdmissionError(
            f"facet [{name!r:.80}] is no attribute of rule [{chosen[0].version}]; expected a scalar one of its last "
            "version: leave out the rule, or name another"
        )
    return None


def _summed(wanted: Mapping[str, Any]) -> bool:
    """Tell whether there are sums for all the filters."""
    return wanted.keys() <= {*_SUMMED_BY, "since", "until", "by_time"} and wanted.get("origin") != "replayed"


async def _facet(queries: Queries, declaration: str) -> int | None:
    rows = await queries.fetch(_FACET, (declaration,), names=_NAMES)
    return int(rows[0]["facet"]) if rows else None


def _us(at: datetime | None) -> int | None:
    return None if at is None else us_from_datetime(at)


def _split(
    since: int | None, until: int | None
) -> tuple[list[tuple[int, int, int]], list[tuple[int | None, int | None]]]:
    """Return a window as spans of whole days, months and years (which, from, to), and its remaining ends."""
    first = _FIRST if since is None else -(-since // DAY_US)
    last = _LAST if until is None else until // DAY_US
    if first >= last:
        return [], [(since, until)]
    edges: list[tuple[int | None, int | None]] = []
    if since is not None and since % DAY_US:
        edges.append((since, first * DAY_US))
    if until is not None and until % DAY_US:
        edges.append((last * DAY_US, until))
    return _spans(first, last), edges


def _spans(first: int, last: int) -> list[tuple[int, int, int]]:
    """Return days from a first to before a last one, as whole years and months where possible."""
    begin, end = _FIRST if first == _FIRST else _next_month(first), _LAST if last == _LAST else month_of(last)
    if begin >= end:
        return [(DAY, first, last)]
    found = [(DAY, first, _first_day(begin))] if begin != _FIRST else []
    found += [(DAY, _first_day(end), last)] if end != _LAST else []
    years = _FIRST if begin == _FIRST else -(-begin // 12), _LAST if end == _LAST else end // 12
    if years[0] >= years[1]:
        return [*found, (MONTH, begin, end)]
    found += [(MONTH, begin, years[0] * 12)] if begin != _FIRST else []
    found += [(MONTH, years[1] * 12, end)] if end != _LAST else []
    return [*found, (YEAR, *years)]


def _next_month(day: int) -> int:
    """Return the month that begins on a day, or else the next one."""
    month = month_of(day)
    return month if _first_day(month) == day else month + 1


def _first_day(month: int) -> int:
    year, number = divmod(month, 12)
    return datetime(year, number + 1, 1).toordinal() - datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 - days only


async def _add_sums(
    queries: Queries, tally: _Tally, facet: int, spans: Sequence[tuple[int, int, int]], wanted: Mapping[str, Any]
) -> None:
    bound = {"spans": json.dumps(spans), "by_time": 2 if wanted.get("by_time") == "recorded" else 1}
    rows = await queries.fetch(_GROUPS, {name: wanted.get(name) for name in _SUMMED_BY}, names=_NAMES)
    groups = {row["grp"]: (row["verdict"], row["is_exception"]) for row in rows}

    async def summed(of: int) -> list[tuple[str, int, int]]:
        rows = await queries.fetch(_SUMS, {**bound, "facet": of}, names=_NAMES, consistent=False)
        return [(row["value"], row["grp"], row["decisions"]) for row in rows if row["grp"] in groups]

    tally.decisions += sum(decisions for _, _, decisions in await summed(EVERY))
    found = await summed(facet)
    tally.others += sum(decisions for value, _, decisions in found if value == OTHERS)
    for value, group, decisions in found:
        if value != OTHERS:
            verdict, is_exception = groups[group]
            tally.add(value, decisions, verdict=verdict, is_exception=is_exception)


async def _there(queries: Queries, tally: _Tally, values: Sequence[str]) -> frozenset[str]:
    """Return the values that some decision has by its entry, or the rule as a part: a view cannot invent one."""
    declared = tally.declared
    if declared is not None and declared.bin is not None:
        return frozenset(declared.bin.parts()) & frozenset(values)
    bound = {"name": tally.name, "values": json.dumps(values)}
    rows = await queries.fetch(_NEWEST, bound, names=_NAMES, consistent=False) if values else ()
    newest = {row["value"]: row["position"] for row in rows if row["position"] is not None}
    found = await decisions_at(queries.entries, sorted(set(newest.values())), ("facts", "context"))
    there = set()
    for value in values:
        _, decision = found.get(newest.get(value, 0), (None, None))
        if decision is not None and (tally.name, value) in facets_of(decision):
            there.add(value)
        elif decision is not None or value not in newest:
            queries.differences.add("precedent_sum_values", f"{tally.name} {value}", "no decision has it")
    return frozenset(there)


async def _read(queries: Queries, tally: _Tally, wanted: dict[str, Any], *, until_s: float) -> bool:
    """Add the decisions of a window, newest first. Return whether the time was sufficient for all of them."""
    status, replayed = wanted.get("status"), wanted.get("origin") == "replayed"
    imports = await imports_of(queries)
    more = "".join(f", {name}" for name in ("status", "command_type") if name in wanted)
    after: int | None = None
    while True:
        matches, parameters = matching({**wanted, "after": after})
        bound = {**parameters, "limit": _PAGE}
        rows = await queries.fetch(_READ.format(more, matches), bound, names=_NAMES, consistent=after is None)
        for hit in await confirmed_decisions(queries, rows, names=(*ROW, "facts", "context")):
            row = hit.row
            unfinished = row["origin"] == "observed" and imports.status(row["run_id"]) != "settled"
            if not unfinished and (row["origin"] == "replayed") == replayed and status in (None, row.get("status")):
                tally.add_decision(hit)
        if len(rows) < _PAGE:
            return True
        if time.monotonic() > until_s:
            return False
        after = rows[-1]["position"]
