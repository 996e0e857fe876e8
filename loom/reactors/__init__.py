"""Entries in, commands out: the only way by which what was written leads to something being done."""

from __future__ import annotations

from loom.reactors.reactors import REACTORS_JOURNAL, Reaction, Reactor, ReactorReachedEntry, Reactors

__all__ = ["REACTORS_JOURNAL", "Reaction", "Reactor", "ReactorReachedEntry", "Reactors"]
