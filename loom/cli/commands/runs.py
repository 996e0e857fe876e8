"""`loom runs`: list runs and what was decided in them; end one that its process never ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, fields, listing, rows_of
from loom.cli.output import ROOMY, Output
from loom.cli.shell import Shell
from loom.text import age, compact, moment, one_line, shortened, who

if TYPE_CHECKING:
    from loom.decisions import DecisionSummary, Run

__all__ = ["add_to"]

_RunId = Annotated[str, typer.Argument(metavar="ID", help="A run, or how its id begins.", show_default=False)]
_STYLES = {"abandoned": "red", "completed": "green", "failed": "red", "open": "bold"}
_FEW = 10
_ROOMY = ("took", "actors", "versions", "by")
"""What is left out where there is little room."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="List and show runs; end one that was left open.")
    command(group, "list", default=True)(runs)
    command(group, "show")(show)
    command(group, "end")(end)
    app.add_typer(group, name="runs", rich_help_panel="Read back")


async def runs(
    shell: Shell,
    kind: Annotated[
        Literal["live", "simulation", "replay"] | None, typer.Option("--kind", "-k", help="Only of this kind.")
    ] = None,
    status: Annotated[
        Literal["open", "completed", "failed", "abandoned"] | None, typer.Option(help="Only runs with this status.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")] = 20,
) -> None:
    """List runs, newest first, with how much was decided in each."""
    from loom.cli.reading import open_readings

    async with open_readings(shell) as readings:
        found = await readings.runs.find(kind=kind, status=status, limit=limit)
    listing(
        shell, found, lambda: _cells(shell.output, found), nothing="No runs match." if kind or status else "No runs."
    )


async def show(shell: Shell, run_id: _RunId) -> None:
    """Show one run: what it was started with, how it ended, and under which versions its decisions were made."""
    from loom.cli.reading import open_readings

    async with open_readings(shell) as readings:
        run = await readings.runs.get(run_id)
        newest = await readings.traces.find(run_id=run.run_id, limit=_FEW)
    if shell.json:
        shell.output.document(run.model_dump(mode="json"))
        return
    output = shell.output
    _print(output, run)
    if newest:
        output.say()
        output.say("Its newest decisions", style="bold")
        cells: list[Cell[DecisionSummary]] = [
            cell("id", lambda each: each.decision_id[:12], "cyan"),
            cell("type", lambda each: one_line(each.decision_type, 24)),
            cell("actor", lambda each: one_line(each.journal, 40)),
            cell("rationale", lambda each: one_line(each.rationale, 140), wide=True, wraps=True),
        ]
        rows_of(output, newest, cells)
        output.note(f"all of them: loom decisions --run {run.run_id}")


async def end(
    shell: Shell,
    run_id: _RunId,
    by: ByOption,
    status: Annotated[Literal["completed", "failed", "abandoned"], typer.Option(help="How it ended.")] = "abandoned",
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why.")] = None,
) -> None:
    """End a run that was left open, in your own name: its process died, or did not say how it ended."""
    from loom.cli.acting import act

    arguments = {"id": run_id, "by": by, "status": status, "reason": reason}
    ended, _ = await act(shell, "runs.end", arguments, by=by)
    assert isinstance(ended, dict)  # noqa: S101 - a run as JSON
    shell.answer(ended, f"run {ended['run_id']} is {ended['status']}")


def _cells(output: Output, found: tuple[Run, ...]) -> list[Cell[Run]]:
    from rich.text import Text

    short = shortened(each.run_id for each in found)
    cells: list[Cell[Run]] = [
        cell("id", lambda each: short[each.run_id], "cyan"),
        cell("kind", lambda each: each.kind),
        cell("status", lambda each: Text(each.status, style=_STYLES[each.status])),
        cell("started (UTC)", lambda each: output.moment(each.started_at), "dim"),
        cell("took", lambda each: "-" if each.duration_s is None else age(each.duration_s), right=True),
        cell("decisions", lambda each: str(each.decisions), right=True),
        cell("actors", lambda each: str(each.actors), right=True),
        cell("versions", _versions),
        cell("by", lambda each: who(each.starter, 16)),
        cell("note", lambda each: one_line(each.note or "-", 140), wide=True, wraps=True),
    ]
    return cells if output.width >= ROOMY else [each for each in cells if each.column.title not in _ROOMY]


def _versions(run: Run) -> str:
    """Return the versions that decisions of a run name, or, before the first one, those it was started with."""
    names = [each.version for each in run.versions or run.policies]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return one_line(", ".join(names[:2]) + more or "-", 60)


def _print(output: Output, run: Run) -> None:
    output.say(f"{run.kind} run {run.run_id} ({run.status})", style="bold")
    ended = "its end is not recorded: `loom runs end`"
    if run.ended_at is not None and run.duration_s is not None:
        why = f": {run.reason}" if run.reason else ""
        ended = f"{moment(run.ended_at)} UTC by {run.ender}, after {age(run.duration_s)}{why}"
    rows = [("started", f"{moment(run.started_at)} UTC by {run.starter}"), ("ended", ended)]
    rows += [("note", run.note)] if run.note else []
    rows += [("meant to decide under", f"{each.name} {each.version}") for each in run.policies]
    rows += [] if run.seed is None else [("seed", str(run.seed))]
    rows += [(f"parameter {name}", compact(value)) for name, value in run.parameters.items()]
    rows += [] if run.result is None else [("result", compact(run.result))]
    actors = "1 actor" if run.actors == 1 else f"{run.actors} actors"
    rows += [("decisions", f"{run.decisions} by {actors}" if run.decisions else "none")]
    if run.first_decision_at is not None and run.last_decision_at is not None:
        rows += [("first and last", f"{moment(run.first_decision_at)} and {moment(run.last_decision_at)} UTC")]
    rows += [(f"under {each.name}", f"{each.version}: {each.decisions}") for each in run.versions]
    fields(output, _as_rows(rows))


def _as_rows(rows: list[tuple[str, Any]]) -> list[list[str]]:
    return [[one_line(name, 40), one_line(str(value))] for name, value in rows]
