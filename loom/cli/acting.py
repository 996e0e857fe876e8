"""Acting on a workspace: through the control socket of the loom that runs on it, or by opening it for a moment.

Opened for a moment, no turn is resumed and no code of an actor is imported: an answer is journaled, and whichever loom
runs next goes on from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from loom.cli.shell import Shell
from loom.config import LoomConfig
from loom.errors import JournalLockedError
from loom.identity import check_person
from loom.journal.control import control_call
from loom.journal.sqlite import JournalFiles, WriterLock
from loom.operations import Operations
from loom.runtime import Loom, Workspace

__all__ = ["act", "open_loom", "over_socket"]

_TRIES = 3


async def act(shell: Shell, operation: str, arguments: Mapping[str, JsonValue], *, by: str) -> tuple[JsonValue, bool]:
    """Do something in the name of a person; return what came of it, and whether a running loom did it."""
    check_person(by)
    place = shell.existing
    for attempt in range(_TRIES):
        if WriterLock(place.files.lock).held():
            return await over_socket(place.files, operation, arguments), True
        try:
            async with open_loom(without_code(place), by=by) as loom:
                return await Operations(loom).call(operation, arguments), False
        except JournalLockedError:  # a loom has started just now: it is the one to be asked
            if attempt + 1 == _TRIES:
                raise
    raise AssertionError("a loop that returns or raises")


async def over_socket(files: JournalFiles, operation: str, arguments: Mapping[str, JsonValue]) -> JsonValue:
    """Ask the loom that runs on a journal."""
    return await control_call(files, operation, dict(arguments))


def open_loom(place: Workspace, *, by: str, resume: bool = False) -> Loom:
    """Return the loom of a workspace, to be entered."""
    from loom.actors import Sources

    return Loom(place, actors=(), extensions=(), by=by, sources=Sources(), approver=None, resume=resume)


def without_code(place: Workspace) -> Workspace:
    """Return the same workspace, set up so that no module is imported."""
    settings: LoomConfig = place.config.model_copy(update={"modules": ()})
    return replace(place, config=settings)
