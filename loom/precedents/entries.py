"""The entries of the registry of equivalence rules, kept in the journal `loom/equivalence`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import JsonValue

from loom.journal.entry import PersonEntry

__all__ = ["EquivalenceRuleRegisteredEntry"]


class EquivalenceRuleRegisteredEntry(PersonEntry):
    """A version of an equivalence rule was registered. Its hash covers `document`."""

    kind: ClassVar[str] = "equivalence_rule_registered"
    schema_version: ClassVar[int] = 2

    name: str
    number: int
    version: str
    hash: str
    document: dict[str, JsonValue]
    by: str
    reason: str | None = None
