"""`loom copy`: bring a journal to a server."""

from __future__ import annotations

from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "copy", panel="Check")(copy)


async def copy(
    shell: Shell,
    source: Annotated[str, typer.Argument(metavar="SRC", help="A journal file, its directory, or a URL.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="A postgresql:// URL without a password.")],
) -> None:
    """Copy a journal to PostgreSQL, verify both, compare every byte, and seal the source against further writing.

    No loom may write the source meanwhile. Run it again if it was interrupted. The password comes from PGPASSWORD.
    """
    from loom.errors import ConfigError
    from loom.journal.copying import copy_journal
    from loom.journal.places import NodeFiles

    place = shell.named(source)
    goal = shell.named(target)
    if not isinstance(goal.files, NodeFiles):
        raise ConfigError(f"copy to [{target}] is not supported; expected [postgresql://…]: name a database")
    if goal.name != place.name:
        raise ConfigError(
            f"copy of workspace [{place.name}] to [{goal.files}] is not possible; expected [{place.name}], which every "
            f"hash contains: add [?workspace={place.name}] to the URL"
        )
    with shell.output.progress("copying") as tell:
        done = await copy_journal(place.files, goal.files, workspace=place.name, progress=tell)
    if shell.json:
        shell.output.document(done._asdict())
        return
    shell.output.say(f"copied {done.entries} entries: every one has the bytes and the hash that it had", style="green")
    shell.output.say(f"root {done.entries}:{done.root}", style="dim")
    shell.output.say("The source is sealed: it can be read, and no loom writes it. Keys of subjects are not copied.")
