"""`loom actors`: list awake actors and what they do, and stopped ones and until when; restart a stopped one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, listing
from loom.cli.shell import Shell
from loom.text import age, one_line

if TYPE_CHECKING:
    from loom.cli.reading import Readings

__all__ = ["add_to"]

_STYLES = {
    "stopped": "bold red",
    "waiting_for_code": "yellow",
    "running": "bold",
    "parked": "",
    "idle": "dim",
    "asleep": "dim",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        cls=Sections, help="List actors: what they do, what failed, until when they are stopped; restart one."
    )
    command(group, "list", default=True)(actors)
    command(group, "restart")(restart)
    app.add_typer(group, name="actors", rich_help_panel="Answer")


async def actors(
    shell: Shell,
    state: Annotated[
        str | None, typer.Option(help="Only those that are stopped, running, parked, idle, …", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")] = 100,
) -> None:
    """List the actors of the running loom, those that are stopped first; without one, those with unfinished turns."""
    from loom.cli.reading import open_readings

    async with open_readings(shell) as readings:
        live = readings.live
        found = await _listed(shell, readings)
    matching = [each for each in found if state in (None, each["state"])]
    if not (live or shell.json):
        shell.output.note("no loom runs here: nothing is awake, and a stop does not outlive its process")
    nothing = "No actors match." if state else "No actor is awake, stopped or has an unfinished turn."
    listing(shell, matching[:limit], _cells, nothing=nothing)
    if len(matching) > limit and not shell.json:
        shell.output.note(f"{len(matching) - limit} more: --limit")


async def restart(
    shell: Shell,
    journal: Annotated[str, typer.Argument(metavar="TYPE/KEY", help="A stopped actor: see `loom actors`.")],
    by: ByOption,
) -> None:
    """Let a stopped actor take commands again now; its unfinished turns are resumed."""
    from loom.errors import ActorNotStoppedError
    from loom.identity import check_person
    from loom.journal.control import control_call
    from loom.journal.sqlite import WriterLock

    check_person(by)
    place = shell.existing
    if not WriterLock(place.files.lock).held():
        raise ActorNotStoppedError(
            f"no loom runs on workspace [{place.name}], so no actor of it is stopped; expected a running one: "
            "`loom run` begins with all of them"
        )
    said: Any = await control_call(place.files.lock, "actors.restart", {"journal": journal, "by": by})
    turns = f", with {said['turns']} unfinished" if said["turns"] else ""
    shell.answer(said, f"{journal} takes commands again{turns}")


async def _listed(shell: Shell, readings: Readings) -> list[dict[str, Any]]:
    """Return what the running loom knows, or what the journal says if none runs."""
    if readings.live:
        from loom.journal.control import control_call

        said: Any = await control_call(readings.files.lock, "actors.list", {})
        return list(said)
    from loom.actors.listing import ActorListing

    turns: Counter[str] = Counter()
    stuck: Counter[str] = Counter()
    async for each in readings.turns.every(unfinished=True):
        turns[each.journal] += 1
        stuck[each.journal] += each.status == "stuck"
    return [
        ActorListing(journal=journal, state="asleep", turns=count, stuck=stuck[journal]).model_dump(mode="json")
        for journal, count in sorted(turns.items())
    ]


def _cells() -> list[Cell[dict[str, Any]]]:
    from datetime import datetime

    from rich.text import Text

    from loom.clock import SystemClock, us_from_datetime

    now_us = SystemClock().now_us()

    def comes_back(each: dict[str, Any]) -> str:
        if each["state"] != "stopped":
            return ""
        if each["until"] is None:
            return "when restarted" if each["stops"] else "never"
        return f"in {age(max(0.0, us_from_datetime(datetime.fromisoformat(each['until'])) - now_us) / 1e6)}"

    def turns(each: dict[str, Any]) -> str:
        return f"{each['turns']}, {each['stuck']} stuck" if each["stuck"] else str(each["turns"] or "")

    return [
        cell("actor", lambda each: one_line(each["journal"], 40), "cyan"),
        cell("state", lambda each: Text(each["state"].replace("_", " "), style=_STYLES.get(each["state"], ""))),
        cell("turns", turns, right=True),
        cell("failures", lambda each: str(each["failures"] or ""), right=True),
        cell("comes back", comes_back, right=True),
        cell("why", lambda each: one_line(each["why"] or ""), wide=True, wraps=True),
    ]
