"""The entries of the policy registry, kept in the journal `loom/policies`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import JsonValue

from loom.journal.entry import Entry

__all__ = ["PolicyAdoptedEntry", "PolicyRegisteredEntry"]


class PolicyRegisteredEntry(Entry):
    """A policy version was made known. `document` is what its hash covers, `about` what counts as description."""

    kind: ClassVar[str] = "policy_registered"

    name: str
    number: int
    version: str
    hash: str
    document: dict[str, JsonValue]
    about: dict[str, JsonValue]
    by: str
    reason: str | None = None


class PolicyAdoptedEntry(Entry):
    """A policy version was made the one that new turns pin."""

    kind: ClassVar[str] = "policy_adopted"

    name: str
    version: str
    hash: str
    by: str
    reason: str | None = None
