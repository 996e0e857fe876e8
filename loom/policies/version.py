"""A version of a policy in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from loom.identity import Identity
from loom.policies.canonical import Document, version_hash, version_id
from loom.policies.entries import Trigger

__all__ = ["Adoption", "PolicyVersion", "unregistered"]


@dataclass(frozen=True)
class PolicyVersion:
    """A version that is registered: `number` counts from 1 per name, `hash` is its identity, `version` for people.

    `by` is who registered it; with the trigger `code`, who opened the loom that it came with.
    """

    name: str
    number: int
    version: str
    hash: str
    document: Mapping[str, Any]
    about: Mapping[str, Any]
    by: str
    reason: str | None
    registered_at: datetime
    identity_source: str | None = None
    via: str | None = None
    trigger: Trigger = "person"

    @cached_property
    def hash_bytes(self) -> bytes:
        """The hash as the 32 bytes that entry headers carry."""
        return bytes.fromhex(self.hash)

    @property
    def has_rule(self) -> bool:
        """Whether it has a rule; the implicit version of a class has none."""
        return self.document.get("language") != "none"

    @property
    def identity(self) -> Identity:
        """Who registered it, and the source of the name."""
        return Identity(self.by, self.identity_source, self.via)


class Adoption(NamedTuple):
    """Which version new turns pin, since when, in whose name and why.

    `effective_from` is a statement of that person: since when it was in use outside of loom.
    """

    version: PolicyVersion
    identity: Identity
    trigger: Trigger
    reason: str | None
    at: datetime
    effective_from: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON form, without the version."""
        return {
            **{"by": self.identity.name, "identity_source": self.identity.source, "via": self.identity.via},
            **{"trigger": self.trigger, "reason": self.reason, "at": self.at.isoformat()},
            "effective_from": None if self.effective_from is None else self.effective_from.isoformat(),
        }


def unregistered(
    name: str, document: Document, *, about: Mapping[str, Any] = MappingProxyType({}), by: str = "no one"
) -> PolicyVersion:
    """Return a policy as a version with the number 0, which is not registered."""
    full_hash = version_hash(document)
    return PolicyVersion(
        name=name,
        number=0,
        version=version_id(0, full_hash),
        hash=full_hash,
        document=document,
        about=about,
        by=by,
        reason=None,
        registered_at=datetime.fromtimestamp(0, UTC),
    )
