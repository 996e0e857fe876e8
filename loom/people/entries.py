"""The entries of the directory, in the journal `loom/people`: each names the person who wrote it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from loom.identity import Access
from loom.journal.entry import PersonEntry

__all__ = [
    "InvitationRedeemedEntry",
    "InvitationWithdrawnEntry",
    "PersonAbsentEntry",
    "PersonAddedEntry",
    "PersonBackEntry",
    "PersonIdentityAddedEntry",
    "PersonIdentityRemovedEntry",
    "PersonInvitedEntry",
    "PersonLeftEntry",
    "RoleGivenEntry",
    "RoleTakenEntry",
]


class PersonAddedEntry(PersonEntry):
    """A person was added to the directory, or came back after having left, without the roles from before."""

    kind: ClassVar[str] = "person_added"
    sources_since: ClassVar[int] = 1

    name: str
    by: str


class PersonIdentityAddedEntry(PersonEntry):
    """A person is who signs in with an identity, such as `oidc:<issuer>/<subject>`."""

    kind: ClassVar[str] = "person_identity_added"
    sources_since: ClassVar[int] = 1

    name: str
    source: str
    by: str


class PersonIdentityRemovedEntry(PersonEntry):
    """An identity is not a person's any more."""

    kind: ClassVar[str] = "person_identity_removed"
    sources_since: ClassVar[int] = 1

    name: str
    source: str
    by: str


class RoleGivenEntry(PersonEntry):
    """A person was given a role."""

    kind: ClassVar[str] = "person_role_given"
    sources_since: ClassVar[int] = 1

    name: str
    role: str
    by: str


class RoleTakenEntry(PersonEntry):
    """A person does not hold a role any more."""

    kind: ClassVar[str] = "person_role_taken"
    sources_since: ClassVar[int] = 1

    name: str
    role: str
    by: str


class PersonAbsentEntry(PersonEntry):
    """A person is absent from a moment until another; a delegate may answer in their place."""

    kind: ClassVar[str] = "person_absent"
    sources_since: ClassVar[int] = 1

    name: str
    since: datetime
    until: datetime
    delegate: str | None = None
    by: str


class PersonBackEntry(PersonEntry):
    """A person is back: absences that had begun, or were to begin, do not count any more."""

    kind: ClassVar[str] = "person_back"
    sources_since: ClassVar[int] = 1

    name: str
    by: str


class PersonLeftEntry(PersonEntry):
    """A person has left: they answer nothing any more, and are the delegate of no one."""

    kind: ClassVar[str] = "person_left"
    sources_since: ClassVar[int] = 1

    name: str
    by: str
    reason: str


class PersonInvitedEntry(PersonEntry):
    """A person was invited to sign in once, by a link. Only the hash of its secret is kept."""

    kind: ClassVar[str] = "person_invited"
    sources_since: ClassVar[int] = 1

    invitation_id: str
    name: str
    access: Access
    secret_hash: str
    expires_at: datetime
    by: str


class InvitationRedeemedEntry(PersonEntry):
    """An invitation was used; it opens nothing from here on."""

    kind: ClassVar[str] = "invitation_redeemed"
    sources_since: ClassVar[int] = 1

    invitation_id: str
    by: str


class InvitationWithdrawnEntry(PersonEntry):
    """An invitation was withdrawn, and with it the sessions that it opened."""

    kind: ClassVar[str] = "invitation_withdrawn"
    sources_since: ClassVar[int] = 1

    invitation_id: str
    by: str
    reason: str
