"""The journal: entries and their kinds, the store that appends them, and the hash chain that ties them together."""

from __future__ import annotations

from loom.journal.admission import Limits, admit, json_value, parse_json
from loom.journal.entry import KINDS, Entry, KindRegistry, PersonEntry, Recorded, Step, UnknownEntry
from loom.journal.kinds import (
    CommandReceivedEntry,
    PrunedEntry,
    TurnAbandonedEntry,
    TurnCompletedEntry,
    TurnContinuedEntry,
    TurnDivergedEntry,
    TurnFailedEntry,
    TurnResumedEntry,
    TurnRetriedEntry,
    TurnStartedEntry,
)
from loom.journal.store import Append, Draft, Head, JournalReader, JournalStore, JournalWriter, Receipt, draft

__all__ = [
    "KINDS",
    "Append",
    "CommandReceivedEntry",
    "Draft",
    "Entry",
    "Head",
    "JournalReader",
    "JournalStore",
    "JournalWriter",
    "KindRegistry",
    "Limits",
    "PersonEntry",
    "PrunedEntry",
    "Receipt",
    "Recorded",
    "Step",
    "TurnAbandonedEntry",
    "TurnCompletedEntry",
    "TurnContinuedEntry",
    "TurnDivergedEntry",
    "TurnFailedEntry",
    "TurnResumedEntry",
    "TurnRetriedEntry",
    "TurnStartedEntry",
    "UnknownEntry",
    "admit",
    "draft",
    "json_value",
    "parse_json",
]
