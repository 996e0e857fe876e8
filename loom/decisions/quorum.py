"""Who may answer a request for approval, and what its answers amount to: pure functions, without a clock.

A directory says who holds a role, and who is absent with which delegate. A holder has one voice: an absent holder's
delegate may use it in their place. A person answers a request once, and never their own.

The runtime decides by these functions, and the model that is checked exhaustively runs the same ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "Absence",
    "Asked",
    "Cast",
    "Outcome",
    "Roster",
    "Voice",
    "after_deadline",
    "can_be_granted",
    "outcome_of",
    "voice_of",
    "who_may",
]

Outcome: TypeAlias = Literal["granted", "denied"]


class Absence(NamedTuple):
    """A person is absent from a moment until another, which is not in it; the delegate may answer for them."""

    person: str
    since: datetime
    until: datetime
    delegate: str | None = None

    def covers(self, now: datetime) -> bool:
        """Tell whether a moment is in it."""
        return self.since <= now < self.until


class Roster(NamedTuple):
    """What a directory says about a role, or about the person of that name: who holds it, and who is absent.

    `absences` are those of the holders and of their delegates that are not over. It has no person who has left.
    `version` names the state of the directory that said so.
    """

    role: str
    version: str
    holders: tuple[str, ...] = ()
    absences: tuple[Absence, ...] = ()
    journaled: bool = False
    """Whether the journal of the workspace holds that version: then an answer need not repeat who the holders were."""

    def is_absent(self, person: str, now: datetime) -> bool:
        """Tell whether a person is absent at a moment."""
        return any(each.person == person and each.covers(now) for each in self.absences)


class Cast(NamedTuple):
    """An answer that counts: who gave it, and which absent holder's voice it used."""

    member: str
    granted: bool
    in_place_of: str | None = None

    @property
    def holder(self) -> str:
        """The holder whose voice was used."""
        return self.in_place_of or self.member


class Voice(NamedTuple):
    """A person who may answer, and the absent holder in whose place."""

    person: str
    in_place_of: str | None = None

    @property
    def holder(self) -> str:
        """The holder whose voice it is."""
        return self.in_place_of or self.person


@dataclass(frozen=True, slots=True)
class Asked:
    """A pending request: of whom, how many have to answer, and who has."""

    approver: str
    escalate_to: tuple[str, ...] = ()
    on_deadline: Literal["deny", "escalate"] = "deny"
    quorum: int = 1
    deny_quorum: int = 1
    cast: tuple[Cast, ...] = ()

    @property
    def chain(self) -> tuple[str, ...]:
        """Whom it asks, and whom it may still ask later."""
        return (self.approver, *(self.escalate_to if self.on_deadline == "escalate" else ()))

    def answered(self, voice: Voice, *, granted: bool) -> Asked:
        """Return the request with one more answer."""
        return replace(self, cast=(*self.cast, Cast(voice.person, granted, voice.in_place_of)))


def outcome_of(asked: Asked) -> Outcome | None:
    """Return what the answers amount to; None while the request waits for more."""
    said = {granted: {each.member for each in asked.cast if each.granted is granted} for granted in (True, False)}
    if len(said[False]) >= asked.deny_quorum:
        return "denied"
    return "granted" if len(said[True]) >= asked.quorum else None


def who_may(asked: Asked, roster: Roster, now: datetime, *, requesters: Collection[str] = ()) -> tuple[Voice, ...]:
    """Return who may answer a request now, and with which holders' voices; `roster` is that of its approver.

    A delegate of several absent holders is in it for each of them.
    """
    answered, used = {each.member for each in asked.cast}, {each.holder for each in asked.cast}
    free = [each for each in roster.holders if each not in used and each not in requesters]
    found = [Voice(holder) for holder in free if not roster.is_absent(holder, now)]
    for absence in roster.absences:
        delegate = absence.delegate
        if delegate is None or absence.person not in free or not absence.covers(now):
            continue
        if not roster.is_absent(delegate, now):
            found.append(Voice(delegate, absence.person))
    may = (voice for voice in found if voice.person not in answered and voice.person not in requesters)
    return tuple(dict.fromkeys(may))


def voice_of(
    person: str, asked: Asked, rosters: Sequence[Roster], now: datetime, *, requesters: Collection[str] = ()
) -> Voice | None:
    """Return with whose voice a person answers now, None where they may not; `rosters` are those of its `chain`.

    Of several voices it is one that leaves enough for the others; their own, if it is as good as another.
    """
    voices = [each for each in who_may(asked, rosters[0], now, requesters=requesters) if each.person == person]
    for voice in voices:
        granted = asked.answered(voice, granted=True)
        if can_be_granted(granted, rosters, now, requesters=requesters):
            return voice
    return voices[0] if voices else None


def can_be_granted(asked: Asked, rosters: Iterable[Roster], now: datetime, *, requesters: Collection[str] = ()) -> bool:
    """Tell whether enough present or returning persons are left to grant it; `rosters` are those of its `chain`.

    Absent persons return: a role whose holders are all absent can still be met.
    """
    answered, used = {each.member for each in asked.cast}, {each.holder for each in asked.cast}
    granted = {each.member for each in asked.cast if each.granted}
    voices: dict[str, set[str]] = {}
    for roster in rosters:
        free = [each for each in roster.holders if each not in used and each not in requesters]
        for holder in free:
            voices.setdefault(holder, set()).add(holder)
        for absence in roster.absences:
            delegate, begin = absence.delegate, max(absence.since, now)
            if delegate is not None and absence.person in free and _is_present(roster, delegate, begin, absence.until):
                voices.setdefault(delegate, set()).add(absence.person)
    left = {person: may for person, may in voices.items() if person not in answered and person not in requesters}
    return len(granted) + _matched(left, asked.quorum - len(granted)) >= asked.quorum


def after_deadline(asked: Asked) -> Asked | None:
    """Return the request as it goes on to the next approver when its deadline has come; None where it is denied.

    What was answered before counts as before.
    """
    if asked.on_deadline == "deny" or not asked.escalate_to:
        return None
    return replace(asked, approver=asked.escalate_to[0], escalate_to=asked.escalate_to[1:])


def _is_present(roster: Roster, person: str, begin: datetime, until: datetime) -> bool:
    """Tell whether a person is present at some moment from `begin` up to, and without, `until`."""
    for absence in sorted(each for each in roster.absences if each.person == person):
        if absence.since > begin:
            break
        begin = max(begin, absence.until)
    return begin < until


def _matched(voices: dict[str, set[str]], enough: int) -> int:
    """Return how many persons can answer, each with the voice of another holder; it stops at `enough`."""
    users: dict[str, str] = {}

    def finds_one(person: str, tried: set[str]) -> bool:
        for holder in sorted(voices[person] - tried):
            tried.add(holder)
            if holder not in users or finds_one(users[holder], tried):
                users[holder] = person
                return True
        return False

    for person in sorted(voices):
        if len(users) >= enough:
            break
        finds_one(person, set())
    return len(users)
