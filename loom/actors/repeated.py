"""Commands whose id came before: the same command is answered again, another one is a conflict."""

from __future__ import annotations

import json
from typing import Any

from loom.actors.command import Command, present_payload
from loom.errors import CommandConflictError
from loom.journal.kinds import CommandReceivedEntry

__all__ = ["check_same"]


def check_same(
    cls: type[Command[Any]], first: object, entry: CommandReceivedEntry, journal: str, command_id: str
) -> None:
    """Refuse an id that was used for another command. A repetition without a run asks for the recorded reply."""
    if not isinstance(first, CommandReceivedEntry):
        came = "and was erased"
    elif _canonical(_in_present_shape(cls, first)) != _canonical(entry):
        came = f"with [{first.command_type}] and other contents"
    elif entry.run_id not in (
        None,
        first.run_id,
    ):  # its recorded decisions would be missing in the run in which it is sent now
        came = f"in run [{first.run_id}]" if first.run_id else f"in no run, not in [{entry.run_id}]"
    else:
        return
    raise CommandConflictError(
        f"command id [{command_id}] of journal [{journal}] came before {came}; expected the same ones: use a new id "
        f"for [{entry.command_type}]"
    )


def _in_present_shape(cls: type[Command[Any]], first: CommandReceivedEntry) -> CommandReceivedEntry:
    """Return an earlier command as it would be received now; one with proofs, or of a newer shape, as it is."""
    if first.proofs or first.command_version >= cls.schema_version or first.command_type != cls.command_type:
        return first
    payload = present_payload(cls, first.payload, version=first.command_version)
    return first.model_copy(update={"payload": payload})


def _canonical(entry: CommandReceivedEntry) -> tuple[str, str]:
    """Return the type and contents of a command in a form in which 1, 1.0 and true differ."""
    contents = entry.proofs or entry.payload  # a proof covers the whole payload, also what was taken out of it since
    return entry.command_type, json.dumps(contents, sort_keys=True)
