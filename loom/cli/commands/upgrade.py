"""`loom upgrade`: bring a journal of an older format to the present one."""

from __future__ import annotations

import typer

from loom.cli.command import command
from loom.cli.shell import Shell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "upgrade", panel="Check")(upgrade)


async def upgrade(shell: Shell) -> None:
    """Copy the journal into the present format, verify the copy, and swap the two; the original is kept next to it.

    No loom may write or read the journal meanwhile. Every entry keeps its bytes, its hash and its position.
    """
    from loom.journal.sqlite.upgrade import upgrade as upgrade_journal

    place = shell.existing
    with shell.output.progress("copying") as tell:
        done = upgrade_journal(place.files.journal, workspace=place.name, progress=tell)
    if shell.json:
        original = None if done.original is None else str(done.original)
        shell.output.document({**done._asdict(), "original": original})
    elif done.original is None:
        shell.output.say(f"The journal is of format {done.after} already: there is nothing to do.")
    else:
        shell.output.say(
            f"upgraded {done.entries} entries from format {done.before} to {done.after}: every one has the bytes and "
            "the hash that it had",
            style="green",
        )
        shell.output.say(f"The original is kept as {done.original}; delete it once a backup has the new one.")
