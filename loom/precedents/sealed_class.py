"""The class of a decision, sealed for the subjects of the facts that it is made of, and opened for the index.

The keys of all these subjects are needed to open it: it is sealed for one after the other. Its name in the journal says
nothing of its content, and the same decision gives the same sealed class when its turn is driven again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.rows import written_decision
from loom.errors import ErasedError
from loom.journal.entry import Recorded
from loom.policies.canonical import Json
from loom.projections import Projector
from loom.sealing.markers import SealedValue, placeholder_of
from loom.sealing.subjects import Subjects
from loom.sealing.vault import Keys, Vault

__all__ = ["OpenedClass", "SealedClasses", "forget_classes", "keep_classes", "key_with", "opened_class", "sealed_for"]

Uncount: TypeAlias = Callable[[sqlite3.Connection, Mapping[str, object]], None]
"""Takes a decision out of the counts of its class."""

_ABOUT = "precedent class"
_FIELD = b'"sealed_class"'


class OpenedClass(NamedTuple):
    """The class of a decision, None where a key is gone; and subject → generation of the keys that seal it."""

    alike: Mapping[str, JsonValue] | None
    subjects: Mapping[str, int]


def key_with(keys: Keys) -> Callable[[str, Json], str]:
    """Return what makes keyed attributes with the key of the workspace."""
    return lambda name, material: keys.hashed([name, material], about=_ABOUT)


def sealed_for(keys: Mapping[str, Keys], value: JsonValue, *, once: str) -> JsonValue:
    """Return a class, or the key of a situation, sealed for all of some subjects, the same for the same `once`."""
    for subject in sorted(keys):
        value = keys[subject].seal(value, about=_ABOUT, once=once)
    return value


async def opened_class(vault: Vault, sealed: JsonValue) -> OpenedClass:
    """Return what `sealed_for` sealed, opened, with the subjects that could be read."""
    value, subjects = sealed, dict[str, int]()
    while isinstance(layer := placeholder_of(value), SealedValue):
        subjects[layer.subject] = layer.generation
        try:
            value = await vault.open(value, subject=layer.subject)
        except ErasedError:
            return OpenedClass(None, subjects)
    return OpenedClass(value if isinstance(value, dict) else None, subjects)


class SealedClasses:
    """Opens the classes of decisions for the index, with the vault of the running loom."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def open_page(self, page: Sequence[Recorded]) -> None:
        """Set `opened` of the decisions that have a sealed class."""
        for recorded in page:
            if recorded.kind != DecisionJournalEntry.kind or recorded.body is None or _FIELD not in recorded.body:
                continue
            sealed = (written_decision(recorded) or {}).get("sealed_class")
            if sealed is not None:
                recorded.opened = await opened_class(self._vault, sealed)

    async def opened(self, sealed: JsonValue) -> Mapping[str, JsonValue] | None:
        """Return a class opened; None where a key is gone."""
        return (await opened_class(self._vault, sealed)).alike


_OF_SUBJECT = """
SELECT p.position, p.precedent, p.policy_name, p.policy_hash, p.excluded
FROM precedent_sealed AS s JOIN precedents AS p USING (position) WHERE s.subject = ? AND s.generation <= ?
"""
_FORGET_CLASS = "UPDATE precedents SET rule = NULL, situation = NULL, precedent = NULL WHERE position = ?"
_FORGET_SUBJECTS = "DELETE FROM precedent_sealed WHERE position = ?"


def forget_classes(view: sqlite3.Connection, subject: str, until: int, uncount: Uncount) -> None:
    """Take the classes of decisions out of the index that are sealed for a subject with keys up to a generation.

    The tables are as they are when they are folded again without these keys.
    """
    view.execute("PRAGMA secure_delete = ON")
    try:
        for position, precedent, name, hash, excluded in view.execute(_OF_SUBJECT, (subject, until)).fetchall():
            if precedent is not None and excluded is None:
                uncount(view, {"precedent": precedent, "policy_name": name, "policy_hash": hash})
            view.execute(_FORGET_CLASS, (position,))
            view.execute(_FORGET_SUBJECTS, (position,))
    finally:
        view.execute("PRAGMA secure_delete = OFF")


_CLOSED = "SELECT 1 FROM precedent_closed LIMIT 1"


async def keep_classes(projector: Projector, subjects: Subjects, uncount: Uncount) -> None:
    """Have the index let go of the classes of subjects that are erased.

    Where decisions were indexed without a vault, their classes are missing: the index is folded again.
    """
    if subjects.vault is None:
        return

    async def forget(subject: str) -> None:
        until = subjects.erasures.ended(subject)
        if until is not None:
            await projector.write(lambda view: forget_classes(view, subject, until, uncount))

    subjects.add(forget=forget)
    if await projector.write(lambda view: view.execute(_CLOSED).fetchone()) is not None:
        await projector.reset(["precedents"])
