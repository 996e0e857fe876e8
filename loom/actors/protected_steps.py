"""Checks before a recorded turn runs whether the values of its steps can still be read."""

from __future__ import annotations

from collections.abc import Sequence

from loom.actors.entries import AskedEntry, AskRepliedEntry
from loom.actors.protected_entries import gone_in_entry
from loom.actors.protected_replies import gone_in_reply
from loom.journal.entry import Recorded, Step
from loom.sealing import Vault

__all__ = ["gone_of_steps"]


def gone_of_steps(vault: Vault | None, entries: Sequence[Recorded]) -> str | None:
    """Return why a value of a turn's steps cannot be read again: `masked`, `hashed`, `dropped` or `erased`.

    Or `sealed`, where there is no vault. None where all of them can be read.
    """
    asked: dict[Step | None, str] = {}
    for recorded in entries:
        if recorded.kind == AskedEntry.kind and isinstance(recorded.entry, AskedEntry):
            asked[recorded.entry.step] = recorded.entry.command_type
        elif recorded.kind == AskRepliedEntry.kind and isinstance(recorded.entry, AskRepliedEntry):
            command_type = asked.get(recorded.entry.step)
            lost = None if command_type is None else gone_in_reply(vault, command_type, recorded.entry.reply)
            if lost is not None:
                return lost
        elif (lost := gone_in_entry(vault, recorded)) is not None:
            return lost
    return None
