"""What a fork does to the stores that are open: the child must not touch the connections of its parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["forget", "note"]


class _Open(Protocol):
    """A store that is open."""

    def poison(self) -> None:
        """Refuse everything from now on, and touch no connection."""
        ...


_open: weakref.WeakSet[_Open] = weakref.WeakSet()
_carried_over: list[_Open] = []
"""Stores of the parent in a forked child: never let go, as closing their connections would touch the parent's locks."""


def note(store: _Open) -> None:
    """Have a store poisoned in every child that is forked while it is open."""
    _open.add(store)


def forget(store: _Open) -> None:
    """Note that a store is closed."""
    _open.discard(store)


def _poison_all() -> None:
    for store in list(_open):
        store.poison()
        _carried_over.append(store)


os.register_at_fork(after_in_child=_poison_all)
