"""The entries of suggestions: made by mining, adopted or rejected by a person."""

from __future__ import annotations

from typing import ClassVar

from pydantic import JsonValue

from loom.journal.entry import Entry, PersonEntry

__all__ = [
    "SuggestionAdoptedEntry",
    "SuggestionApprovedEntry",
    "SuggestionImplementedEntry",
    "SuggestionMadeEntry",
    "SuggestionRejectedEntry",
]


class SuggestionMadeEntry(Entry):
    """A table was suggested in place of a version, with its pattern, and with what it would have changed."""

    kind: ClassVar[str] = "suggestion_made"

    suggestion_id: str
    policy: str
    base: str
    """The full hash of the version that it starts from."""
    table: dict[str, JsonValue]
    rule: str
    """The name of its new rule."""
    pattern: dict[str, JsonValue]
    impact: dict[str, JsonValue]


class SuggestionApprovedEntry(PersonEntry):
    """A person approved a suggestion, and so proposes it as a version: another person may adopt that."""

    kind: ClassVar[str] = "suggestion_approved"
    sources_since: ClassVar[int] = 1

    suggestion_id: str
    by: str
    reason: str


class SuggestionAdoptedEntry(PersonEntry):
    """A person adopted a suggestion as the version that new turns pin; in schema 1, that person also approved it."""

    kind: ClassVar[str] = "suggestion_adopted"
    schema_version: ClassVar[int] = 2

    suggestion_id: str
    by: str
    reason: str


class SuggestionImplementedEntry(Entry):
    """The adopted version is registered, and new turns pin it."""

    kind: ClassVar[str] = "suggestion_implemented"

    suggestion_id: str
    version: str
    hash: str


class SuggestionRejectedEntry(PersonEntry):
    """A person rejected a suggestion. It is not made again unless its evidence has changed."""

    kind: ClassVar[str] = "suggestion_rejected"
    schema_version: ClassVar[int] = 2

    suggestion_id: str
    by: str
    reason: str
