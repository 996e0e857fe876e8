"""`loom turns`: list turns without an end, and why; retry them, fork or abandon them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, listing
from loom.cli.output import ROOMY, Output
from loom.cli.shell import Shell
from loom.text import age, named, one_line, shortened, who

if TYPE_CHECKING:
    from loom.actors import TurnSummary
    from loom.cli.reading import Readings

__all__ = ["add_to"]

_TurnId = Annotated[
    str,
    typer.Argument(metavar="ID", help="A turn's command id, or how it begins: see `loom turns`.", show_default=False),
]
_STYLES = {
    "abandoned": "red",
    "completed": "green",
    "failed": "red",
    "interrupted": "yellow",
    "parked": "",
    "received": "",
    "running": "bold",
    "stuck": "bold red",
    "waiting_for_code": "yellow",
}
_MEANING = {
    "interrupted": "the next `loom run` resumes it",
    "parked": "waits for approval: `loom approvals`",
    "received": "waits for the turns before it",
    "stuck": "`loom turns retry` or `loom turns abandon`",
    "waiting_for_code": "no module of this actor is listed in the config",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="List turns without an end; retry, fork or abandon them.")
    command(group, "list", default=True)(turns)
    command(group, "retry")(retry)
    command(group, "fork")(fork)
    command(group, "abandon")(abandon)
    app.add_typer(group, name="turns", rich_help_panel="Answer")


async def turns(
    shell: Shell,
    all: Annotated[bool, typer.Option("--all", help="Also those that have ended, newest first.")] = False,
    status: Annotated[str | None, typer.Option(help="Only those that are stuck, parked, failed, …")] = None,
    actor: Annotated[str | None, typer.Option("--actor", "-a", help="Only those of one TYPE/KEY.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")] = 100,
) -> None:
    """List turns without an end, oldest first: running, parked, interrupted, stuck, or waiting for code."""
    from loom.cli.reading import open_readings

    async with open_readings(shell) as readings:
        everything = all or status in ("completed", "failed", "abandoned")
        asked = {"unfinished": not everything, "status": status, "journal": actor, "limit": limit}
        found = await _listed(shell, readings, asked)
    nothing = "No turns match." if status or actor else "No turns." if all else "Every turn has ended."
    listing(shell, found, lambda: _cells(shell.output, found, with_end=all), nothing=nothing)


async def retry(
    shell: Shell,
    turn_id: _TurnId,
    by: ByOption,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why it may work now.")] = None,
    perform: Annotated[
        bool, typer.Option("--perform", help="Also do an effect again that may have happened, and is not repeatable.")
    ] = False,
) -> None:
    """Let a stuck turn try again, or take up a failed one: what it has recorded is not done again.

    A failed turn gets a new attempt, with an id of its own. Steps that failed last are done again. If the attempt
    succeeds, its reply is the one to the failed command.
    """
    arguments: dict[str, Any] = {"id": turn_id, "by": by, "reason": reason, "perform": perform}
    await _act(shell, "turns.retry", arguments, "may try again", with_code=await _has_failed(shell, turn_id))


async def fork(
    shell: Shell,
    turn_id: _TurnId,
    by: ByOption,
    at: Annotated[str, typer.Option("--at", help="The first step that is done again: its sequence, or how it begins.")],
    changed: Annotated[
        str | None, typer.Option("--with", metavar="JSON", help="Fields of the command that get other values.")
    ] = None,
    perform: Annotated[bool, typer.Option("--perform", help="Do its effects, each with a key of its own.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="What it is for.")] = None,
) -> None:
    """Begin another turn that has the recorded steps of a turn, up to a step."""
    from loom.cli.payload import read_payload

    given = None if changed is None else await read_payload(changed)
    arguments: dict[str, Any] = {"id": turn_id, "at": at, "by": by, "changed": given, "perform": perform}
    await _act(shell, "turns.fork", {**arguments, "reason": reason}, "is begun", with_code=True)


async def abandon(
    shell: Shell,
    turn_id: _TurnId,
    by: ByOption,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why it is abandoned.", show_default=False)],
) -> None:
    """Abandon a turn, and say why; this cannot be undone."""
    await _act(shell, "turns.abandon", {"id": turn_id, "by": by, "reason": reason}, "is abandoned")


async def _listed(shell: Shell, readings: Readings, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return listings as a running loom sees them, or as the journal gives them if none runs."""
    if readings.live:
        from loom.errors import ControlError
        from loom.journal.control import control_call

        try:
            said: Any = await control_call(readings.files.lock, "turns.list", asked)
        except ControlError as error:
            shell.output.note(f"the running loom gives no details: {error}")
        else:
            return list(said)
    found: list[dict[str, Any]] = []
    async for each in readings.turns.every(unfinished=asked["unfinished"], journal=asked["journal"]):
        turn = _as_listing(each)
        if asked["status"] in (None, turn["status"]):
            found.append(turn)
        if len(found) == asked["limit"]:
            break
    return found


def _as_listing(summary: TurnSummary) -> dict[str, Any]:
    """Return a turn as a stopped loom would list it: running turns are interrupted."""
    status = "interrupted" if summary.status in ("received", "running") else summary.status
    return {"summary": summary.model_dump(mode="json"), "status": status, "why": summary.error_message}


async def _has_failed(shell: Shell, turn_id: str) -> bool:
    """Tell whether a turn has failed; then the code of its actor is needed to take it up."""
    from loom.cli.reading import open_readings

    async with open_readings(shell) as readings:
        return (await readings.turns.get(turn_id)).status == "failed"


async def _act(shell: Shell, operation: str, arguments: dict[str, Any], what: str, *, with_code: bool = False) -> None:
    from loom.cli.acting import act, act_with_code

    doing = act_with_code if with_code else act
    turn, by_a_running_loom = await doing(shell, operation, arguments, by=arguments["by"])
    assert isinstance(turn, dict)  # noqa: S101 - a listing as JSON
    if shell.json:
        shell.output.document(turn)
        return
    summary: Any = turn["summary"]
    shell.output.say(f"turn {str(summary['command_id'])[:12]} of {summary['journal']} {what}")
    if not by_a_running_loom and operation in ("turns.retry", "turns.fork"):
        shell.output.note("no loom runs here: it goes on with the next `loom run`")


def _cells(output: Output, found: list[dict[str, Any]], *, with_end: bool) -> list[Cell[dict[str, Any]]]:
    from datetime import datetime

    from rich.text import Text

    from loom.clock import SystemClock, us_from_datetime

    now_us = SystemClock().now_us()
    short = shortened(each["summary"]["command_id"] for each in found)

    def since(each: dict[str, Any]) -> str:
        return age((now_us - us_from_datetime(datetime.fromisoformat(each["summary"]["received_at"]))) / 1e6)

    return [
        cell("id", lambda each: short[each["summary"]["command_id"]], "cyan"),
        cell("actor", lambda each: one_line(each["summary"]["journal"], 32)),
        *(_MORE if output.width >= ROOMY else ()),
        cell("status", lambda each: Text(each["status"].replace("_", " "), style=_STYLES.get(each["status"], ""))),
        cell("received (UTC)", lambda each: output.moment(each["summary"]["received_at"]), "dim")
        if with_end
        else cell("since", since, right=True),
        cell(
            "why, or what now",
            lambda each: one_line(each["why"] or _MEANING.get(each["status"], "")),
            wide=True,
            wraps=True,
        ),
    ]


_MORE: tuple[Cell[dict[str, Any]], ...] = (
    cell("command", lambda each: one_line(each["summary"]["command_type"] or "-", 24)),
    cell("by", lambda each: who(named(each["summary"]))),
)
