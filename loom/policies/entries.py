"""The entries of the policy registry, kept in the journal `loom/policies`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import JsonValue

from loom.journal.entry import PersonEntry

__all__ = ["PolicyAdoptedEntry", "PolicyProposedEntry", "PolicyRegisteredEntry", "Trigger"]

Trigger: TypeAlias = Literal["person", "code"]
"""Whether a person did it, or code at the start of a loom did, in the name of the person who opened it."""

_REGISTERED_FROM_CODE = frozenset({"registered from code", "a circuit"})
_ADOPTED_WITH_CODE = "adopted with its code"


class PolicyRegisteredEntry(PersonEntry):
    """A policy version was registered. The hash covers `document`; `about` is only description."""

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
        """Upgrade schema 1, in which the reason alone distinguished registrations by code from those by people."""
        if version != 1:
            return super().upcast(version, body)
        implicit = body["document"].get("language") == "none"
        from_code = implicit or body.get("reason") in _REGISTERED_FROM_CODE
        return {**body, "trigger": "code" if from_code else "person"}


class PolicyProposedEntry(PersonEntry):
    """A person proposed a version that was already registered, for example by approving a suggestion that gives it."""

    kind: ClassVar[str] = "policy_proposed"
    sources_since: ClassVar[int] = 1

    name: str
    version: str
    hash: str
    by: str
    reason: str | None = None


class PolicyAdoptedEntry(PersonEntry):
    """A policy version was made the one that new turns pin.

    `effective_from` says since when it was in use: a statement about the past for people and audits, never later than
    the entry. Which version a turn pins follows from the order of the journal alone.
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
        """Upgrade older schemas: in schema 1 the reason alone distinguished adoptions by code from those by people.

        Schema 2 does not have the time since when a version was in use.
        """
        if version == 2:
            return {**body, "effective_from": None}
        if version != 1:
            return super().upcast(version, body)
        return {**body, "trigger": "code" if body.get("reason") == _ADOPTED_WITH_CODE else "person"}
