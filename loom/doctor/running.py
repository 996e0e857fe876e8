"""Check the loom that runs on a workspace, if one does, and the views that it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from loom.actors import TurnsView
from loom.clock import datetime_from_us
from loom.doctor.machine import lock_of
from loom.errors import ControlError, LoomError
from loom.extension import Check, extensions_of
from loom.journal.control import control_call, runs_workspace
from loom.journal.places import reader_of
from loom.journal.sqlite import JournalFiles
from loom.projections import Views, open_views_for_reading
from loom.projections.views import ViewsLostError
from loom.text import moment
from loom.workspace import Workspace, own_projections

__all__ = ["check_running", "check_views"]


async def check_running(files: JournalFiles) -> AsyncIterator[Check]:
    """Ask the loom that holds the lock, if there is one."""
    held, about = lock_of(files)
    if not held:
        yield Check("ok", "running", "no loom runs on it; the lock is free")
        return
    if not runs_workspace(about):
        at = f"process {about.get('pid', 'unknown')}"
        yield Check("ok", "running", f"{at} holds the lock and does not run the workspace: it opens it, or stands by")
        return
    try:
        status: Any = await control_call(files.lock, "status", {}, timeout_s=5.0)
    except ControlError as error:
        yield Check(
            "look",
            "running",
            f"process {about.get('pid', 'unknown')} holds the lock and does not answer: {error}",
            "`loom approve` and the like need it to: look at its log",
        )
        return
    failed = [each["name"] for each in status["projections"] if each["failed"]]
    yield Check(
        "ok", "running", f"process {status['pid']} since {_since(about)}, at position {status['position']}; it answers"
    )
    if failed:
        yield Check(
            "bad",
            "projections",
            f"stopped: {', '.join(failed)}",
            "look at its log; correct the projection, then restart",
        )
    for each in status.get("background", {}).get("failed", ()):
        what = "is begun again" if each["runs_again"] else "ended"
        times = "" if each["times"] == 1 else f", {each['times']} times"
        yield Check(
            "look", "background", f"{each['name']} failed{times} and {what}: {each['error']}", "look at its log"
        )


def _since(about: dict[str, object]) -> str:
    started = about.get("started_at_us")
    return f"{moment(datetime_from_us(started))} UTC" if isinstance(started, int) else "an unknown time"


async def check_views(place: Workspace) -> AsyncIterator[Check]:
    """Look at the views: whether they are readable and up to date, and at turns without an end."""
    behind = await _lag_on_disk(place.files)
    brought = [projection for each in extensions_of(place.config) for projection in each.projections]
    try:
        async with open_views_for_reading(place.files, [*own_projections(), *brought]) as queries:
            status = await queries.status()
            unfinished = [each async for each in TurnsView(queries).every(unfinished=True)]
    except (LoomError, OSError) as error:
        yield Check("bad", "views", str(error), "delete the views file: it is rebuilt from the journal")
        return
    failed = [each for each in status if each.failed]
    for each in failed:
        yield Check("bad", "views", f"{each.name} stopped: {each.failed}", "correct the projection, then start a loom")
    if behind < 0:
        yield Check(
            "bad",
            "views",
            f"{-behind} entries ahead of the journal: an older backup of the journal was restored",
            "the entries after the backup are lost: look for a newer backup; the next loom rebuilds the views",
        )
    elif not failed:
        how = (
            "up to date"
            if not behind
            else f"{behind} entries behind; the next loom catches up, until then a copy is made"
        )
        yield Check("ok", "views", how)
    stuck = sum(each.status == "stuck" for each in unfinished)
    if stuck:
        yield Check("look", "turns", f"{stuck} stuck of {len(unfinished)} unfinished", "see `loom turns`")
    else:
        yield Check("ok", "turns", f"{len(unfinished)} unfinished, none stuck")


async def _lag_on_disk(files: JournalFiles) -> int:
    """Return by how many entries the existing views are behind; all, if they cannot be read.

    It is negative if one of them holds more than the journal.
    """
    reader, views = reader_of(files), Views(files.views)
    try:
        tail = await reader.tail()
        held = await views.checkpoints()
    except ViewsLostError:
        return tail
    finally:
        await views.close()
        await reader.close()
    behind = [tail - checkpoint.position for checkpoint, _ in held.values()]
    return min(behind) if behind and min(behind) < 0 else max(behind, default=tail)
