"""`loom verify`: what is in the journal file, whether it hangs together, and what can no longer be told."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.cli.text import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.journal.findings import Finding, Verification

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "verify", panel="Check")(verify)


def verify(shell: Shell) -> int | None:
    """Verify the journal: every hash, the order, the schema, the indexes, and what was written down outside it.

    Exits with 1 if anything was found that is not declared; an unanchored tail is told and is no fault.
    """
    from loom.journal.findings import CODES, DECLARED
    from loom.journal.sqlite.verify import verify as verify_journal

    place = shell.existing
    with shell.output.progress("verifying") as tell:
        result = verify_journal(place.files.journal, workspace=place.name, progress=tell)
    if shell.json:
        shell.output.document({**asdict(result), "ok": result.ok, "unanchored": result.unanchored})
    else:
        _print(shell, result, meanings=CODES, declared=DECLARED)
    return None if result.ok else EXIT_NO


def _print(shell: Shell, result: Verification, *, meanings: dict[str, str], declared: frozenset[str]) -> None:
    from rich.text import Text

    output = shell.output
    verdict, *_ = result.lines()
    output.say(one_line(verdict), style="bold green" if result.ok else "bold red")
    output.say(f"{result.path}, workspace {result.workspace or 'unknown'}", style="dim")
    if not result.findings:
        return
    output.say()

    def row(each: Finding) -> list[str | Text]:
        told = each.code in declared
        where = "-" if each.position is None else str(each.position)
        said = each.message if each.journal is None else f"{each.journal} {each.sequence}: {each.message}"
        return [Text(each.code.replace("_", " ").lower(), style="yellow" if told else "red"), where, one_line(said)]

    columns = [Column("finding"), Column("position", right=True), Column("what", wide=True, wraps=True)]
    output.table(columns, [row(each) for each in result.findings])
    output.say()
    for code in sorted({each.code for each in result.findings}):
        output.say(f"{code.replace('_', ' ').lower()}: {meanings.get(code, '')}", style="dim")
    hidden = sum(result.counts.values()) - len(result.findings)
    if hidden:
        output.say(f"and {hidden} more of these", style="dim")
