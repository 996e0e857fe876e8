"""Which process wakes which actors, where several processes write one workspace.

Ownership saves time, and does not keep journals safe: that is what the store's `acquire` does. Two processes that both
think that an actor is theirs take its journal from each other, and every decision is made once nevertheless.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["ALL_MINE", "Ownership"]


class Ownership(Protocol):
    """Answers at once which actors this process wakes: from memory, without a wait."""

    def mine(self, journal: str) -> bool:
        """Tell whether this process is the owner of an actor now."""
        ...

    def address(self, journal: str) -> str | None:
        """Return where the owner of an actor takes commands; None if that is not known."""
        ...


class _AllMine:
    """One process owns every actor: the default."""

    def mine(self, journal: str) -> bool:
        """Return True."""
        return True

    def address(self, journal: str) -> str | None:
        """Return None: it is here."""
        return None


ALL_MINE: Ownership = _AllMine()
"""The ownership of a process that owns every actor."""
