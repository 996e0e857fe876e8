"""`People`: the directory of a workspace, kept in the journal `loom/people`, in the config, or elsewhere.

Only a named person changes it, and no one gives themselves a role, an identity, or the voice of another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pydantic import JsonValue

from loom.actors.eligibility import Directory
from loom.clock import us_from_datetime
from loom.decisions.quorum import Absence, Roster
from loom.errors import AdmissionError, DirectoryError, SelfRoleError
from loom.identity import CLAIMED, By, Identity, check_person, is_self, same_person
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.people.config import PeopleConfig
from loom.people.entries import (
    PersonAbsentEntry,
    PersonAddedEntry,
    PersonBackEntry,
    PersonIdentityAddedEntry,
    PersonIdentityRemovedEntry,
    PersonLeftEntry,
    RoleGivenEntry,
    RoleTakenEntry,
)
from loom.people.invitations import Invitations
from loom.people.register import ESTABLISHED, Person, Register

__all__ = ["PEOPLE_JOURNAL", "People"]

PEOPLE_JOURNAL = "loom/people"


class People:
    """Who may answer for which role; queries are answered from memory.

    `outside` is a directory that is kept elsewhere: it is asked in place of the journal and the config. Persons in the
    config are the directory in place of the journal. `changed` is called after each change.
    """

    def __init__(
        self,
        store: JournalReader,
        *,
        now: Callable[[], datetime],
        config: PeopleConfig | None = None,
        outside: Directory | None = None,
        make_draft: Callable[[Entry], Draft] = draft,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = SingletonJournal(
            store, PEOPLE_JOURNAL, self._fold, make_draft=make_draft, followed=self._was_followed
        )
        self._journaled = Register(version=f"{PEOPLE_JOURNAL}@0", journaled=True)
        self._config = config or PeopleConfig()
        self._set = _from(self._config)
        self._outside = outside
        self._now = now
        self._changed = changed
        self.invitations = Invitations(self._journal, now=now, person_of=self._invited)
        """Links that let a person sign in once."""

    async def load(self) -> None:
        """Read the directory from the journal; also what was written meanwhile."""
        await self._journal.load()

    # --- asking ---------------------------------------------------------------------------------

    @property
    def kept_in(self) -> str | None:
        """Where the directory is kept: `outside`, `config`, `journal`; None where there is none yet."""
        if self._outside is not None:
            return "outside"
        return "config" if self._set else ("journal" if self._journaled else None)

    @property
    def version(self) -> str:
        """The version of the directory that the journal or the config has."""
        return self._register.version

    @property
    def accepts_claims(self) -> bool:
        """Whether a name that nothing has checked counts as the person of that name."""
        return self._config.accept_claims

    def directory(self) -> Directory | None:
        """Return the directory that says who may answer; None where there is none."""
        if self._outside is not None:
            return self._outside
        return self if self._register else None

    def all(self) -> tuple[Person, ...]:
        """Return every person, by name, with those who have left."""
        return self._register.all()

    def get(self, name: str) -> Person:
        """Return the person of a name; raise `DirectoryError` for one who is not known, or has left."""
        return self._register.get(name)

    def as_json(self) -> dict[str, JsonValue]:
        """Return the directory as programs read it: where it is kept, its version, and its persons."""
        persons: list[JsonValue] = [each.as_json() for each in self.all()]
        return {
            "kept_in": self.kept_in,
            "version": self.version,
            "accepts_claims": self.accepts_claims,
            "persons": persons,
        }

    async def person_of(self, who: Identity) -> str | None:
        """Return whose identity it is, None for a stranger."""
        return self._person_of(who)

    def known_as(self, who: Identity) -> Identity:
        """Return an identity under the name of its person, so that one person has one name whatever they sign in with.

        A stranger, a claimed name, and who is known to a directory elsewhere keep the name that they came with.
        """
        person = None if who.established == CLAIMED else self._person_of(who)
        return who if person is None else replace(who, name=person)

    async def roster(self, role: str) -> Roster:
        """Return who holds a role now, and who of them is absent."""
        return self._register.roster(role, self._now())

    # --- changing -------------------------------------------------------------------------------

    async def add(self, name: str, *, by: By) -> Person:
        """Add a person, or one again who has left; a person who is there is left as they are."""
        who = Identity.of(by)
        entry = PersonAddedEntry(**who.written(), name=check_person(name, what="name"))

        def missing() -> Entry | None:
            known = self._journaled.find(name)
            if known is None and self._journaled.is_role(name):
                raise DirectoryError(f"[{name}] is a role; expected the name of a person: choose another")
            return entry if known is None or known.has_left else None

        await self._write(missing)
        return self._journaled.get(name)

    async def give(self, name: str, role: str, *, by: By) -> Person:
        """Give a person a role, in the name of another person; raise `SelfRoleError` for their own."""
        check_person(role, what="role")

        def missing(person: Person, who: Identity) -> Entry | None:
            self._check_other(person, who, f"the role [{role}]")
            if self._journaled.find(role) is not None:
                raise DirectoryError(f"[{role}] is a person; expected the name of a role: choose another")
            if any(same_person(role, each) for each in person.roles):
                return None
            return RoleGivenEntry(**who.written(), name=person.name, role=role)

        return await self._change(name, by, missing)

    async def take(self, name: str, role: str, *, by: By) -> Person:
        """Take a role from a person; raise `DirectoryError` where they do not hold it."""

        def missing(person: Person, who: Identity) -> Entry:
            held = next((each for each in person.roles if same_person(each, role)), None)
            if held is None:
                raise DirectoryError(
                    f"person [{person.name}] does not hold [{role:.80}]; expected one of "
                    f"[{', '.join(person.roles) or 'no role'}]: name that"
                )
            return RoleTakenEntry(**who.written(), name=person.name, role=held)

        return await self._change(name, by, missing)

    async def recognise(self, name: str, identity: str, *, by: By) -> Person:
        """Note that an identity, such as `oidc:<issuer>/<subject>`, is a person's; from then on only listed ones count.

        Raises `SelfRoleError` for a person's own, and for the identity of `by` as another person's.
        """
        kind, _, rest = identity.partition(":")
        if kind not in ESTABLISHED - {"invitation"} or not rest or len(identity) > 400 or not identity.isprintable():
            raise DirectoryError(
                f"identity [{identity!r:.80}] is not one; expected [api_key:<id>, os_user:<uid>, proxy:<name> or "
                "oidc:<issuer>/<subject>]: write it as answers name it"
            )

        def missing(person: Person, who: Identity) -> Entry | None:
            self._check_other(person, who, f"the identity [{identity}]")
            if who.established == identity:
                raise SelfRoleError(f"[{identity}] is [{who}]; expected an identity of [{person.name}]: give that")
            listed = self._journaled.listed(identity)
            if listed is not None and listed != person:
                raise DirectoryError(f"[{identity}] is [{listed.name}]'s; expected a free one: remove it there first")
            written = PersonIdentityAddedEntry(**who.written(), name=person.name, source=identity)
            return None if listed is not None else written

        return await self._change(name, by, missing)

    async def disown(self, name: str, identity: str, *, by: By) -> Person:
        """Remove an identity from a person; raise `DirectoryError` where it is not theirs."""

        def missing(person: Person, who: Identity) -> Entry:
            if identity not in person.identities:
                raise DirectoryError(f"[{identity:.80}] is not [{person.name}]'s; expected one of theirs: name that")
            if len(person.identities) == 1:  # without any, every source of their name would count
                self._check_other(person, who, "every identity of their name")
            return PersonIdentityRemovedEntry(**who.written(), name=person.name, source=identity)

        return await self._change(name, by, missing)

    async def absent(
        self, name: str, *, since: datetime, until: datetime, delegate: str | None = None, by: By
    ) -> Person:
        """Note that a person is absent, and who answers in their place; a delegate does not name themselves."""
        if us_from_datetime(until) <= max(us_from_datetime(since), us_from_datetime(self._now())):
            raise AdmissionError(
                f"absence ends at [{until.isoformat()}]; expected a time to come, after its beginning: give a later one"
            )

        def missing(person: Person, who: Identity) -> Entry:
            other = None if delegate is None else self._journaled.get(delegate)
            if other == person:
                raise DirectoryError(f"[{person.name}] would be their own delegate; expected another person: name one")
            if other is not None and self._is(who, other):
                raise SelfRoleError(
                    f"[{who}] would become the delegate of [{person.name}] in their own name; expected another "
                    "person to say so: ask one"
                )
            named = None if other is None else other.name
            return PersonAbsentEntry(**who.written(), name=person.name, since=since, until=until, delegate=named)

        return await self._change(name, by, missing)

    async def back(self, name: str, *, by: By) -> Person:
        """Note that a person is back; absences that were still to begin do not count either."""

        def missing(person: Person, who: Identity) -> Entry | None:
            return PersonBackEntry(**who.written(), name=person.name) if person.absences else None

        return await self._change(name, by, missing)

    async def leave(self, name: str, *, by: By, reason: str) -> Person:
        """Note that a person has left: they lose their roles and identities, and their sessions end."""
        if not reason.strip():
            raise AdmissionError("reason is blank; expected a text: give the reason")

        who, left = Identity.of(by), ""

        def missing() -> Entry:
            nonlocal left
            left = self._journaled.get(name).name
            return PersonLeftEntry(**who.written(), name=left, reason=reason)

        await self._write(missing)
        return next(each for each in self._journaled.all() if each.name == left)

    # --- inside ---------------------------------------------------------------------------------

    @property
    def _register(self) -> Register:
        return self._set or self._journaled

    async def _change(self, name: str, by: By, make: Callable[[Person, Identity], Entry | None]) -> Person:
        who = Identity.of(by)
        await self._write(lambda: make(self._journaled.get(name), who))
        return self._journaled.get(name)

    async def _write(self, missing: Callable[[], Entry | None]) -> None:
        self._journaled_only()
        await self._journal.append_if_missing(missing)
        self._changed()

    async def _was_followed(self) -> None:
        """Look again at who may answer: another process has changed the directory."""
        self._changed()

    def _journaled_only(self) -> None:
        if self.kept_in not in (None, "journal"):
            raise DirectoryError(
                f"the directory is kept in [{self.kept_in}]; expected one in the journal: change it there"
            )

    def _check_other(self, person: Person, who: Identity, what: str) -> None:
        if self._is(who, person):
            raise SelfRoleError(f"[{who}] would give {what} to themselves; expected another person to do that: ask one")

    def _is(self, who: Identity, person: Person) -> bool:
        """Tell whether an identity may be a person's; a claimed name counts here, as it can only refuse."""
        listed = None if who.established == CLAIMED else self._journaled.listed(who.established)
        return listed == person or is_self(who, person.name)

    def _person_of(self, who: Identity) -> str | None:
        invited = self.invitations.named(who)
        if invited is not None:
            who = replace(who, name=invited)
        return self._register.person_of(who, accept_claims=self._config.accept_claims)

    def _invited(self, name: str) -> str:
        """Return the name under which a person is invited: one of the directory, where there is one."""
        return self._register.get(name).name if self._register else check_person(name, what="name")

    def _fold(self, recorded: Recorded) -> None:
        self.invitations.fold(recorded)
        entry, register = recorded.entry, self._journaled
        register.version = f"{PEOPLE_JOURNAL}@{recorded.sequence}"
        if isinstance(entry, PersonAddedEntry):
            register.put(Person(entry.name))
        elif isinstance(entry, PersonLeftEntry):
            register.without(entry.name)
        elif isinstance(entry, _CHANGES):
            person = register.find(entry.name)
            if person is not None:
                register.put(_changed(person, entry))


_CHANGES = (
    PersonAbsentEntry,
    PersonBackEntry,
    PersonIdentityAddedEntry,
    PersonIdentityRemovedEntry,
    RoleGivenEntry,
    RoleTakenEntry,
)


def _changed(person: Person, entry: Entry) -> Person:
    """Return a person as they are after an entry."""
    match entry:
        case RoleGivenEntry():
            return replace(person, roles=(*person.roles, entry.role))
        case RoleTakenEntry():
            return replace(person, roles=tuple(each for each in person.roles if each != entry.role))
        case PersonIdentityAddedEntry():
            return replace(person, identities=(*person.identities, entry.source))
        case PersonIdentityRemovedEntry():
            return replace(person, identities=tuple(each for each in person.identities if each != entry.source))
        case PersonAbsentEntry():
            absence = Absence(person.name, entry.since, entry.until, entry.delegate)
            return replace(person, absences=(*person.absences, absence))
        case PersonBackEntry():
            return replace(person, absences=())
    return person


def _from(config: PeopleConfig) -> Register:
    """Return the persons of the config; its version is a digest of them."""
    said = config.model_dump(mode="json", include={"persons"})
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    names = {each.name: each for each in config.persons}

    def canonical(name: str | None) -> str | None:
        return next((each for each in names if name is not None and same_person(each, name)), None)

    return Register(
        version=f"config:{digest[:12]}",
        persons=[
            Person(
                each.name,
                each.roles,
                each.identities,
                tuple(Absence(each.name, away.since, away.until, canonical(away.delegate)) for away in each.absences),
            )
            for each in config.persons
        ],
    )
