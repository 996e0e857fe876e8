"""The state of a directory: its persons at one version, from a journal or from the config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import JsonValue

from loom.decisions.quorum import Absence, Roster
from loom.errors import DirectoryError
from loom.identity import CLAIMED, Identity, folded, same_person

__all__ = ["ESTABLISHED", "Person", "Register"]

ESTABLISHED = frozenset({"api_key", "invitation", "oidc", "os_user", "proxy"})
"""The kinds of sources that establish a name; of others, only an identity that a person lists counts."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person of a directory."""

    name: str
    roles: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    """The identities that are theirs; none: any that is established in their name."""
    absences: tuple[Absence, ...] = ()
    has_left: bool = False

    def as_json(self) -> dict[str, JsonValue]:
        """Return the person as programs read it."""
        return {
            "name": self.name,
            "roles": list(self.roles),
            "identities": list(self.identities),
            "absences": [
                {"since": each.since.isoformat(), "until": each.until.isoformat(), "delegate": each.delegate}
                for each in self.absences
            ],
            "has_left": self.has_left,
        }

    def absent_at(self, now: datetime) -> Absence | None:
        """Return the absence that a moment is in; None for a person who is present."""
        return next((each for each in self.absences if each.covers(now)), None)


class Register:
    """Persons by name; names are equal however they are written (NFKC, without regard to case)."""

    def __init__(self, *, version: str, journaled: bool = False, persons: Iterable[Person] = ()) -> None:
        self.version = version
        self.journaled = journaled
        self._persons: list[Person] = list(persons)
        self._roles = {folded(role) for each in self._persons for role in each.roles}
        """Every role that was ever given: it does not become the name of a person when it is taken."""

    def __bool__(self) -> bool:
        return bool(self._persons)

    def put(self, person: Person) -> None:
        """Keep a person in place of the one of that name."""
        self._persons = [*(each for each in self._persons if not same_person(each.name, person.name)), person]
        self._roles |= {folded(role) for role in person.roles}

    def all(self) -> tuple[Person, ...]:
        """Return every person, by name."""
        return tuple(sorted(self._persons, key=lambda each: each.name.casefold()))

    def find(self, name: str) -> Person | None:
        """Return the person of a name, also one who has left; None for a stranger."""
        return next((each for each in self._persons if same_person(each.name, name)), None)

    def get(self, name: str) -> Person:
        """Return the person of a name who has not left; raise `DirectoryError`."""
        found = self.find(name)
        if found is None or found.has_left:
            raise DirectoryError(
                f"person [{name:.80}] {'is not known' if found is None else 'has left'}; expected one of "
                f"[{', '.join(each.name for each in self.present()) or 'no one yet'}]: add them with `loom people add`"
            )
        return found

    def present(self) -> tuple[Person, ...]:
        """Return every person who has not left."""
        return tuple(each for each in self.all() if not each.has_left)

    def roles(self) -> tuple[str, ...]:
        """Return the roles that are held."""
        return tuple(sorted({role for each in self.present() for role in each.roles}))

    def is_role(self, name: str) -> bool:
        """Tell whether there is, or was, a role of that name."""
        return folded(name) in self._roles

    def listed(self, identity: str) -> Person | None:
        """Return the person who lists an identity."""
        return next((each for each in self.present() if identity in each.identities), None)

    def person_of(self, who: Identity, *, accept_claims: bool = False) -> str | None:
        """Return whose identity it is: of the person who lists it, else of the person of the established name.

        A person who lists identities is known by these and by invitations, and not by other sources of their name.
        """
        source = who.established
        listed = self.listed(source) if source != CLAIMED else None
        if listed is not None:
            return listed.name
        kind = source.partition(":")[0]
        if kind not in ESTABLISHED and not (kind == CLAIMED and accept_claims):
            return None
        found = self.find(who.name)
        if found is None or found.has_left or (found.identities and kind not in ("invitation", CLAIMED)):
            return None
        return found.name

    def roster(self, role: str, now: datetime) -> Roster:
        """Return who holds a role; where there never was such a role, the person of that name."""
        present = self.present()
        holders = [each for each in present if any(same_person(role, held) for held in each.roles)]
        if not self.is_role(role):
            holders = [each for each in present if same_person(each.name, role)]
        names = {each.name for each in present}
        away = [absence for each in holders for absence in each.absences if absence.until > now]
        delegates = {absence.delegate for absence in away if absence.delegate in names}
        theirs = [
            absence
            for each in present
            if each.name in delegates and each not in holders
            for absence in each.absences
            if absence.until > now
        ]
        known = [each if each.delegate in names else each._replace(delegate=None) for each in (*away, *theirs)]
        return Roster(role, self.version, tuple(each.name for each in holders), tuple(known), self.journaled)

    def without(self, name: str) -> None:
        """Note that a person has left, with their roles, identities and absences, and is no one's delegate."""
        found = self.find(name)
        if found is None:
            return
        self.put(replace(found, has_left=True, roles=(), identities=(), absences=()))
        for each in self.present():
            kept = (one._replace(delegate=None) if one.delegate == found.name else one for one in each.absences)
            self.put(replace(each, absences=tuple(kept)))
