"""`loom report`: a run as one HTML file that needs nothing else."""

from __future__ import annotations

import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell
from loom.errors import RunNotFoundError

if TYPE_CHECKING:
    from loom.cli.reading import Readings
    from loom.extension import Extension

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "report", panel="Look")(report)


async def report(
    shell: Shell,
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run, or how its id begins; by default the newest.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; by default report_RUN.html here.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="The directory for a report_<UTC>_<run>.html, instead of --output."),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Write the report of a run: charts, every decision, and what monitors did, from the journal alone."""
    from loom.cli.reading import loaded, open_readings
    from loom.precedents import EquivalenceRegistry
    from loom.reports import report_name, write_report

    async with open_readings(shell, *await _extensions(shell)) as readings:
        run = await readings.runs.get(run_id if run_id is not None else await _newest(readings))
        named = Path(f"report_{run.run_id}.html") if into is None else into / report_name(run.run_id, datetime.now(UTC))
        path = output or named
        alike = (await loaded(EquivalenceRegistry(readings.reader))).describe
        await write_report(readings.queries, run.run_id, path, workspace=shell.existing.name, alike=alike)
    size = path.stat().st_size
    shell.answer({"run": run.run_id, "path": str(path.absolute()), "bytes": size}, f"{path} ({size:,} bytes)")
    if open_it and not webbrowser.open(path.absolute().as_uri()):
        shell.output.note("no browser could be started; open the file by hand")


async def _extensions(shell: Shell) -> tuple[Extension, ...]:
    """Return the extensions that say what decisions were about, if they have a journal: their views are read."""
    from loom.cli.reading import open_journal
    from loom.extension import installed

    found = []
    async with open_journal(shell) as reader:
        for name, extension in installed().items():
            named = await reader.journals(after=f"{name}/", limit=1) if extension.cases is not None else ()
            if any(journal.startswith(f"{name}/") for journal, _ in named):
                found.append(extension)
    return tuple(found)


async def _newest(readings: Readings) -> str:
    found = await readings.runs.find(limit=1)
    if not found:
        raise RunNotFoundError("there is no run in this journal; expected one to report: see `loom runs`")
    return found[0].run_id
