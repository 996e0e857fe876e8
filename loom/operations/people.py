"""Operations on people: the directory is changed in the name of a person, and persons are invited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from pydantic import AwareDatetime, BaseModel, JsonValue

from loom.extension import Named
from loom.identity import Access, Identity
from loom.operations.arguments import Arguments, Nothing
from loom.people import People
from loom.people.invitations import invitation_path

__all__ = ["known_as", "people_operations"]

Work: TypeAlias = Callable[[Any], Awaitable[JsonValue]]


def people_operations(people: People) -> Mapping[str, tuple[type[BaseModel], Work]]:
    """Return the operations by name: what each is given, and what it does."""
    return {
        "people.absent": (AbsentPerson, partial(absent, people)),
        "people.add": (NamedPerson, partial(add, people)),
        "people.back": (NamedPerson, partial(back, people)),
        "people.disown": (IdentityOfPerson, partial(disown, people)),
        "people.give": (RoleOfPerson, partial(give, people)),
        "people.invite": (InvitePerson, partial(invite, people)),
        "people.leave": (LeavingPerson, partial(leave, people)),
        "people.list": (Nothing, partial(list_people, people)),
        "people.recognise": (IdentityOfPerson, partial(recognise, people)),
        "people.take": (RoleOfPerson, partial(take, people)),
        "people.withdraw": (WithdrawInvitation, partial(withdraw, people)),
    }


def known_as(people: People, given: BaseModel) -> BaseModel:
    """Return arguments in which each identity has the name of its person, where the directory knows them."""
    named = {name: value for name, value in given if isinstance(value, Identity)}
    known = {name: people.known_as(who) for name, who in named.items()}
    return given if known == named else given.model_copy(update=known)


class NamedPerson(Arguments):
    """Who it is about, and by whom it is done."""

    name: str
    by: Named


class RoleOfPerson(NamedPerson):
    """Which role of whom."""

    role: str


class IdentityOfPerson(NamedPerson):
    """Which identity of whom."""

    identity: str


class AbsentPerson(NamedPerson):
    """From when until when a person is absent, and who answers in their place."""

    since: AwareDatetime
    until: AwareDatetime
    delegate: str | None = None


class LeavingPerson(NamedPerson):
    """Who has left, and why that is known."""

    reason: str


class InvitePerson(NamedPerson):
    """Who may sign in once, and what they may do then."""

    access: Access = "approver"


class WithdrawInvitation(Arguments):
    """Which invitation is withdrawn, by whom and why."""

    id: str
    by: Named
    reason: str


async def list_people(people: People, _: Nothing) -> JsonValue:
    """Return the directory."""
    return people.as_json()


async def add(people: People, given: NamedPerson) -> JsonValue:
    """Add a person."""
    return (await people.add(given.name, by=given.by)).as_json()


async def give(people: People, given: RoleOfPerson) -> JsonValue:
    """Give a person a role."""
    return (await people.give(given.name, given.role, by=given.by)).as_json()


async def take(people: People, given: RoleOfPerson) -> JsonValue:
    """Take a role from a person."""
    return (await people.take(given.name, given.role, by=given.by)).as_json()


async def recognise(people: People, given: IdentityOfPerson) -> JsonValue:
    """Note that an identity is a person's."""
    return (await people.recognise(given.name, given.identity, by=given.by)).as_json()


async def disown(people: People, given: IdentityOfPerson) -> JsonValue:
    """Note that an identity is not a person's any more."""
    return (await people.disown(given.name, given.identity, by=given.by)).as_json()


async def absent(people: People, given: AbsentPerson) -> JsonValue:
    """Note that a person is absent."""
    person = await people.absent(given.name, since=given.since, until=given.until, delegate=given.delegate, by=given.by)
    return person.as_json()


async def back(people: People, given: NamedPerson) -> JsonValue:
    """Note that a person is back."""
    return (await people.back(given.name, by=given.by)).as_json()


async def leave(people: People, given: LeavingPerson) -> JsonValue:
    """Note that a person has left."""
    return (await people.leave(given.name, by=given.by, reason=given.reason)).as_json()


async def invite(people: People, given: InvitePerson) -> JsonValue:
    """Invite a person; the answer has the link, which is shown only this once."""
    secret = await people.invitations.issue(given.name, given.access, by=given.by)
    return {"path": invitation_path(secret), **people.invitations.by_secret(secret).as_json()}


async def withdraw(people: People, given: WithdrawInvitation) -> JsonValue:
    """Withdraw an invitation."""
    return (await people.invitations.withdraw(given.id, by=given.by, reason=given.reason)).as_json()
