"""Entries in, commands out: the only way in which journal entries lead to further actions."""

from __future__ import annotations

from loom.reactors.reactors import REACTORS_JOURNAL, Reaction, Reactor, ReactorReachedEntry, Reactors

__all__ = ["REACTORS_JOURNAL", "Reaction", "Reactor", "ReactorReachedEntry", "Reactors"]
