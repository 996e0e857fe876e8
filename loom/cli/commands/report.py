"""`loom report`: a run, or a time, as one HTML file that needs nothing else."""

from __future__ import annotations

import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell
from loom.cli.values import moment_of
from loom.errors import RunNotFoundError

if TYPE_CHECKING:
    from loom.cli.reading import Readings
    from loom.extension import Extension
    from loom.reports import Period

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
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="Instead of a run: all since a date or time, or 2h, 7d ago.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="With --since: until then; by default now.", show_default=False)
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Link each decision to its page on this `loom serve`.", show_default=False),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Write the report of a run, or of a time: charts, every decision, what monitors did; from the journal alone."""
    from loom.cli.reading import loaded, open_readings
    from loom.precedents import EquivalenceRegistry
    from loom.reports import report_name, write_report

    period = _period(run_id, since, until)
    async with open_readings(shell, *await _extensions(shell)) as readings:
        if period is None:
            run = await readings.runs.get(run_id if run_id is not None else await _newest(readings))
            about: str | Period = run.run_id
            name = run.run_id
        else:
            about, name = period, f"{period.since:%Y-%m-%d}_{period.until:%Y-%m-%d}"
        named = Path(f"report_{name}.html") if into is None else into / report_name(name, datetime.now(UTC))
        path = output or named
        alike = (await loaded(EquivalenceRegistry(readings.reader))).describe
        workspace = shell.existing.name
        await write_report(readings.queries, about, path, workspace=workspace, alike=alike, server=server)
    size = path.stat().st_size
    shell.answer(
        {"run": about if isinstance(about, str) else None, "path": str(path.absolute()), "bytes": size},
        f"{path} ({size:,} bytes)",
    )
    if open_it and not webbrowser.open(path.absolute().as_uri()):
        shell.output.note("no browser could be started; open the file by hand")


def _period(run_id: str | None, since: str | None, until: str | None) -> Period | None:
    """Return the time that is asked for; None for a run. Raises `AdmissionError` for what is no time, or for both."""
    from loom.reports import Period

    if since is None:
        if until is not None:
            raise typer.BadParameter("is given without --since; expected both: add --since", param_hint="--until")
        return None
    if run_id is not None:
        raise typer.BadParameter(
            f"is given together with a run [{run_id:.80}]; expected one of them: leave one out", param_hint="--since"
        )
    now = datetime.now(UTC)
    begin, end = moment_of(since, "--since", now), now if until is None else moment_of(until, "--until", now)
    if begin >= end:
        raise typer.BadParameter(
            f"[{since}] is not before [{until or 'now'}]; expected an earlier time: correct it", param_hint="--since"
        )
    return Period(begin, end)


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
        raise RunNotFoundError(
            "there is no run in this journal; expected one to report: see `loom runs`, or report a time with --since 7d"
        )
    return found[0].run_id
