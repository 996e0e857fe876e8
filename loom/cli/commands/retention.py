"""`loom retention`: what is due by age, adopted by a named person, and carried out in their name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, rows_of
from loom.cli.shell import Shell
from loom.text import moment

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Journals that are kept no longer: list what is due, adopt, carry it out.")
    command(group, "due", default=True)(list_due)
    command(group, "adopt")(adopt)
    command(group, "withdraw")(withdraw)
    command(group, "run")(run)
    app.add_typer(group, name="retention", rich_help_panel="Check")


async def list_due(shell: Shell) -> None:
    """List the journals of actors whose retention is over, and why some of them are left. Nothing is changed."""
    from datetime import UTC, datetime

    from loom.archive import Adoption, Due, Retention
    from loom.cli.reading import open_journal
    from loom.journal.read_only import ReadOnlyStore
    from loom.operations.arguments import Nothing
    from loom.operations.retention import list_due as what_is_due
    from loom.sealing import Erasures

    async with open_journal(shell) as reader:
        store = await ReadOnlyStore.over(reader)
        adoption = Adoption(store, Retention.of(shell.place.config.retention))
        erasures = Erasures(store)
        due = Due(store, adoption, erasures, now=lambda: datetime.now(UTC))
        said: Any = await what_is_due(due, Nothing())
    if shell.json:
        shell.output.document(said)
        return
    setting = f"setting {said['digest'][:12]}"
    if said["in_force"]:
        shell.output.say(f"{setting}, adopted by {said['adopted_by']}: `loom retention run` carries it out")
    elif said["adopted_by"]:
        shell.output.say(f"{setting}; {said['adopted_by']} adopted another: it is not carried out", style="yellow")
    else:
        shell.output.say(f"{setting}; it is not adopted: it is not carried out", style="yellow")
    for name, count in said["bodies"].items():
        shell.output.say(f"{name}: {count:,} single {'body is' if count == 1 else 'bodies are'} due")
    if not said["due"]:
        if not said["bodies"]:
            shell.output.say("Nothing is due.")
        return
    cells: list[Cell[dict[str, Any]]] = [
        cell("journal", lambda each: str(each["journal"]), "cyan"),
        cell("entries", lambda each: f"{each['entries']:,}", right=True),
        cell("last (UTC)", lambda each: moment(each["last_at"]), "dim"),
        cell("kept until (UTC)", lambda each: moment(each["kept_until"]), "dim"),
        cell("left", lambda each: str(each["left"] or ""), wide=True),
    ]
    rows_of(shell.output, said["due"], cells)


async def adopt(
    shell: Shell,
    by: ByOption,
    reason: ReasonOption,
    digest: Annotated[
        str | None, typer.Option("--setting", help="The setting that you checked, as `loom retention` shows it.")
    ] = None,
) -> None:
    """Let loom carry out the retention of the config from now on, in your name, until the setting changes."""
    said = await _act(shell, "adopt", {"by": by, "reason": reason, "digest": digest}, by)
    shell.answer(said, f"setting {said['digest'][:12]} is adopted{' already' if said['before'] else ''}")


async def withdraw(shell: Shell, by: ByOption, reason: ReasonOption) -> None:
    """Stop carrying out retention, in your name."""
    said = await _act(shell, "withdraw", {"by": by, "reason": reason}, by)
    shell.answer(said, "retention is carried out no longer" if said["before"] else "it was not adopted")


async def run(
    shell: Shell,
    out: Annotated[Path, typer.Option("--out", "-o", help="The directory that the archive goes into.")] = Path(),
) -> int | None:
    """Seal what is due into an archive and prune it, in the name of the person who adopted the setting.

    It is meant for a timer of the machine. Journals of subjects on hold, with unfinished turns, or with newer entries
    are left, with the reason. Exit code 1: nothing was pruned, or the setting is not adopted.
    """
    said = await _act(shell, "run", {"directory": str(out.absolute())}, "retention")
    if shell.json:
        shell.output.document(said)
        return None if said["journals"] else EXIT_NO
    count = len(said["journals"])
    where = f", archived in {said['file']}" if said["file"] else ""
    shell.output.say(f"{count} {'journal is' if count == 1 else 'journals are'} pruned for {said['by']}{where}")
    for name, why in sorted(said["left"].items()):
        shell.output.say(f"{name} was left: {why}", style="dim")
    return None if said["journals"] else EXIT_NO


async def _act(shell: Shell, word: str, arguments: dict[str, Any], by: str) -> Any:
    from loom.cli.acting import act

    said, _ = await act(shell, f"retention.{word}", arguments, by=by)
    return said
