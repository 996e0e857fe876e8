"""People: the directory, which admins change, and invitations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import AwareDatetime, Field

from loom.identity import Access
from loom.people import Person
from loom.people.invitations import Invitation, invitation_path
from loom.web.api import takes
from loom.web.guard import HttpRefusal
from loom.web.session import Administers, Approves, Reads, Session, body
from loom.web.shapes import Listed, Moment, Shape

__all__ = ["routes"]

routes = APIRouter()


class AbsenceAnswer(Shape):
    """When a person is absent, and who answers in their place."""

    since: Moment
    until: Moment
    delegate: str | None


class PersonAnswer(Shape):
    """A person of the directory."""

    name: str
    roles: list[str]
    identities: list[str]
    absences: list[AbsenceAnswer]
    has_left: bool

    @classmethod
    def of(cls, person: Person) -> PersonAnswer:
        """Return the answer that a person is."""
        return cls.model_validate(person.as_json())


class DirectoryAnswer(Shape):
    """The directory: where it is kept, in which version, and its persons."""

    kept_in: str | None
    version: str
    accepts_claims: bool
    persons: list[PersonAnswer]


class InvitationAnswer(Shape):
    """An invitation, without its secret; `path` is the link, shown only once."""

    invitation_id: str
    name: str
    access: Access
    expires_at: Moment
    by: str
    identity_source: str | None = None
    via: str | None = None
    state: str
    redeemed_at: Moment | None
    path: str | None = None


class PersonRequest(Shape):
    """Who is added."""

    name: str = Field(max_length=200)


class RoleRequest(Shape):
    """Which role is given or taken."""

    role: str = Field(max_length=200)


class IdentityRequest(Shape):
    """Which identity is a person's, or is not any more."""

    identity: str = Field(max_length=400)


class AbsenceRequest(Shape):
    """From when until when, and who answers meanwhile."""

    since: AwareDatetime
    until: AwareDatetime
    delegate: str | None = Field(default=None, max_length=200)


class BackRequest(Shape):
    """There is nothing to say but that."""


class ReasonRequest(Shape):
    """Why."""

    reason: str = Field(max_length=2_000)


class InvitationRequest(Shape):
    """Who is invited, and what they may do."""

    name: str = Field(max_length=200)
    access: Access = "approver"


@routes.get("/people")
async def people(reads: Reads) -> DirectoryAnswer:
    """Return the directory: who holds which role, and who is absent."""
    return DirectoryAnswer.model_validate(reads.loom.people.as_json())


@routes.post("/people", openapi_extra=takes(PersonRequest))
async def add(session: Administers, given: Annotated[PersonRequest, body(PersonRequest)]) -> PersonAnswer:
    """Add a person."""
    return PersonAnswer.of(await session.loom.people.add(given.name, by=session.by))


@routes.post("/people/{name}/give", openapi_extra=takes(RoleRequest))
async def give(session: Administers, name: str, given: Annotated[RoleRequest, body(RoleRequest)]) -> PersonAnswer:
    """Give a person a role; never one's own."""
    return PersonAnswer.of(await session.loom.people.give(name, given.role, by=session.by))


@routes.post("/people/{name}/take", openapi_extra=takes(RoleRequest))
async def take(session: Administers, name: str, given: Annotated[RoleRequest, body(RoleRequest)]) -> PersonAnswer:
    """Take a role from a person."""
    return PersonAnswer.of(await session.loom.people.take(name, given.role, by=session.by))


@routes.post("/people/{name}/recognise", openapi_extra=takes(IdentityRequest))
async def recognise(
    session: Administers, name: str, given: Annotated[IdentityRequest, body(IdentityRequest)]
) -> PersonAnswer:
    """Note that an identity is a person's; from then on only listed ones count."""
    return PersonAnswer.of(await session.loom.people.recognise(name, given.identity, by=session.by))


@routes.post("/people/{name}/disown", openapi_extra=takes(IdentityRequest))
async def disown(
    session: Administers, name: str, given: Annotated[IdentityRequest, body(IdentityRequest)]
) -> PersonAnswer:
    """Note that an identity is not a person's any more."""
    return PersonAnswer.of(await session.loom.people.disown(name, given.identity, by=session.by))


@routes.post("/people/{name}/absent", openapi_extra=takes(AbsenceRequest))
async def absent(session: Approves, name: str, given: Annotated[AbsenceRequest, body(AbsenceRequest)]) -> PersonAnswer:
    """Note that a person is absent: an approver says so of themselves, an admin of anyone."""
    await _check_own(session, name)
    person = await session.loom.people.absent(
        name, since=given.since, until=given.until, delegate=given.delegate, by=session.by
    )
    return PersonAnswer.of(person)


@routes.post("/people/{name}/back", openapi_extra=takes(BackRequest))
async def back(session: Approves, name: str, given: Annotated[BackRequest, body(BackRequest)]) -> PersonAnswer:
    """Note that a person is back: an approver says so of themselves, an admin of anyone."""
    del given
    await _check_own(session, name)
    return PersonAnswer.of(await session.loom.people.back(name, by=session.by))


@routes.post("/people/{name}/leave", openapi_extra=takes(ReasonRequest))
async def leave(session: Administers, name: str, given: Annotated[ReasonRequest, body(ReasonRequest)]) -> PersonAnswer:
    """Note that a person has left."""
    return PersonAnswer.of(await session.loom.people.leave(name, by=session.by, reason=given.reason))


@routes.get("/invitations")
async def invitations(session: Administers) -> Listed[InvitationAnswer]:
    """Return every invitation, oldest first, without its secret."""
    return Listed(items=[_invitation(each) for each in session.loom.people.invitations.all()])


@routes.post("/invitations", openapi_extra=takes(InvitationRequest))
async def invite(
    session: Administers, given: Annotated[InvitationRequest, body(InvitationRequest)]
) -> InvitationAnswer:
    """Invite a person to sign in once within 24 hours; the answer has the path of the link, only this once."""
    known = session.loom.people.invitations
    secret = await known.issue(given.name, given.access, by=session.by)
    return _invitation(known.by_secret(secret), path=invitation_path(secret))


@routes.post("/invitations/{invitation_id}/withdraw", openapi_extra=takes(ReasonRequest))
async def withdraw(
    session: Administers, invitation_id: str, given: Annotated[ReasonRequest, body(ReasonRequest)]
) -> InvitationAnswer:
    """Withdraw an invitation; sessions that it opened end."""
    known = session.loom.people.invitations
    return _invitation(await known.withdraw(invitation_id, by=session.by, reason=given.reason))


def _invitation(invitation: Invitation, *, path: str | None = None) -> InvitationAnswer:
    return InvitationAnswer.model_validate({**invitation.as_json(), "path": path})


async def _check_own(session: Session, name: str) -> None:
    """Refuse an approver who speaks of another person; raise `HttpRefusal`."""
    if session.caller.may("administer"):
        return
    loom = session.loom
    if await loom.people.person_of(session.by) != loom.people.get(name).name:
        raise HttpRefusal(403, "forbidden", "an approver says this of themselves only; expected an admin for others")
