"""API keys: whose they are and what they may do, hashed, in a journal of the workspace they belong to."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

from loom.errors import AdmissionError, InvalidNameError
from loom.identity import Access, By, Identity, check_person
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["KEYS_JOURNAL", "ApiKey", "KeyIssuedEntry", "KeyRevokedEntry", "Keys", "Role", "keys_of"]

KEYS_JOURNAL = "web/keys"

Role: TypeAlias = Access
"""What a key may do; `loom.web.guard.RANKS` says what that is."""

_TEXT = re.compile(r"loom_([0-9a-f]{16})_([0-9a-f]{64})\Z")


class KeyIssuedEntry(PersonEntry):
    """A key was issued. Only its hash is kept."""

    kind: ClassVar[str] = "web.key_issued"
    schema_version: ClassVar[int] = 3

    key_id: str
    name: str
    role: Role
    key_hash: str
    by: str

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body as it is: schema 3 has one more role."""
        return body if version == 2 else super().upcast(version, body)


class KeyRevokedEntry(PersonEntry):
    """A key was revoked."""

    kind: ClassVar[str] = "web.key_revoked"
    schema_version: ClassVar[int] = 2

    key_id: str
    by: str
    reason: str


class ApiKey(NamedTuple):
    """A key as it is known: never the key itself."""

    key_id: str
    name: str
    role: Role
    revoked: bool = False


class Keys:
    """The keys of one workspace."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, KEYS_JOURNAL, self._fold, make_draft=make_draft)
        self._keys: dict[str, tuple[ApiKey, str]] = {}

    async def load(self) -> None:
        """Read the keys; also those that were issued or revoked meanwhile."""
        await self._journal.load()

    def all(self) -> tuple[ApiKey, ...]:
        """Return every key that was ever issued."""
        return tuple(key for key, _ in self._keys.values())

    async def issue(self, name: str, role: Role, *, by: By) -> str:
        """Issue a key for a person, and return it: it is shown only this once."""
        key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
        entry = KeyIssuedEntry(
            **Identity.of(by).written(),
            key_id=key_id,
            name=check_person(name, what="name"),
            role=role,
            key_hash=_hash(key_id, secret),
        )
        await self._journal.append_if_missing(lambda: entry)
        return f"loom_{key_id}_{secret}"

    async def revoke(self, key_id: str, *, by: By, reason: str) -> ApiKey:
        """Revoke a key, at once, and return it; the id may be an unambiguous beginning."""
        who, revoked = Identity.of(by), ""

        def missing() -> Entry | None:
            nonlocal revoked
            found = [each for each in self._keys if key_id and each.startswith(key_id)]
            if len(found) != 1:
                what = "ambiguous" if found else "not known"
                raise AdmissionError(f"key [{key_id:.40}] is {what}; expected the id of one: see `loom keys`")
            revoked = found[0]
            known, _ = self._keys[revoked]
            return None if known.revoked else KeyRevokedEntry(**who.written(), key_id=revoked, reason=reason)

        await self._journal.append_if_missing(missing)
        return self._keys[revoked][0]

    def who(self, text: str | None) -> ApiKey | None:
        """Return whose key a text is; None for one that opens nothing."""
        found = _TEXT.match(text or "")
        known = None if found is None else self._keys.get(found[1])
        if found is None or known is None or known[0].revoked:
            return None
        return known[0] if hmac.compare_digest(known[1], _hash(found[1], found[2])) else None

    def known(self, key_id: str) -> ApiKey | None:
        """Return the key with this id; None where there is none, or none any more."""
        found = self._keys.get(key_id)
        return None if found is None or found[0].revoked else found[0]

    @staticmethod
    def named_in(text: str) -> str | None:
        """Return the id of the key that a text claims to be; None if it has not the form of one."""
        found = _TEXT.match(text)
        return None if found is None else found[1]

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, KeyIssuedEntry):
            self._keys[entry.key_id] = ApiKey(entry.key_id, entry.name, entry.role), entry.key_hash
        elif isinstance(entry, KeyRevokedEntry):
            key, key_hash = self._keys[entry.key_id]
            self._keys[entry.key_id] = key._replace(revoked=True), key_hash


def _hash(key_id: str, secret: str) -> str:
    # A key is 256 random bits: there is nothing to guess, so nothing has to be slow.
    return hashlib.sha256(f"loom/api-key/v1\n{key_id}\n{secret}".encode()).hexdigest()


def keys_of(loom: Any) -> Keys:
    """Return the keys of a loom that was opened with the extension [web]."""
    keys = loom.parts.get("web")
    if not isinstance(keys, Keys):
        raise InvalidNameError(
            "this loom has no keys; expected the extension [web]: pass it to Loom.open(extensions=…), or fill in web: "
            "in the config"
        )
    return keys
