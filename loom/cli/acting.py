"""Act on a workspace: through the control socket of the loom that runs on it, or by opening it for a moment.

A workspace that is opened for a moment resumes no turn and imports no code of an actor: the answer is journaled, and
the loom that runs next continues from it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from loom.cli.shell import Shell
from loom.config import LoomConfig
from loom.errors import ControlError, JournalLockedError
from loom.extension import Extension
from loom.identity import Edge, Identity, check_person
from loom.journal.control import control_call, takes_requests
from loom.journal.standby import OnActive
from loom.operations import Operations
from loom.runtime import Loom
from loom.workspace import Workspace

__all__ = ["act", "act_with_code", "open_loom"]

_TRIES = 40
_PAUSE_S = 0.05
_STARTING = "NobodyListens"
_LONG_S = 3_600.0


async def act(
    shell: Shell,
    operation: str,
    arguments: Mapping[str, JsonValue],
    *,
    by: str,
    extensions: Sequence[Extension] = (),
    begins: bool = False,
) -> tuple[JsonValue, bool]:
    """Do an operation in the name of a person; return its result, and whether a running loom did it.

    It waits for a loom that is just starting, and for a shell that has the workspace open for a moment. `extensions`
    are those that bring the operation. With `begins`, the workspace is created if it does not exist yet.
    """
    check_person(by)
    place = shell.place if begins else shell.existing
    for attempt in range(1, _TRIES + 1):
        try:
            if place.files.exists() and takes_requests(place.files.lock):
                return await control_call(place.files.lock, operation, arguments), True
            async with open_loom(without_code(place), by=by, extensions=extensions) as loom:
                return await Operations(loom).call(operation, arguments, edge=_edge()), False
        except (ControlError, JournalLockedError) as error:
            if attempt == _TRIES or (isinstance(error, ControlError) and error.type_name != _STARTING):
                raise
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("a loop that returns or raises")


async def act_with_code(
    shell: Shell,
    operation: str,
    arguments: Mapping[str, JsonValue],
    *,
    by: str,
    begins: bool = False,
    resumes: bool = False,
    timeout_s: float = _LONG_S,
) -> tuple[JsonValue, bool]:
    """Do an operation that needs the code of policies and actors; return its result, and whether a running loom did it.

    Without a loom that runs, the workspace is opened for a moment with the modules of the config; with `begins` it is
    created if it does not exist yet. With `resumes`, an actor that is sent a command resumes its unfinished turns.
    """
    check_person(by)
    place = shell.place if begins else shell.existing
    if takes_requests(place.files.lock):
        return await control_call(place.files.lock, operation, arguments, timeout_s=timeout_s), True
    shell.allow_imports()
    async with open_loom(place, by=by) as loom:
        loom.actors.resumes = resumes
        return await Operations(loom).call(operation, arguments, edge=_edge()), False


def _edge() -> Edge:
    return Edge("shell", account=os.getuid())


def open_loom(
    place: Workspace,
    *,
    by: str,
    resume: bool = False,
    extensions: Sequence[Extension] = (),
    accept_loss: str | None = None,
    standby: OnActive | None = None,
) -> Loom:
    """Return the loom of a workspace, to be entered; with `standby`, that waits for the end of another process."""
    from loom.actors import Sources

    who = Identity.of(by, via="shell")
    accepted = None if accept_loss is None else Identity.of(accept_loss, via="shell")
    return Loom(
        place,
        actors=(),
        extensions=extensions,
        by=who,
        sources=Sources(),
        approver=None,
        resume=resume,
        accept_loss=accepted,
        standby=standby,
    )


def without_code(place: Workspace) -> Workspace:
    """Return the same workspace, set up so that no module is imported, and no table of the config registered."""
    settings: LoomConfig = place.config.model_copy(update={"modules": (), "policies": ()})
    return replace(place, config=settings)
