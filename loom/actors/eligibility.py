"""Who may answer which request: the directory is asked when a request is made, and again for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from loom.decisions.approval_entries import TOO_FEW
from loom.decisions.approvals import Approval
from loom.decisions.quorum import Asked, Roster, Voice, can_be_granted, outcome_of, voice_of, who_may
from loom.errors import (
    ApprovalAnsweredError,
    DirectoryUnavailableError,
    LoomError,
    NoEligibleApproverError,
    NotEligibleError,
    SelfApprovalError,
)
from loom.identity import Identity, same_person, short

__all__ = ["Confirmed", "Directory", "Eligibility"]

T = TypeVar("T")

_PATIENCE_S = 10.0
_NAMED = 5


class Directory(Protocol):
    """Who the persons are and which roles they hold. Bring one for a directory that is kept elsewhere."""

    async def person_of(self, who: Identity) -> str | None:
        """Return the name of the person that an identity belongs to, None for a stranger.

        The source of the identity says what established its name: a claimed one is what was typed.
        """
        ...

    async def roster(self, role: str) -> Roster:
        """Return who holds a role now; where there is no such role, the person of that name, or no one."""
        ...


class Confirmed(NamedTuple):
    """An answer as the directory confirmed it: the voice, the role, and whether it decides the request."""

    decides: bool = True
    voice: Voice | None = None
    roster: Roster | None = None
    others: tuple[str, ...] = ()

    def written(self) -> dict[str, Any]:
        """Return the fields of the entry of the answer."""
        if self.voice is None or self.roster is None:
            return {"decides": self.decides}
        return {
            "decides": self.decides,
            "member": self.voice.person,
            "in_place_of": self.voice.in_place_of,
            "role": self.roster.role,
            "directory": self.roster.version,
            "holders": () if self.roster.journaled else self.roster.holders,
            "others": self.others,
        }


class Eligibility:
    """Asks the directory, where there is one. Without one, any name may answer, and one answer is all that counts."""

    def __init__(self, find: Callable[[], Directory | None], now: Callable[[], datetime]) -> None:
        self._find = find
        self._now = now

    @property
    def has_directory(self) -> bool:
        """Whether a directory says who may answer."""
        return self._find() is not None

    async def check_asked(self, asked: Asked, requesters: Sequence[Identity]) -> str | None:
        """Return by which version of the directory a new request can be met; None without a directory.

        Raises `NoEligibleApproverError` for one that cannot be met.
        """
        directory = self._find()
        if directory is None:
            if max(asked.quorum, asked.deny_quorum) == 1:
                return None
            raise NoEligibleApproverError(
                f"request to [{asked.approver}] needs [{asked.quorum}] persons and there is no directory; expected one "
                "that says who they are: add persons with `loom people add`, or ask for one answer"
            )
        rosters = await _rosters(directory, asked)
        excluded = await _persons(directory, requesters, rosters)
        if can_be_granted(asked, rosters, self._now(), requesters=excluded):
            return rosters[0].version
        raise NoEligibleApproverError(
            f"request to [{', '.join(asked.chain)}] cannot be met, as the directory has [{_held(rosters)}]"
            f"{f', and [{_listed(sorted(excluded))}] asks' if excluded else ''}; expected [{asked.quorum}] other "
            "persons who hold it: give the role with `loom people role`, or ask for another"
        )

    async def confirm(
        self, approval: Approval, who: Identity, requesters: Sequence[Identity], *, granted: bool
    ) -> Confirmed:
        """Return an answer as the directory confirms it.

        Raises `NotEligibleError` for a person who may not answer, with those who may.
        """
        directory, asked, name = self._find(), approval.asked, f"approval [{short(approval.approval_id)}]"
        if directory is None:
            if max(asked.quorum, asked.deny_quorum) == 1:
                return Confirmed()
            raise NotEligibleError(
                f"{name} needs [{asked.quorum}] persons and there is no directory any more; expected one that says who "
                "they are: bring it back"
            )
        rosters, now = await _rosters(directory, asked), self._now()
        excluded = await _persons(directory, requesters, rosters)
        person = await _asked_of(directory.person_of(who))
        if person is not None and person in excluded:
            raise SelfApprovalError(
                f"{name} was requested by [{person}], whose identity [{who}] is, too; expected another person to "
                "answer it: ask one"
            )
        if any(each.member == person for each in asked.cast):
            raise ApprovalAnsweredError(
                f"{name} was answered by [{person}] before; expected another person: it waits for "
                f"[{_listed(_could(asked, rosters, now, excluded))}]"
            )
        voice = None if person is None else voice_of(person, asked, rosters, now, requesters=excluded)
        if voice is None:
            known = f"who is [{person}]" if person else "whom the directory does not know by that source"
            raise NotEligibleError(
                f"{name} is asked of [{approval.approver}], and not of [{who}], {known}; expected one of "
                f"[{_listed(_could(asked, rosters, now, excluded))}]: ask one"
            )
        after = asked.answered(voice, granted=granted)
        decides = outcome_of(after) is not None
        same = tuple(each.member for each in asked.cast if each.granted is granted) if decides else ()
        return Confirmed(decides=decides, voice=voice, roster=rosters[0], others=same)

    async def asked_of(self, approval: Approval, who: Identity, requesters: Sequence[Identity]) -> str:
        """Return the name of whom a request is for: of a person who may answer it now; empty for any other person.

        Without a directory it is the name that the request has.
        """
        directory = self._find()
        if directory is None:
            return approval.approver
        roster = await _asked_of(directory.roster(approval.approver))
        excluded = await _persons(directory, requesters, [roster])
        person = await _asked_of(directory.person_of(who))
        voices = who_may(replace(approval.asked, cast=()), roster, self._now(), requesters=excluded)
        return who.name if any(each.person == person for each in voices) else ""

    async def hopeless(self, approval: Approval, requesters: Sequence[Identity]) -> str | None:
        """Return why a pending request cannot be granted any more, None where it can, or there is no directory."""
        directory, asked = self._find(), approval.asked
        if directory is None:
            return None
        rosters = await _rosters(directory, asked)
        excluded = await _persons(directory, requesters, rosters)
        if can_be_granted(asked, rosters, self._now(), requesters=excluded):
            return None
        return f"{TOO_FEW}: {rosters[0].version} has {_held(rosters)}"


async def _rosters(directory: Directory, asked: Asked) -> list[Roster]:
    return [await _asked_of(directory.roster(role)) for role in asked.chain]


async def _persons(directory: Directory, who: Sequence[Identity], rosters: Iterable[Roster]) -> frozenset[str]:
    """Return the persons that asked: as the directory knows them, and those of the rosters with a name of theirs."""
    named = {each for roster in rosters for each in _everyone(roster)}
    found = {person for each in who if (person := await _asked_of(directory.person_of(each))) is not None}
    return frozenset(found | {each for each in named if any(same_person(each, other) for other in who)})


def _everyone(roster: Roster) -> set[str]:
    return {*roster.holders, *(each.delegate for each in roster.absences if each.delegate is not None)}


async def _asked_of(answer: Any) -> Any:
    """Return what a directory answers, in bounded time; raise `DirectoryUnavailableError` where it fails."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await answer
    except LoomError:
        raise
    except Exception as error:
        raise DirectoryUnavailableError(
            f"the directory of persons did not answer [{error!r:.200}]; expected who holds a role: try again"
        ) from error


def _could(asked: Asked, rosters: Sequence[Roster], now: datetime, excluded: frozenset[str]) -> list[str]:
    """Return who could answer, in words: those who may now, or those who will be back."""
    may = who_may(asked, rosters[0], now, requesters=excluded)
    if may:
        return [each.person + (f" in place of {each.in_place_of}" if each.in_place_of else "") for each in may]
    done = {each.member for each in asked.cast} | excluded
    return [
        f"{each.person} from {each.until:%Y-%m-%d %H:%M UTC}"
        for each in rosters[0].absences
        if each.person in rosters[0].holders and each.person not in done
    ]


def _held(rosters: Sequence[Roster]) -> str:
    return "; ".join(f"{each.role}: {_listed(each.holders)}" for each in rosters)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) + more) or "no one"
