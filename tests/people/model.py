"""A model of one request: persons, roles, absences, delegates, a requester, a quorum and an escalation.

It runs the functions that the runtime runs, and follows every order of answers, of time passing, of deadlines and of
persons leaving. An oracle of its own, by search, says whether a request can still be granted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import combinations_with_replacement, permutations, product
from typing import NamedTuple

from loom.decisions.quorum import (
    Absence,
    Asked,
    Roster,
    Voice,
    after_deadline,
    can_be_granted,
    outcome_of,
    voice_of,
    who_may,
)

__all__ = ["Case", "Modelled", "cases"]

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Modelled(NamedTuple):
    """A person: the roles held, as places in the chain; the moments of absence; the delegate, as a number."""

    roles: tuple[int, ...]
    away: tuple[int, int] | None = None
    delegate: int | None = None


class Case(NamedTuple):
    """What is asked of whom; `requester` is the number of a person, or None."""

    people: tuple[Modelled, ...]
    roles: int
    quorum: int
    deny_quorum: int = 1
    requester: int | None = None

    @property
    def asked(self) -> Asked:
        chain = tuple(f"r{each}" for each in range(self.roles))
        return Asked(chain[0], chain[1:], "escalate" if len(chain) > 1 else "deny", self.quorum, self.deny_quorum)

    def rosters(self, asked: Asked, left: frozenset[str]) -> list[Roster]:
        return [_roster(self, role, left) for role in asked.chain]

    @property
    def requesters(self) -> frozenset[str]:
        return frozenset() if self.requester is None else frozenset({_name(self.requester)})

    @property
    def end(self) -> int:
        """The moment from which on everyone is back."""
        return max((each.away[1] for each in self.people if each.away is not None), default=0)

    def check(self, *, leaving: bool) -> int:
        """Follow every order of events; return how many states there are. Raises `AssertionError` with the state."""
        seen: set[_State] = set()
        todo = [_State(self.asked, 0, frozenset())]
        reach = _Reach(self)
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            self._check_safe(state)
            if outcome_of(state.asked) is not None:
                continue
            rosters = self.rosters(state.asked, state.left)
            possible = can_be_granted(state.asked, rosters, _at(state.moment), requesters=self.requesters)
            assert possible == reach.can_be_granted(state), ("wrong about what is possible", self, state)
            if not possible:
                continue  # the runtime denies it here
            moves = list(self._moves(state))
            assert moves, ("waits for ever", self, state)
            todo += moves
            if leaving:
                todo += [
                    state._replace(left=state.left | {_name(each)})
                    for each in range(len(self.people))
                    if _name(each) not in state.left
                ]
        return len(seen)

    def _moves(self, state: _State) -> Iterator[_State]:
        yield from self._grants(state)
        for person in self._may(state):
            voice = self._voice(state, person)
            yield state._replace(asked=state.asked.answered(voice, granted=False))

    def _grants(self, state: _State) -> Iterator[_State]:
        """Yield what follows if someone grants, time passes, or the deadline comes."""
        for person in self._may(state):
            yield state._replace(asked=state.asked.answered(self._voice(state, person), granted=True))
        if state.moment < self.end:
            yield state._replace(moment=state.moment + 1)
        following = after_deadline(state.asked)
        if following is not None:
            yield state._replace(asked=following)

    def _may(self, state: _State) -> list[str]:
        roster = _roster(self, state.asked.approver, state.left)
        may = who_may(state.asked, roster, _at(state.moment), requesters=self.requesters)
        return sorted({each.person for each in may})

    def _voice(self, state: _State, person: str) -> Voice:
        rosters = self.rosters(state.asked, state.left)
        voice = voice_of(person, state.asked, rosters, _at(state.moment), requesters=self.requesters)
        assert voice is not None
        assert voice.person == person
        return voice

    def _check_safe(self, state: _State) -> None:
        members = [each.member for each in state.asked.cast]
        holders = [each.holder for each in state.asked.cast]
        assert len(set(members)) == len(members), ("one person, two answers", self, state)
        assert len(set(holders)) == len(holders), ("one voice, two answers", self, state)
        assert self.requesters.isdisjoint(members + holders), ("the requester answers", self, state)
        for each in state.asked.cast:
            holder = self.people[int(each.holder[1:])]
            assert holder.roles, ("no holder's voice", self, state)
            if each.in_place_of is not None:
                assert _name(holder.delegate) == each.member, ("no delegate", self, state)
        if outcome_of(state.asked) == "granted":
            assert sum(each.granted for each in state.asked.cast) >= self.quorum, ("too few", self, state)


class _State(NamedTuple):
    asked: Asked
    moment: int
    left: frozenset[str]


class _Reach:
    """Whether a request can be granted, found by following every order of grants, of time and of deadlines."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._known: dict[_State, bool] = {}

    def can_be_granted(self, state: _State) -> bool:
        known = self._known.get(state)
        if known is None:
            outcome = outcome_of(state.asked)
            known = outcome == "granted" or (
                outcome is None and any(self.can_be_granted(each) for each in self._case._grants(state))
            )
            self._known[state] = known
        return known


@cache
def _at(moment: int) -> datetime:
    return _BEGIN + timedelta(days=moment)


def _name(number: int | None) -> str:
    return f"p{number}"


@cache
def _roster(case: Case, role: str, left: frozenset[str]) -> Roster:
    place = int(role[1:])
    here = {_name(each): person for each, person in enumerate(case.people) if _name(each) not in left}
    away = [
        Absence(name, _at(person.away[0]), _at(person.away[1]), _delegate(person, here))
        for name, person in here.items()
        if person.away is not None
    ]
    return Roster(role, "1", tuple(name for name, person in here.items() if place in person.roles), tuple(away))


def _delegate(person: Modelled, here: dict[str, Modelled]) -> str | None:
    name = _name(person.delegate)
    return name if name in here else None


def cases(people: int, roles: int, *, quorums: tuple[int, ...] = (1, 2, 3, 4), away: int = 1) -> Iterator[Case]:
    """Yield every case of so many persons and roles, but for the names of the persons.

    A person may be absent from the beginning until the next moment, with any other as delegate, or none; with `away` 2,
    also later.
    """
    held = [tuple(each for each in range(roles) if number >> each & 1) for number in range(2**roles)]
    absences: list[tuple[int, int] | None] = [None, (0, 1), (1, 2)][: away + 1]
    shapes = list(product(held, absences))
    for chosen in combinations_with_replacement(range(len(shapes)), people):
        kept = [shapes[each] for each in chosen]
        may = [
            [None, *(other for other in range(people) if other != at)] if kept[at][1] else [None]
            for at in range(people)
        ]
        done: set[tuple[object, ...]] = set()
        for delegates in product(*may):
            persons = tuple(Modelled(*shape, delegate) for shape, delegate in zip(kept, delegates, strict=True))
            for requester in (None, *range(people)):
                same = _canonical(persons, requester, chosen)
                if same in done:
                    continue
                done.add(same)
                for quorum in quorums:
                    if quorum <= people:
                        yield Case(persons, roles, quorum, requester=requester)


def _canonical(persons: tuple[Modelled, ...], requester: int | None, chosen: tuple[int, ...]) -> tuple[object, ...]:
    """Return the least of the ways to name persons of the same shape."""
    count = len(persons)
    found: list[tuple[object, ...]] = []
    for order in permutations(range(count)):
        if any(chosen[order[at]] != chosen[at] for at in range(count)):
            continue
        place = {person: at for at, person in enumerate(order)}
        delegates = tuple(
            -1 if persons[person].delegate is None else place[persons[person].delegate or 0] for person in order
        )
        found.append((delegates, -1 if requester is None else place[requester]))
    return min(found)
