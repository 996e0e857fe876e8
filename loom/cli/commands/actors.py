"""`loom actors`: list awake actors and what they do, and stopped ones and until when; restart a stopped one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import age, one_line

if TYPE_CHECKING:
    from rich.text import Text

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
    if shell.json:
        shell.output.document(matching[:limit])
        return
    if not live:
        shell.output.note("no loom runs here: nothing is awake, and a stop does not outlive its process")
    if matching:
        _print(shell.output, matching[:limit])
        if len(matching) > limit:
            shell.output.note(f"{len(matching) - limit} more: --limit")
    else:
        shell.output.say("No actors match." if state else "No actor is awake, stopped or has an unfinished turn.")


async def restart(
    shell: Shell,
    journal: Annotated[str, typer.Argument(metavar="TYPE/KEY", help="A stopped actor: see `loom actors`.")],
    by: ByOption,
) -> None:
    """Let a stopped actor take commands again now; its unfinished turns are resumed."""
    from loom.cli.acting import over_socket
    from loom.errors import ActorNotStoppedError
    from loom.identity import check_person
    from loom.journal.sqlite import WriterLock

    check_person(by)
    place = shell.existing
    if not WriterLock(place.files.lock).held():
        raise ActorNotStoppedError(
            f"no loom runs on workspace [{place.name}], so no actor of it is stopped; expected a running one: "
            "`loom run` begins with all of them"
        )
    said: Any = await over_socket(place.files, "actors.restart", {"journal": journal, "by": by})
    turns = f", with {said['turns']} unfinished" if said["turns"] else ""
    shell.answer(said, f"{journal} takes commands again{turns}")


async def _listed(shell: Shell, readings: Readings) -> list[dict[str, Any]]:
    """Return what the running loom knows, or what the journal says if none runs."""
    if readings.live:
        from loom.cli.acting import over_socket

        said: Any = await over_socket(readings.files, "actors.list", {})
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


def _print(output: Output, found: list[dict[str, Any]]) -> None:
    from datetime import datetime

    from rich.text import Text

    from loom.clock import SystemClock, us_from_datetime

    now_us = SystemClock().now_us()
    columns = [
        Column("actor", "cyan"),
        Column("state"),
        Column("turns", right=True),
        Column("failures", right=True),
        Column("comes back", right=True),
        Column("why", wide=True, wraps=True),
    ]

    def comes_back(each: dict[str, Any]) -> str:
        if each["state"] != "stopped":
            return ""
        if each["until"] is None:
            return "when restarted" if each["stops"] else "never"
        return f"in {age(max(0.0, us_from_datetime(datetime.fromisoformat(each['until'])) - now_us) / 1e6)}"

    def row(each: dict[str, Any]) -> list[str | Text]:
        turns = f"{each['turns']}, {each['stuck']} stuck" if each["stuck"] else str(each["turns"] or "")
        return [
            one_line(each["journal"], 40),
            Text(each["state"].replace("_", " "), style=_STYLES.get(each["state"], "")),
            turns,
            str(each["failures"] or ""),
            comes_back(each),
            one_line(each["why"] or ""),
        ]

    output.table(columns, [row(each) for each in found])
