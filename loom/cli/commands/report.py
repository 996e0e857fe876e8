"""`loom report`: a run as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "report", panel="Look")(report)


async def report(
    shell: Shell,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run, or how its id begins.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; by default report_RUN.html here.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Write the report of a run: charts, every decision, and what monitors did, from the journal alone."""
    from loom.cli.reading import open_readings
    from loom.reports import write_report

    async with open_readings(shell) as readings:
        run = await readings.runs.get(run_id)
        path = output or Path(f"report_{run.run_id}.html")
        await write_report(readings.queries, run.run_id, path, workspace=shell.existing.name)
    if shell.json:
        shell.output.document({"run": run.run_id, "path": str(path.absolute()), "bytes": path.stat().st_size})
    else:
        shell.output.say(f"{path} ({path.stat().st_size:,} bytes)")
    if open_it:
        typer.launch(str(path.absolute()))
