"""`loom subjects scan` and `loom subjects prune`: bodies that concern people go into an encrypted archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.output import Column
from loom.cli.shell import Shell

__all__ = ["add_to"]

_Directory = Annotated[
    Path | None,
    typer.Option("--archive", metavar="DIR", help="The directory that the archive goes into.", show_default=False),
]
_Override = Annotated[
    str | None,
    typer.Option(
        "--override-retention",
        metavar="WHY",
        show_default=False,
        help="Also what retention keeps, and why: it is journaled in your name.",
    ),
]


def add_to(group: typer.Typer) -> None:
    """Add the commands to the group `subjects`."""
    command(group, "scan")(scan)
    command(group, "prune")(prune)


async def scan(
    shell: Shell,
    should_prune: Annotated[bool, typer.Option("--prune", help="Move these bodies into an encrypted archive.")] = False,
    archive: _Directory = None,
    by: Annotated[str | None, typer.Option("--by", help="In whose name they are pruned.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why they are pruned.")] = None,
    override: _Override = None,
) -> int | None:
    """List the entries that hold a declared field in clear: they were written before it was declared.

    The scan reads commands, replies and entries of the classes in the config's modules. With --prune their bodies go
    into an encrypted archive, each sealed for its subjects; the actors continue. Exit code 1: a value is in clear, or
    an entry was left.
    """
    from loom.cli.acting import act_with_code
    from loom.cli.serving import person
    from loom.errors import ConfigError

    if should_prune:
        if archive is None or by is None or reason is None:
            raise ConfigError(
                "bodies are pruned into an archive, in a name and for a reason; expected --archive, --by and -m"
            )
        return await _pruned(shell, "subjects.prune_clear", archive, by, reason, override)
    found: Any
    found, _ = await act_with_code(shell, "subjects.scan", {}, by=by or person(None))
    if shell.json:
        shell.output.document(found)
    elif not found:
        shell.output.say("No declared field is in clear.")
    else:
        columns = [
            Column("journal", "cyan"),
            Column("#", right=True),
            Column("kind"),
            Column("field"),
            Column("declared"),
            Column("subject", wide=True),
        ]
        rows = [
            (
                each["journal"],
                str(each["sequence"]),
                each["kind"],
                each["path"],
                each["handling"],
                each["subject"] or "no one is named",
            )
            for each in found
        ]
        shell.output.table(columns, rows)
    return EXIT_NO if found else None


async def prune(
    shell: Shell,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Whose.", show_default=False)],
    by: ByOption,
    reason: ReasonOption,
    archive: _Directory = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Confirm: this cannot be undone.")] = False,
    override: _Override = None,
) -> int | None:
    """Move the bodies that concern a person from the journals of actors to an encrypted archive. The actors continue.

    Bodies on hold, kept by retention or of unfinished turns are left, and so is a journal whose actor needs them.
    """
    from loom.errors import ConfigError

    if not yes:
        raise ConfigError(f"the bodies of [{subject}] would be in the archive alone; expected --yes: add it to confirm")
    return await _pruned(shell, "subjects.prune", archive or Path(), by, reason, override, subject=subject)


async def _pruned(
    shell: Shell, operation: str, directory: Path, by: str, reason: str, override: str | None, **more: str
) -> int | None:
    from loom.cli.acting import act_with_code

    arguments: dict[str, Any] = {
        "directory": _in_full(directory),
        "by": by,
        "reason": reason,
        "override": override,
        **more,
    }
    said: Any
    said, _ = await act_with_code(shell, operation, arguments, by=by)
    if shell.json:
        shell.output.document(said)
    else:
        for name, count in said["journals"].items():
            shell.output.say(f"{count} {'body' if count == 1 else 'bodies'} of {name} pruned")
        for name, why in said["left"].items():
            shell.output.say(f"{name} was left: {why}", style="yellow")
        if said["file"] is None:
            shell.output.say("Nothing was pruned.")
        else:
            shell.output.say(f"in {said['file']}, digest {said['digest']}", style="dim")
    return EXIT_NO if said["left"] else None


def _in_full(directory: Path) -> str:
    return str(directory.absolute())
