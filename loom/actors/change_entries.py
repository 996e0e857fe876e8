"""The entry of a turn that has chosen between the branches of changed code."""

from __future__ import annotations

from typing import ClassVar

from loom.journal.entry import Entry

__all__ = ["VersionMarkedEntry"]


class VersionMarkedEntry(Entry):
    """A turn follows this version of a change of its code from now on, whatever version is the newest.

    Code that does not ask for the change any more may follow a turn that has the entry.
    """

    kind: ClassVar[str] = "version_marked"

    change: str
    version: int
