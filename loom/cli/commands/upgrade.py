"""`loom upgrade`: bring a journal of an older format to the present one; `loom processes`: who writes in which."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import command
from loom.cli.listing import cell, listing
from loom.cli.shell import Shell

if TYPE_CHECKING:
    from loom.journal.election import WriterSeen
    from loom.journal.places import NodeFiles

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "upgrade", panel="Check")(upgrade)
    command(app, "processes", panel="Check")(processes)


async def upgrade(
    shell: Shell,
    by: Annotated[
        str | None,
        typer.Option("--by", envvar="LOOM_BY", help="Who you are, for a journal on a server.", show_default=False),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for a journal on a server.")] = "",
) -> None:
    """Copy the journal into the present format, verify the copy, and swap the two; the original is kept next to it.

    No loom may write or read the journal meanwhile. Every entry keeps its bytes, its hash and its position.

    On PostgreSQL nothing is copied: you say that no process of an earlier loom is left, which is checked and journaled,
    and entries may have the shapes of this loom from then on.
    """
    from loom.journal.places import NodeFiles
    from loom.journal.sqlite.upgrade import upgrade as upgrade_journal

    place = shell.existing
    if isinstance(place.files, NodeFiles):
        await _raise_floor(shell, place.files, by, reason)
        return
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


async def processes(shell: Shell) -> None:
    """List the processes that write a journal on a server, with the loom of each, and the floor of the journal."""
    from loom.cli.reading import open_journal
    from loom.errors import ConfigError
    from loom.journal.floor import SILENT_S, Floor, release
    from loom.journal.lowering import LEVEL
    from loom.journal.places import NodeFiles

    if not isinstance(shell.existing.files, NodeFiles):
        raise ConfigError(
            f"journal [{shell.existing.files}] is written by one process; expected one on a server: `loom doctor` says "
            "who runs it"
        )
    async with open_journal(shell) as reader:
        from loom.journal.postgres.others import writers_of
        from loom.journal.postgres.reader import PostgresReader

        floor = Floor(reader)
        await floor.load()
        known = await writers_of(reader) if isinstance(reader, PostgresReader) else []
        seen = [each for each in known if not each.ended]

    def state(each: WriterSeen) -> str:
        return "writes" if each.silent_s < SILENT_S else f"silent for {each.silent_s:.0f} s"

    listing(
        shell,
        seen,
        lambda: (
            cell("writer", lambda each: f"{each.writer}", right=True),
            cell("name", lambda each: each.name),
            cell("address", lambda each: each.address or "–"),
            cell("loom", lambda each: each.release or "–"),
            cell("level", lambda each: f"{each.level}", right=True),
            cell("state", state),
        ),
        nothing="No process writes the journal.",
        document=lambda each: {**each._asdict(), "state": state(each)},
    )
    if not shell.json:
        shell.output.note(f"floor {floor.level}; this loom [{release()}] writes up to level {LEVEL}")


async def _raise_floor(shell: Shell, files: NodeFiles, by: str | None, reason: str) -> None:
    from loom.errors import ConfigError
    from loom.identity import Identity
    from loom.journal.floor import Floor
    from loom.journal.lowering import LEVEL
    from loom.journal.postgres.store import PostgresStore
    from loom.journal.sqlite.files import JournalFiles

    if by is None:
        raise ConfigError("a floor is raised in no name; expected a person's: add --by NAME")
    with tempfile.TemporaryDirectory(prefix="loom-upgrade-") as directory:  # the place of this process, for a moment
        store = await PostgresStore.open(files.url, JournalFiles(Path(directory) / "node.db"), name="loom upgrade")
        try:
            raised = await Floor(store).raise_to(LEVEL, by=Identity.of(by, via="shell"), reason=reason)
        finally:
            await store.close()
    said = f"floor raised to {LEVEL}" if raised else f"the floor is {LEVEL} already: there is nothing to do"
    shell.answer({"floor": LEVEL, "raised": raised}, said, style="green" if raised else "")
