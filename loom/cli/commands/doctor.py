"""`loom doctor`: says in plain words whether this machine and this journal can keep loom's promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.shell import Shell
from loom.cli.text import moment, one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.extension import Check
    from loom.journal.sqlite import JournalFiles

__all__ = ["add_to"]

_MARKS = {"ok": ("✓", "green"), "look": ("!", "yellow"), "bad": ("✗", "bold red")}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", panel="Check")(doctor)


async def doctor(shell: Shell) -> int | None:
    """Look at Python, SQLite, the disk, whether a loom of this config starts, the journal, who runs on it, its views.

    ✓ good, ! a person should look at it, ✗ a promise cannot be kept: then the exit code is 1. Not every entry is read:
    `loom verify` does that.
    """
    found = [check async for check in _all(shell)]
    bad = sum(check.mark == "bad" for check in found)
    if shell.json:
        shell.output.document({"ok": not bad, "checks": [asdict(check) for check in found]})
    else:
        _print(shell, found)
    return EXIT_NO if bad else None


async def _all(shell: Shell) -> AsyncIterator[Check]:
    from loom.cli.checks import check_journal, check_machine, check_place
    from loom.cli.kept import check_keeping
    from loom.cli.opening import check_opening
    from loom.errors import LoomError
    from loom.extension import Check, installed

    for check in check_machine():
        yield check
    try:
        place = shell.place
    except LoomError as error:
        begun = shell.config_path is not None or shell.journal is not None
        advice = "`loom run` does not start with it" if begun else "the rest is looked at when there is one"
        yield Check("bad" if begun else "look", "config" if begun else "workspace", str(error), advice)
        return
    where = "no config file" if shell.config_path is None else str(shell.config_path)
    yield Check("ok", "config", f"{where}; workspace {place.name}")
    for check in check_keeping(place.config):
        yield check
    for extension in installed().values():
        for check in () if extension.checks is None else extension.checks(place.config):
            yield check
    for check in check_place(place.files, place.config):
        yield check
    shell.allow_imports()
    async for check in check_opening(place):
        yield check
    sound = True
    for check in check_journal(place.files, place.config, workspace=place.name):
        sound = sound and check.mark != "bad"
        yield check
    async for check in _running(place.files):
        yield check
    if sound and place.files.exists():
        async for check in _views(shell):
            yield check


async def _running(files: JournalFiles) -> AsyncIterator[Check]:
    """Ask the loom that holds the lock, if there is one."""
    from loom.cli.acting import over_socket
    from loom.cli.checks import lock_of
    from loom.errors import ControlError
    from loom.extension import Check

    held, about = lock_of(files)
    if not held:
        yield Check("ok", "running", "no loom runs on it; the lock is free")
        return
    try:
        status: Any = await over_socket(files, "status", {}, timeout_s=5.0)
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
    from loom.clock import datetime_from_us

    started = about.get("started_at_us")
    return f"{moment(datetime_from_us(started))} UTC" if isinstance(started, int) else "an unknown time"


async def _views(shell: Shell) -> AsyncIterator[Check]:
    from loom.cli.reading import open_readings
    from loom.errors import LoomError
    from loom.extension import Check

    behind = await _lag_on_disk(shell)
    try:
        async with open_readings(shell) as readings:
            status = await readings.queries.status()
            unfinished = [each async for each in readings.turns.every(unfinished=True)]
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


async def _lag_on_disk(shell: Shell) -> int:
    """Return by how many entries the existing views are behind; all, if they cannot be read.

    It is negative if one of them holds more than the journal.
    """
    from loom.cli.reading import open_journal
    from loom.projections import Views
    from loom.projections.views import ViewsLostError

    async with open_journal(shell) as reader:
        tail = await reader.tail()
        views = Views(shell.place.files.views)
        try:
            held = await views.checkpoints()
        except ViewsLostError:
            return tail
        finally:
            await views.close()
    behind = [tail - checkpoint.position for checkpoint, _ in held.values()]
    return min(behind) if behind and min(behind) < 0 else max(behind, default=tail)


def _print(shell: Shell, found: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for width in (1, 11):
        grid.add_column(width=width)
    grid.add_column(overflow="fold", ratio=1 if shell.output.for_eyes else None)
    for check in found:
        mark, style = _MARKS[check.mark]
        said: Text = Text(one_line(check.found, 1_000))
        if check.advice:
            said.append(f"\n→ {one_line(check.advice, 1_000)}", style="dim" if check.mark == "ok" else style)
        grid.add_row(Text(mark, style=style), Text(check.about), said)
    shell.output.show(grid)
    bad, look = (sum(check.mark == mark for check in found) for mark in ("bad", "look"))
    verdict = (
        "promises cannot be kept"
        if bad
        else "promises can be kept" + (", and there is something to look at" if look else "")
    )
    shell.output.say(verdict, style="bold red" if bad else "bold green")
