"""Invitations: a link that lets a person without a key sign in, once, within a day. Only a hash of it is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import JsonValue

from loom.errors import AdmissionError, InvitationError
from loom.identity import Access, By, Identity
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.people.entries import (
    InvitationRedeemedEntry,
    InvitationWithdrawnEntry,
    PersonInvitedEntry,
    PersonLeftEntry,
)

__all__ = ["INVITATION_LIFE_S", "INVITATION_PATH", "Invitation", "Invitations", "Redeemed", "invitation_path"]

INVITATION_PATH = "/invitation"
"""Where the link of an invitation leads."""

INVITATION_LIFE_S = 86_400
"""For how long an invitation can be used: 24 hours."""

_TEXT = re.compile(r"loomi_([0-9a-f]{16})_([0-9a-f]{64})\Z")
_SOURCE = "invitation:"


class Invitation(NamedTuple):
    """An invitation as it is known: never its secret."""

    invitation_id: str
    name: str
    access: Access
    expires_at: datetime
    by: str
    identity_source: str | None = None
    """Where the name of who has invited comes from."""
    via: str | None = None
    state: Literal["open", "redeemed", "withdrawn"] = "open"
    redeemed_at: datetime | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Return the invitation as programs read it."""
        said = self._asdict()
        moments = {name: said[name] and said[name].isoformat() for name in ("expires_at", "redeemed_at")}
        return {**said, **moments}

    @property
    def identity(self) -> Identity:
        """The identity of a session that it opened."""
        return Identity(self.name, f"{_SOURCE}{self.invitation_id}", "http")


def invitation_path(secret: str) -> str:
    """Return the path of the link with which an invitation is sent; opening it only shows a page."""
    return f"{INVITATION_PATH}?code={secret}"


class Redeemed(NamedTuple):
    """Who has signed in by an invitation, and what they may do."""

    identity: Identity
    access: Access
    invitation_id: str


class Invitations:
    """The invitations of a workspace."""

    def __init__(
        self, journal: SingletonJournal, *, now: Callable[[], datetime], person_of: Callable[[str], str]
    ) -> None:
        self._journal = journal
        self._now = now
        self._person_of = person_of
        self._known: dict[str, tuple[Invitation, str]] = {}

    def all(self) -> tuple[Invitation, ...]:
        """Return every invitation, oldest first."""
        return tuple(each for each, _ in self._known.values())

    def get(self, invitation_id: str) -> Invitation:
        """Return an invitation by its id or an unambiguous beginning; raise `AdmissionError`."""
        found = [each for each in self._known if invitation_id and each.startswith(invitation_id)]
        if len(found) != 1:
            what = "ambiguous" if found else "not known"
            raise AdmissionError(
                f"invitation [{invitation_id:.40}] is {what}; expected the id of one: see `loom people invitations`"
            )
        return self._known[found[0]][0]

    def by_secret(self, secret: str) -> Invitation:
        """Return the invitation that was just issued with a secret."""
        found = _TEXT.match(secret)
        assert found is not None  # noqa: S101 - `issue` returned it
        return self._known[found[1]][0]

    def named(self, who: Identity) -> str | None:
        """Return the name that an invitation gives an identity; None for one that comes from elsewhere."""
        source = who.established
        known = self._known.get(source.removeprefix(_SOURCE)) if source.startswith(_SOURCE) else None
        return None if known is None else known[0].name

    def is_in_force(self, invitation_id: str) -> bool:
        """Tell whether sessions that an invitation opened may go on: it was redeemed, and not withdrawn since."""
        known = self._known.get(invitation_id)
        return known is not None and known[0].state == "redeemed"

    async def issue(self, name: str, access: Access, *, by: By) -> str:
        """Invite a person to sign in once within 24 hours; return the secret of the link, which is shown only now.

        Where there is a directory, the person has to be in it: `DirectoryError`.
        """
        invitation_id, secret = secrets.token_hex(8), secrets.token_hex(32)
        who, expires_at = Identity.of(by), self._now() + timedelta(seconds=INVITATION_LIFE_S)

        def missing() -> Entry:
            return PersonInvitedEntry(
                **who.written(),
                invitation_id=invitation_id,
                name=self._person_of(name),
                access=access,
                secret_hash=_hash(invitation_id, secret),
                expires_at=expires_at,
            )

        await self._journal.append_if_missing(missing)
        return f"loomi_{invitation_id}_{secret}"

    async def redeem(self, secret: str) -> Redeemed:
        """Use an invitation, once; return who it is for. Raises `InvitationError` for one that opens nothing.

        What is wrong with it is said only to who has its secret.
        """

        def missing() -> Entry:
            known = self.check(secret)
            return InvitationRedeemedEntry(**known.identity.written(), invitation_id=known.invitation_id)

        await self._journal.append_if_missing(missing)
        invitation_id = str(self._id_in(secret))
        invitation = self._known[invitation_id][0]
        return Redeemed(invitation.identity, invitation.access, invitation_id)

    def check(self, secret: str) -> Invitation:
        """Return the invitation that a secret would open now; raise `InvitationError` as `redeem` does."""
        found = _TEXT.match(secret)
        invitation_id, rest = (found[1], found[2]) if found is not None else ("", "")
        known = self._known.get(invitation_id)
        expected = _hash("", "") if known is None else known[1]
        right = hmac.compare_digest(expected, _hash(invitation_id, rest))
        if known is None or not right:
            raise InvitationError("this invitation is not known; expected one that was sent to you: ask for one")
        _check_usable(known[0], self._now())
        return known[0]

    def knows(self, secret: str) -> bool:
        """Tell whether an invitation is of this workspace; whether its secret is right is another question."""
        return self._id_in(secret) in self._known

    @staticmethod
    def _id_in(secret: str) -> str | None:
        found = _TEXT.match(secret)
        return None if found is None else found[1]

    async def withdraw(self, invitation_id: str, *, by: By, reason: str) -> Invitation:
        """Withdraw an invitation, used or not; the sessions that it opened end."""
        if not reason.strip():
            raise AdmissionError("reason is blank; expected a text: give the reason")
        who, full = Identity.of(by), ""

        def missing() -> Entry | None:
            nonlocal full
            known = self.get(invitation_id)
            full = known.invitation_id
            if known.state == "withdrawn":
                return None
            return InvitationWithdrawnEntry(**who.written(), invitation_id=full, reason=reason)

        await self._journal.append_if_missing(missing)
        return self._known[full][0]

    def fold(self, recorded: Recorded) -> None:
        """Fold one entry of the journal."""
        entry = recorded.entry
        if isinstance(entry, PersonInvitedEntry):
            invitation = Invitation(
                entry.invitation_id,
                entry.name,
                entry.access,
                entry.expires_at,
                entry.by,
                entry.identity_source,
                entry.via,
            )
            self._known[entry.invitation_id] = invitation, entry.secret_hash
        elif isinstance(entry, InvitationRedeemedEntry):
            self._put(entry.invitation_id, state="redeemed", redeemed_at=recorded.recorded_at)
        elif isinstance(entry, InvitationWithdrawnEntry):
            self._put(entry.invitation_id, state="withdrawn")
        elif isinstance(entry, PersonLeftEntry):
            for each in self.all():
                if each.name == entry.name:
                    self._put(each.invitation_id, state="withdrawn")

    def _put(self, invitation_id: str, **changed: object) -> None:
        known = self._known.get(invitation_id)
        if known is not None:
            self._known[invitation_id] = known[0]._replace(**changed), known[1]  # type: ignore[arg-type]


def _check_usable(invitation: Invitation, now: datetime) -> None:
    if invitation.state != "open":
        raise InvitationError(
            f"this invitation of [{invitation.name}] was {'used' if invitation.state == 'redeemed' else 'withdrawn'}; "
            "expected one that was not: ask for a new one"
        )
    if now >= invitation.expires_at:
        raise InvitationError(
            f"this invitation of [{invitation.name}] ended at [{invitation.expires_at:%Y-%m-%d %H:%M UTC}]; expected "
            "one within 24 hours: ask for a new one"
        )


def _hash(invitation_id: str, secret: str) -> str:
    # It is 256 random bits: there is nothing to guess, so nothing has to be slow.
    return hashlib.sha256(f"loom/invitation/v1\n{invitation_id}\n{secret}".encode()).hexdigest()
