"""Contradictions: equal situations that were decided in more than one way, and what separates the ways.

A situation is equal by a registered rule, so a contradiction is either inconsistency, or a fact that the rule does not
use. The recorded fact that separates the outcomes best is named if it does so better than chance.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.clock import datetime_from_us
from loom.decisions.confirming import Confirmed
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.hits import Hits
from loom.precedents.registry import EquivalenceRegistry
from loom.precedents.resolutions import Resolution, in_force, resolutions
from loom.precedents.separating import Separation, best_separation
from loom.projections import Queries
from loom.projections.sql import prefix_range

__all__ = [
    "Contradiction",
    "Contradictions",
    "DecidedSo",
    "SeparatedBy",
    "contradiction",
    "contradictions",
    "decider_of",
]

_SITUATIONS = """
SELECT situation, rule, count(*) AS outcomes, sum(support) AS cases, sum(support) - max(support) AS others
FROM precedent_classes {where} GROUP BY rule, situation
"""
_RESOLVED = "situation IN (SELECT value FROM json_each(:resolved))"
_LISTED = f"""
SELECT * FROM ({_SITUATIONS}) WHERE outcomes > 1 AND (:wanted IS NULL OR {_RESOLVED} = :wanted)
ORDER BY others DESC, cases DESC, rule, situation LIMIT :limit
"""  # noqa: S608 - constants only
_COUNTED = f"""
SELECT count(*) AS situations, coalesce(sum(outcomes > 1), 0) AS contradictory, coalesce(sum(others), 0) AS others,
  coalesce(sum(cases), 0) AS cases, coalesce(sum(outcomes > 1 AND {_RESOLVED}), 0) AS resolved FROM ({_SITUATIONS})
"""  # noqa: S608
_ONE = "SELECT situation FROM precedent_classes WHERE situation >= ? AND situation < ? GROUP BY situation LIMIT 3"
_CASES = """
SELECT p.position, p.decision_id, p.journal, p.command_id, p.decision_type, p.rationale, p.outcome, p.is_exception,
  p.recorded_at_us, p.situation, p.precedent, p.policy_name, p.policy_version, p.policy_hash, p.excluded,
  p.overruled_by, p.rule, NULL AS overruled_at
FROM precedents AS p WHERE p.situation = :situation AND p.excluded IS NULL AND p.position < :before
ORDER BY p.position DESC LIMIT :limit
"""
_NAMES = ("precedents",)
_ALSO = ("facts", "context", "approvals", "decided_at", "decided_by")
_PAGE = 1_000
_LOOKED_AT = 5_000
"""The number of decisions of one situation that are read, newest first."""
_SEPARATED = 2_000
_EXAMPLES = 5
_DECIDERS = 5
BY_RULE = "(the rule alone)"
"""Who decided where no person is named: code, by its policy."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class DecidedSo(_Frozen):
    """One outcome of a situation: count, first and last time, the most frequent deciders, and a few ids."""

    precedent: str
    words: str
    cases: int
    first_at: datetime
    last_at: datetime
    deciders: dict[str, int]
    examples: tuple[str, ...]


class SeparatedBy(_Frozen):
    """The recorded fact that separates the outcomes best: how many of each where the condition holds, and where not.

    `gain` is the share of the uncertainty about the outcome that it removes, `p_value` how often chance alone would.
    """

    fact: str
    words: str
    gain: float
    p_value: float
    inside: dict[str, int]
    outside: dict[str, int]

    @property
    def in_words(self) -> str:
        """The same as a sentence."""
        return f"{self.words}: {_shares(self.inside)}; else: {_shares(self.outside)}"


class Contradiction(_Frozen):
    """One situation that was decided in more than one way; outcomes are by frequency.

    `words` name the situation. `looked_at` is the number of its decisions that were read, the newest first: 5,000 at
    most, of which 2,000 are examined for the separation. `separation` is None where no recorded fact does better than
    chance. It is open until a person says which outcome stands, and open again when a later decision goes against that;
    `resolution` is what a person said last.
    """

    situation: str
    rule: str
    words: str
    cases: int
    looked_at: int
    outcomes: tuple[DecidedSo, ...]
    first_at: datetime
    last_at: datetime
    separation: SeparatedBy | None
    status: Literal["open", "resolved"] = "open"
    resolution: Resolution | None = None


class Contradictions(_Frozen):
    """The contradictions: the number of situations, how many were decided in more than one way, and a list of those.

    `others` counts the decisions that differ from the majority of their situation. `listed` begins with the situations
    with most of these. `resolved` counts those of which a person has said what stands, and nothing went against it.
    """

    situations: int
    contradictory: int
    cases: int
    others: int
    resolved: int = 0
    listed: tuple[Contradiction, ...]


async def contradictions(
    queries: Queries,
    hits: Hits,
    rules: EquivalenceRegistry,
    *,
    rule: str | None,
    limit: int,
    status: Literal["open", "resolved"] | None = None,
) -> Contradictions:
    """Return the contradictions by all rules, or by one, named by its full hash; of one status, if it is given."""
    said = await resolutions(queries.entries)
    settled = await in_force(queries, said)
    where, bound = ("", {}) if rule is None else ("WHERE rule = :rule", {"rule": rule})
    bound = {**bound, "resolved": json.dumps(sorted(settled))}
    [counted] = await queries.fetch(_COUNTED.format(where=where), bound, names=_NAMES)
    asked = {**bound, "limit": limit, "wanted": None if status is None else int(status == "resolved")}
    rows = await queries.fetch(_LISTED.format(where=where), asked, names=_NAMES)
    found = []
    for row in rows:
        known = rules.resolve(row["rule"]).rule if rules.knows(row["rule"]) else None
        members = await _members(queries, hits, row["situation"])
        if len({each.row["precedent"] for each in members}) > 1:
            each = _contradiction(row["situation"], row["rule"], row["cases"], members, known)
            found.append(_with_resolution(each, said.get(each.situation), settled))
        else:
            queries.differences.add("precedent_classes", row["situation"], "its decisions have one outcome")
    return Contradictions(**dict(counted), listed=tuple(found))


async def contradiction(
    queries: Queries, hits: Hits, rules: EquivalenceRegistry, situation: str
) -> Contradiction | None:
    """Return a contradiction by its situation or the beginning of it; None where there is no such one, or several."""
    rows = await queries.fetch(_ONE, prefix_range(situation), names=_NAMES)
    found = [row["situation"] for row in rows]
    key = situation if situation in found else found[0] if len(found) == 1 else None
    if key is None:
        return None
    members = await _members(queries, hits, key)
    if len({each.row["precedent"] for each in members}) < 2:
        return None
    rule = members[0].row["rule"]
    known = rules.resolve(rule).rule if rules.knows(rule) else None
    said = await resolutions(queries.entries)
    one = {each: said[each] for each in said if each == key}
    found_one = _contradiction(key, rule, len(members), members, known)
    return _with_resolution(found_one, one.get(key), await in_force(queries, one))


def _with_resolution(each: Contradiction, said: Resolution | None, settled: Collection[str]) -> Contradiction:
    status = "resolved" if each.situation in settled else "open"
    return each.model_copy(update={"status": status, "resolution": said})


async def _members(queries: Queries, hits: Hits, situation: str) -> list[Confirmed]:
    found: list[Confirmed] = []
    before = 2**63 - 1
    while len(found) < _LOOKED_AT:
        bound = {"situation": situation, "before": before, "limit": _PAGE}
        rows = await queries.fetch(_CASES, bound, names=_NAMES, consistent=False)
        found += await hits.confirmed(rows, also=_ALSO, by_class=True)
        if len(rows) < _PAGE:
            break
        before = rows[-1]["position"]
    return found


def _contradiction(
    situation: str, rule: str, cases: int, members: Sequence[Confirmed], known: EquivalenceRule | None
) -> Contradiction:
    groups: dict[str, list[Confirmed]] = {}
    for each in members:
        groups.setdefault(each.row["precedent"], []).append(each)
    outcomes = [_decided(precedent, group, known) for precedent, group in groups.items()]
    outcomes.sort(key=lambda each: (-each.cases, each.words, each.precedent))
    newest = members[0].decision
    words = {each.precedent: each.words for each in outcomes}
    looked = [(_recorded(each), words[each.row["precedent"]]) for each in members[:_SEPARATED]]
    return Contradiction(
        situation=situation,
        rule=rule,
        cases=cases,
        looked_at=len(members),
        outcomes=tuple(outcomes),
        words=situation[:12] if known is None else known.named(newest["facts"] or {}, context=newest["context"] or {}),
        first_at=min(each.first_at for each in outcomes),
        last_at=max(each.last_at for each in outcomes),
        separation=_separated(best_separation(looked)),
    )


def _decided(precedent: str, group: Sequence[Confirmed], known: EquivalenceRule | None) -> DecidedSo:
    outcome = group[0].decision.get("outcome") or {}
    times = [_decided_at(each) for each in group]
    deciders = Counter(decider_of(each.decision) for each in group)
    return DecidedSo(
        precedent=precedent,
        words=json.dumps(outcome, ensure_ascii=False) if known is None else known.outcome_in_words(outcome),
        cases=len(group),
        first_at=min(times),
        last_at=max(times),
        deciders=dict(deciders.most_common(_DECIDERS)),
        examples=tuple(each.decision["decision_id"] for each in group[:_EXAMPLES]),
    )


def _decided_at(each: Confirmed) -> datetime:
    claimed = each.decision.get("decided_at")
    return datetime_from_us(each.header.recorded_at_us) if claimed is None else datetime.fromisoformat(claimed)


def decider_of(decision: Mapping[str, Any]) -> str:
    """Return who decided, as far as an entry says: the name in its source if it is observed, else the last approver."""
    if (decision.get("origin") or "original") == "observed":
        return str(decision.get("decided_by") or "(not named)")
    named = [each["by"] for each in decision.get("approvals") or () if each.get("by")]
    return str(named[-1]) if named else BY_RULE


def _recorded(each: Confirmed) -> dict[str, JsonValue]:
    """Return the recorded values of a case by name: facts, values inside objects, context, and who decided."""
    found: dict[str, JsonValue] = {}
    for prefix, source in (("", each.decision.get("facts")), ("context ", each.decision.get("context"))):
        for name, value in (source or {}).items():
            if isinstance(value, dict):
                found |= {f"{prefix}{name}.{inner}": item for inner, item in value.items()}
            else:
                found[f"{prefix}{name}"] = value
    return {**found, "who decided": decider_of(each.decision)}


def _separated(found: Separation | None) -> SeparatedBy | None:
    if found is None:
        return None
    return SeparatedBy(
        fact=found.split.fact,
        words=found.split.words,
        gain=found.gain,
        p_value=found.p_value,
        inside=dict(found.inside),
        outside=dict(found.outside),
    )


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{n:,} of {total:,} {words}" for words, n in counts.items())
