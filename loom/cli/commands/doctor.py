"""`loom doctor`: says in plain words whether this machine and this journal can keep loom's promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.extension import Check

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
    from loom.doctor import check_machine, examine
    from loom.errors import LoomError
    from loom.extension import Check

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
    shell.allow_imports()
    async for check in examine(place):
        yield check


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
