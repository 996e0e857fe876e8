"""`loom policies diff | register | lint`: compare versions, and take tables from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import safe

__all__ = ["add_to"]

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A table in YAML or JSON.", show_default=False)]
_Old = Annotated[
    str, typer.Argument(metavar="OLD", help="A version id, a hash, or how one begins.", show_default=False)
]
_New = Annotated[str, typer.Argument(metavar="NEW", help="The other one.", show_default=False)]


def add_to(group: typer.Typer) -> None:
    """Add the commands to the group of policies."""
    command(group, "diff")(diff)
    command(group, "register")(register)
    command(group, "lint")(lint)


async def diff(
    shell: Shell, old: _Old, new: _New, source: Annotated[bool, typer.Option(help="The texts as well.")] = False
) -> int | None:
    """Show what differs in behaviour between two versions. Exit code 1: something does."""
    from loom.cli.reading import loaded, open_journal
    from loom.policies.registry import PolicyRegistry

    async with open_journal(shell) as reader:
        found = (await loaded(PolicyRegistry(reader))).diff(old, new)
    if shell.json:
        document: dict[str, Any] = {"old": found.old, "new": found.new, "equal": found.equal}
        changes = [change._asdict() for change in found.changes]
        shell.output.document({**document, "changes": changes, "source": found.source})
    else:
        shell.output.say(f"{found.old} → {found.new}", style="bold")
        if found.equal:
            shell.output.say("no difference in behaviour")
        else:
            columns = [
                Column("part", "dim"),
                Column("place"),
                Column("was", "red", wide=True),
                Column("is", "green", wide=True),
            ]
            rows = [[change.part, change.place, change.old or "-", change.new or "-"] for change in found.changes]
            shell.output.table(columns, rows)
        if source and found.source:
            shell.output.say()
            shell.output.say(safe(found.source))
    return None if found.equal else EXIT_NO


async def register(
    shell: Shell,
    file: _File,
    by: ByOption,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why there is this version.")] = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Pin it from now on, if another person proposed it.")] = False,
) -> None:
    """Register a table in a file as a version; a table that behaves like a known version is that version."""
    from loom.cli.acting import act
    from loom.policies.tables import load_table

    table = load_table(file)
    arguments: dict[str, Any] = {
        "table": table.written(),
        "source": table.about["source"],
        "by": by,
        "reason": reason,
        "adopt": adopt,
    }
    registered, _ = await act(shell, "policies.register", arguments, by=by)
    assert isinstance(registered, dict)  # noqa: S101 - a version as JSON
    adopted = ", and new turns pin it" if registered["adopted"] else ""
    shell.answer(registered, f"registered {registered['version']} of {registered['name']}{adopted}", style="green")


async def lint(shell: Shell, file: _File) -> int | None:
    """Say what is wrong with a table in a file. Exit code 1: it has an error and cannot be registered."""
    from loom.policies.tables import lint as linted
    from loom.policies.tables.reading import read_table

    table = read_table(file)
    found = linted(table.layout)
    errors = sum(finding.severity == "error" for finding in found)
    if shell.json:
        shell.output.document({"name": table.name, "ok": not errors, "findings": [each._asdict() for each in found]})
    elif not found:
        shell.output.say(f"{table.name}: no problems found", style="green")
    else:
        columns = [Column("severity"), Column("code", "dim"), Column("place"), Column("", wide=True, wraps=True)]
        shell.output.table(columns, [[each.severity, each.code, each.place, each.words] for each in found])
    return EXIT_NO if errors else None
