"""The subjects in both windows, their steps, and the decisions about them in each window.

A subject is the actor (the persona of a simulation), and its step is the type of the decision with the facts that have
to be the same in a class; `pair_by` names others, the subject first. A subject is *followed* if it is in both windows
and none of its steps is repeated within one. A journal with repeated steps (of an agent that decides many cases) does
not identify a subject: each of its decisions is treated by itself. A subject of one window only has no partner; its
decisions are still kept together.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from loom.drift.flips import Exchanged
from loom.drift.reading import Case
from loom.errors import WindowError
from loom.precedents.equivalence import EquivalenceRule

__all__ = ["Naming", "Pairing", "Sightings", "pair_up"]

_ABSENT = object()


class _Sight(NamedTuple):
    """One decision of a subject."""

    step: str
    again: str
    """The step with its occurrence within the turn, for subjects that meet a step more than once."""
    precedent: str
    situation: str
    effect: str | None
    facts: bytes | None


@dataclass(frozen=True, slots=True)
class Naming:
    """The names of subject and step: by default the actor, and the type of decision with the exact facts."""

    pair_by: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()

    @classmethod
    def of(cls, rule: EquivalenceRule | None, pair_by: Sequence[str] | None) -> Naming:
        """Return the naming for classes of a rule; raise `WindowError` for an empty pairing key."""
        if pair_by is not None and (isinstance(pair_by, str) or not pair_by or not all(pair_by)):
            raise WindowError(
                f"decisions are paired by [{pair_by}]; expected the names of facts or context that identify the "
                "subject and its step: give them in a list, the subject first"
            )
        declared: Any = [] if rule is None else rule.document()["attributes"]
        exact = tuple(str(each["exact"]) for each in declared if "exact" in each and "from" not in each)
        return cls(tuple(pair_by or ()), exact)

    def of_case(self, case: Case) -> tuple[str, str, str] | None:
        """Return subject, step, and step with its occurrence; None for a decision without these values."""
        if not self.pair_by:
            step = [case.decision_type, *(_looked_up(case.facts, name) for name in self.exact)]
            return case.journal, _text(step), _text([*step, case.occurrence])
        values = [_named(case, name) for name in self.pair_by]
        if _ABSENT in values:
            return None
        return _text(values[0]), _text(values[1:]), _text(values[1:])


@dataclass(slots=True)
class Sightings:
    """Collects the decisions of one window by subject.

    `unnamed` are the decisions without the values that identify a subject. `others` are subjects that are only counted,
    by class: with `only`, all that are not in it.
    """

    naming: Naming
    only: frozenset[str] | None = None
    by_subject: dict[str, list[_Sight]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unnamed: Counter[str] = field(default_factory=Counter)

    def feed(self, page: Iterable[Case]) -> None:
        """Add some decisions; those without a class are not part of a pattern."""
        for case in page:
            if case.precedent is None or case.situation is None:
                continue
            if self.only is not None and case.journal not in self.only:
                self.others[case.journal][case.precedent] += 1
                continue
            named = self.naming.of_case(case)
            if named is None:
                self.unnamed[case.precedent] += 1
                continue
            subject, step, again = named
            sight = _Sight(step, again, case.precedent, case.situation, case.effect, _digest(case.facts))
            self.by_subject[subject].append(sight)


@dataclass(slots=True)
class Pairing:
    """Two windows by subject: the units of exchange, the counts of pairs, and the decisions without a partner."""

    unit: Literal["subject", "pair"] = "subject"
    units: list[Exchanged] = field(default_factory=list)
    subjects: int = 0
    pairs: int = 0
    same_situation: int = 0
    turned: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Pairs of one situation that were decided otherwise: class before and now."""
    same_facts: int = 0
    answered_otherwise: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    """Pairs with the same facts to which the policy gave another effect: effect before and now."""
    alone: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    """Single decisions without a partner."""
    together: tuple[list[Counter[str]], list[Counter[str]]] = field(default_factory=lambda: ([], []))
    """Subjects of one window only, each with its decisions."""

    def rest(self) -> tuple[Counter[str], Counter[str]]:
        """Return by class the decisions without a partner in the other window."""
        before, now = (alone.copy() for alone in self.alone)
        for counts, subjects in ((before, self.together[0]), (now, self.together[1])):
            for each in subjects:
                counts.update(each)
        return before, now

    def sides(self) -> tuple[list[Counter[str]], list[Counter[str]]]:
        """Return the decisions of the units in each window, as if they were different subjects there."""
        return [Counter(each.before) for each in self.units], [Counter(each.now) for each in self.units]


def pair_up(before: Sightings, now: Sightings, *, minimum_subjects: int) -> Pairing:
    """Return the subjects in both windows. With fewer than `minimum_subjects`, each pair is exchanged by itself."""
    found = Pairing()
    found.alone[0].update(before.unnamed)
    found.alone[1].update(now.unnamed)
    _count_others(found, before.others, now.others)
    followed = []
    for subject in sorted({*before.by_subject, *now.by_subject}):
        sides = before.by_subject.get(subject, []), now.by_subject.get(subject, [])
        steps = _steps(*sides)
        if steps is not None:
            followed.append(steps)
            continue
        for place, side in enumerate(sides):
            counts = Counter(each.precedent for each in side)
            if all(sides):
                found.alone[place].update(counts)
            elif side:
                found.together[place].append(counts)
    found.subjects = len(followed)
    found.unit = "subject" if len(followed) >= minimum_subjects else "pair"
    for old, new in followed:
        _follow(found, old, new)
    return found


def _count_others(found: Pairing, before: Mapping[str, Counter[str]], now: Mapping[str, Counter[str]]) -> None:
    for place, (side, other) in enumerate(((before, now), (now, before))):
        for subject, counts in sorted(side.items()):
            if subject in other:
                found.alone[place].update(counts)
            else:
                found.together[place].append(counts)


def _steps(before: Sequence[_Sight], now: Sequence[_Sight]) -> tuple[dict[str, _Sight], dict[str, _Sight]] | None:
    """Return the decisions of a subject by step; None where it is in one window only, or repeats a step in one."""
    for name in ("step", "again"):
        old, new = ({getattr(each, name): each for each in side} for side in (before, now))
        if len(old) == len(before) and len(new) == len(now) and old.keys() & new.keys():
            return old, new
    return None


def _follow(found: Pairing, old: Mapping[str, _Sight], new: Mapping[str, _Sight]) -> None:
    certain: list[tuple[str, str]] = []
    for step in sorted(old.keys() & new.keys()):
        first, second = old[step], new[step]
        found.pairs += 1
        alike, same = first.situation == second.situation, first.facts is not None and first.facts == second.facts
        turned = alike and first.precedent != second.precedent
        found.same_situation += alike
        found.same_facts += same
        if turned:
            found.turned[first.precedent, second.precedent] += 1
        if turned and same and None not in (first.effect, second.effect) and first.effect != second.effect:
            found.answered_otherwise[first.effect, second.effect] += 1
            certain.append((first.precedent, second.precedent))
        if found.unit == "pair":
            found.units.append(Exchanged({first.precedent: 1}, {second.precedent: 1}, tuple(certain)))
            certain = []
    if found.unit == "subject":
        was, became = (Counter(each.precedent for each in side.values()) for side in (old, new))
        found.units.append(Exchanged(was, became, tuple(certain)))
        return
    for alone, side, other in zip(found.alone, (old, new), (new, old), strict=True):
        alone.update(each.precedent for step, each in side.items() if step not in other)


def _named(case: Case, name: str) -> object:
    own = {"actor": case.journal, "type": case.decision_type}
    if name in own:
        return own[name]
    found = _looked_up(case.facts, name)
    return _looked_up(case.context, name) if found is _ABSENT else found


def _looked_up(values: Mapping[str, Any] | None, name: str) -> object:
    """Return a value by its name, or by a path into objects; a null value identifies no subject."""
    if values is None:
        return _ABSENT
    if name in values:
        return _ABSENT if values[name] is None else values[name]
    found: object = values
    for part in name.split("."):
        if not isinstance(found, Mapping) or found.get(part) is None:
            return _ABSENT
        found = found[part]
    return found


def _text(values: object) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=lambda _: None)


def _digest(facts: Mapping[str, Any] | None) -> bytes | None:
    return None if facts is None else hashlib.sha256(_text(facts).encode()).digest()[:16]
