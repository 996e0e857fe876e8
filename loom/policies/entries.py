"""The entries of the policy registry, kept in the journal `loom/policies`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import JsonValue

from loom.journal.entry import PersonEntry

__all__ = ["PolicyAdoptedEntry", "PolicyProposedEntry", "PolicyRegisteredEntry", "Trigger"]

Trigger: TypeAlias = Literal["person", "code"]
"""Whether a person did it, or it came with the code that a loom was opened with, in the name of who opened it."""

_REGISTERED_FROM_CODE = frozenset({"registered from code", "a circuit"})
_ADOPTED_WITH_CODE = "adopted with its code"


class PolicyRegisteredEntry(PersonEntry):
    """A policy version was made known. `document` is what its hash covers, `about` what counts as description."""

    kind: ClassVar[str] = "policy_registered"
    schema_version: ClassVar[int] = 2

    name: str
    number: int
    version: str
    hash: str
    document: dict[str, JsonValue]
    about: dict[str, JsonValue]
    by: str
    reason: str | None = None
    trigger: Trigger = "person"

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Tell registrations by code from those by people; schema 1 told them apart by their reason alone."""
        if version != 1:
            return super().upcast(version, body)
        implicit = body["document"].get("language") == "none"
        from_code = implicit or body.get("reason") in _REGISTERED_FROM_CODE
        return {**body, "trigger": "code" if from_code else "person"}


class PolicyProposedEntry(PersonEntry):
    """A person proposed a version that was known already, as by approving a suggestion that comes to it."""

    kind: ClassVar[str] = "policy_proposed"
    sources_since: ClassVar[int] = 1

    name: str
    version: str
    hash: str
    by: str
    reason: str | None = None


class PolicyAdoptedEntry(PersonEntry):
    """A policy version was made the one that new turns pin.

    `effective_from` says since when it was gone by: a statement about the past for people and audits, never later than
    the entry. Which version a turn pins follows the order of the journal alone.
    """

    kind: ClassVar[str] = "policy_adopted"
    schema_version: ClassVar[int] = 3

    name: str
    version: str
    hash: str
    by: str
    reason: str | None = None
    trigger: Trigger = "person"
    effective_from: datetime | None = None

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Tell adoptions by code from those by people; schema 1 told them apart by their reason alone.

        Schema 2 does not say since when a version was gone by.
        """
        if version == 2:
            return {**body, "effective_from": None}
        if version != 1:
            return super().upcast(version, body)
        return {**body, "trigger": "code" if body.get("reason") == _ADOPTED_WITH_CODE else "person"}
