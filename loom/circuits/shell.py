"""`loom circuits`: what ran and how, what waits for a person, and who is erased."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.ext.shell import ByOption, Column, ReasonOption, Sections, Shell, cell, command, listing, one_line, who

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import JsonValue

    from loom.circuits import CircuitsView

__all__ = ["add_to"]

_Client = Annotated[str | None, typer.Option("--client", help="Only this client.", show_default=False)]
_Days = Annotated[float, typer.Option("--days", min=0.001, max=36_500, help="How far back.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Run registered steps: the audit, strategies, escalations, erasure.")
    command(group, "audit", default=True)(audit)
    command(group, "strategies")(strategies)
    command(group, "strategy")(strategy)
    command(group, "escalations")(escalations)
    command(group, "close")(close)
    command(group, "erase")(erase)
    app.add_typer(group, name="circuits", rich_help_panel="Wings")


async def audit(
    shell: Shell,
    client: _Client = None,
    circuit: Annotated[str | None, typer.Option("--circuit", help="Only this circuit.", show_default=False)] = None,
    days: _Days = 30,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 50,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="Only what stands before this position.", show_default=False)
    ] = None,
) -> None:
    """Show what was executed, newest last (with --json newest first), and the metrics of all that match."""
    async with _view(shell) as view:
        found = await view.audit(client_id=client, circuit_id=circuit, limit=limit, days=days, before=before)
        if shell.json:
            about = {"workspace_id": shell.place.name, "client_id": client, "circuit_id": circuit}
            shell.output.document({**about, **found})
            return
        total = found["metrics"]["total_executions"]
        if not total:
            shell.output.say("Nothing was executed that matches.")
            return
        columns = [
            Column("time"),
            Column("client"),
            Column("circuit", "cyan"),
            Column("confidence", right=True),
            Column("ms", right=True),
            Column("how", wide=True),
        ]
        rows = [
            (
                each["timestamp"][:19].replace("T", " "),
                each["client_id"],
                each["circuit_id"],
                f"{each['confidence_score']:.2f}",
                f"{each['latency_ms']:.1f}",
                _how(each),
            )
            for each in found["execution_history"][::-1]
        ]
        shell.output.table(columns, rows)
        shell.output.say()
        if total > len(rows):
            shell.output.say(f"{len(rows):,} of {total:,} executions are shown; the figures count all", style="dim")
        _print_metrics(shell, found)


async def strategies(shell: Shell, client: _Client = None, days: _Days = 30) -> None:
    """Show how every strategy does, what was corrected, what waits for a person, and whether targets are met."""
    async with _view(shell) as view:
        found = await view.dashboard(client_id=client, days=days)
        if shell.json:
            shell.output.document({"workspace_id": shell.place.name, "days": days, **found})
            return
        if not found["strategy_states"]:
            shell.output.say("No cycle was counted yet.")
        columns = [
            Column("client"),
            Column("segment"),
            Column("strategy", "cyan"),
            Column("engagement", right=True),
            Column("conversion", right=True),
            Column("cycles", right=True),
            Column("declining for", right=True),
        ]
        rows = [
            (
                each["client_id"],
                each["audience_segment"],
                each["strategy_id"],
                _score(each["engagement_score"]),
                _score(each["conversion_score"]),
                str(each["cycle_count"]),
                str(each["decline_cycles"]),
            )
            for each in found["strategy_states"]
        ]
        if rows:
            shell.output.table(columns, rows)
            shell.output.say()
        said = found["summary"]
        shell.output.say(
            f"{said['total_corrections']:,} corrections, {said['successful_rotations']:,} of them rotations; "
            f"{said['escalations']:,} escalations, {said['repeated_escalations']:,} of them repeated"
            + (f"; {found['monitored']:,} watched" if found["monitored"] else "")
        )
        for each in found["notifications"]:
            again = f" ({each['repeats']:,} more of it)" if each["repeats"] else ""
            line = f"{each['escalation_id'][:12]} waits for a person: {each['cause']}: {each['reason']}{again}"
            shell.output.say(one_line(line), style="yellow")
        if found["metrics"]["total_executions"]:
            _print_targets(shell, found)


async def strategy(
    shell: Shell,
    client: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    segment: Annotated[str, typer.Argument(help="For which segment.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="STRATEGY", help="Its id.", show_default=False)],
    success_rate: Annotated[
        float, typer.Option("--success-rate", min=0, max=1, help="The best of the active ones is rotated to.")
    ],
    by: ByOption,
    retired: Annotated[bool, typer.Option("--retired", help="Take it out of use.")] = False,
) -> None:
    """Make a strategy known that may be rotated to, or take one out of use."""
    arguments: dict[str, Any] = {
        "client": client,
        "segment": segment,
        "strategy": name,
        "success_rate": success_rate,
        "active": not retired,
        "by": by,
    }
    said = await _act(shell, "strategy", arguments)
    shell.answer(said, f"{name} may {'no longer ' if retired else ''}be rotated to, for {client} and {segment}")


async def escalations(
    shell: Shell, every: Annotated[bool, typer.Option("--all", help="Also those that were closed.")] = False
) -> None:
    """List what people are to look at."""
    from loom.circuits.escalations import Escalations
    from loom.ext.acting import loaded, open_journal

    async with open_journal(shell) as reader:
        known = await loaded(Escalations(reader))
    found = known.all() if every else known.open()
    listing(
        shell,
        found,
        lambda: [
            cell("id", lambda each: each.escalation_id[:12], "cyan"),
            cell("since", lambda each: each.opened_at.strftime("%Y-%m-%d %H:%M")),
            cell("cause", lambda each: each.cause),
            cell("again", lambda each: str(each.repeats), right=True),
            cell("why", lambda each: each.reason, wide=True, wraps=True),
            cell("closed by", lambda each: who(each.closer)),
        ],
        nothing="Nothing waits for a person.",
        document=lambda each: each.as_json(),
    )


async def close(
    shell: Shell,
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of an escalation, or how it begins.")],
    by: ByOption,
    reason: ReasonOption,
) -> None:
    """Close an escalation in your name: it was looked at."""
    said = await _act(shell, "close", {"id": id, "by": by, "reason": reason})
    shell.answer(said, f"escalation {said['id'][:12]} is closed")


async def erase(
    shell: Shell,
    client: Annotated[str, typer.Argument(help="Whose key is destroyed.", show_default=False)],
    by: ByOption,
    reason: ReasonOption,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Yes, for good.")] = False,
) -> None:
    """Destroy the key of a client: what was sealed for it can no longer be read by anyone. It cannot be taken back."""
    from loom.errors import ConfigError

    if not yes:
        raise ConfigError(
            f"what was sealed for [{client}] would be gone for good; expected --yes: say so if you mean it"
        )
    said = await _act(shell, "erase", {"client": client, "by": by, "reason": reason})
    before = " already" if said["before"] else ": its key is destroyed, and what was sealed for it opens for no one"
    shell.answer(said, f"{said['client']} is erased{before}")


@contextlib.asynccontextmanager
async def _view(shell: Shell) -> AsyncIterator[CircuitsView]:
    """Yield what circuits did, to be read."""
    from datetime import UTC, datetime

    from loom.circuits import CircuitsView, extension
    from loom.circuits.escalations import Escalations
    from loom.circuits.fields import ClientFields
    from loom.ext.acting import loaded, open_readings
    from loom.sealing import Erasures

    async with open_readings(shell, extension) as readings:
        erasures = await loaded(Erasures(readings.reader))
        escalations = await loaded(Escalations(readings.reader))
        yield CircuitsView(readings.queries, lambda: datetime.now(UTC), ClientFields(erasures), escalations)


def _print_metrics(shell: Shell, found: dict[str, Any]) -> None:
    columns = [
        Column("circuit", "cyan"),
        *(Column(name, right=True) for name in ("count", "success", "substituted", "mean ms", "p50", "p95")),
        Column("confidence", right=True),
        Column("errors", right=True),
    ]
    rows = [
        (
            name,
            f"{each['total_executions']:,}",
            f"{each['success_rate']:.0%}",
            f"{each['substituted_count']:,}",
            f"{each['avg_latency_ms']:.1f}",
            f"{each['p50_latency_ms']:.1f}",
            f"{each['p95_latency_ms']:.1f}",
            "-" if each["avg_confidence"] is None else f"{each['avg_confidence']:.2f}",
            f"{each['error_count']:,}",
        )
        for name, each in [*found["by_circuit"].items(), ("all", found["metrics"])]
    ]
    shell.output.table(columns, rows)
    _print_targets(shell, found)


def _print_targets(shell: Shell, found: dict[str, Any]) -> None:
    """Print what is expected of circuits, and which of them miss it."""
    expected = [f"{_TARGETS[name]} {each['target']}" for name, each in found["metrics"]["targets"].items()]
    shell.output.say(f"targets: {', '.join(expected)}", style="dim")
    for name, metrics in [*found["by_circuit"].items(), ("all", found["metrics"])]:
        missed = {what: each["value"] for what, each in metrics["targets"].items() if each["met"] is False}
        if missed:
            said = ", ".join(f"{_TARGETS[what]} is {value:g}" for what, value in missed.items())
            shell.output.say(f"{name} misses: {said}", style="yellow")


_TARGETS = {
    "success_rate": "success",
    "avg_latency_ms": "mean ms",
    "avg_confidence": "confidence",
    "error_rate": "errors",
}


def _score(score: float | None) -> str:
    return "–" if score is None else f"{score:.2f}"


def _how(execution: dict[str, Any]) -> str:
    if not execution["success"]:
        return f"failed: {execution['error']}"
    return "substituted" if execution["substituted"] else "succeeded"


async def _act(shell: Shell, word: str, arguments: dict[str, JsonValue]) -> Any:
    from loom.circuits import extension
    from loom.ext.acting import act

    said, _ = await act(shell, f"circuits.{word}", arguments, by=str(arguments["by"]), extensions=(extension,))
    return said
