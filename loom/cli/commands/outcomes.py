"""`loom outcomes import`: import how decisions turned out, observed later, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from loom.history.outcomes import OutcomeReport

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(cls=Sections, help="Import how decisions turned out.")
    command(group, "import")(import_outcomes)
    app.add_typer(group, name="outcomes", rich_help_panel="History")


async def import_outcomes(
    shell: Shell,
    by: ByOption,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSON lines, or an SQLite file.")],
    maps: Annotated[
        list[str],
        typer.Option("--map", metavar="FIELD=COLUMN", help="id or own_id, correct, actual, feedback, observed_at."),
    ],
    source: Annotated[str | None, typer.Option("--source", help="With own_id: the source that gave these ids.")] = None,
    select: Annotated[str | None, typer.Option(metavar="SQL", help="One SELECT, for an SQLite file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be written, or why it cannot.")
    ] = False,
) -> int | None:
    """Write how decisions turned out, in your own name: by their id, or by their own id in a source.

    Outcomes that were observed before, with the same contents, are skipped. Exit code 1: a row is refused, and nothing
    was written.
    """
    from loom.cli.acting import open_loom, without_code
    from loom.history.reading import rows_in

    mapping = {}
    for each in maps:
        field, equals, column = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"[{each}] is no mapping; expected [field=column]", param_hint="--map")
        mapping[field] = column
    async with open_loom(without_code(shell.existing), by=by) as loom:
        rows = rows_in(file, select=select)
        report = await loom.history.load_outcomes(rows, mapping, by=None if dry_run else by, source=source)
    if shell.json:
        shell.output.document(report.model_dump(mode="json"))
    else:
        _print(shell, report)
    return None if report.ok else EXIT_NO


def _print(shell: Shell, report: OutcomeReport) -> None:
    for each in report.listed:
        shell.output.say(f"row {each.row}: {one_line(each.problem)}", style="red")
    said = f"{report.rows:,} rows: {report.new:,} new, {report.same:,} observed before, {report.refused:,} refused"
    shell.output.say(f"{said}; {report.written:,} written", style="bold")
