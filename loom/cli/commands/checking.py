"""`loom check` and `loom versions`: whether changed code can resume open turns, and which branches they follow."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import moment, one_line, shortened

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["add_to"]

_STYLES = {
    "cannot_continue": "red",
    "continues": "green",
    "diverged": "red",
    "diverges": "red",
    "not_replayable": "yellow",
    "same": "green",
}
_PLURAL = {"continues": "continue", "diverges": "diverge"}
_BAD = frozenset({"cannot_continue", "diverged", "diverges"})


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "check", panel="Check")(check)
    command(app, "versions", panel="Check")(versions)


async def check(
    shell: Shell,
    sample: Annotated[
        int, typer.Option("--sample", min=0, max=100_000, help="Also drive so many ended turns again, at random.")
    ] = 0,
    seed: Annotated[int | None, typer.Option("--seed", help="Choose the same ended turns again.")] = None,
) -> int | None:
    """Check whether the code at hand can resume every open turn: before a deploy, or in CI.

    Nothing is fetched, performed or written, and a running loom is not disturbed. The actors' modules must be listed in
    the config. Exit code 1: some turns would not continue.
    """
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import replaying

    shell.allow_imports()
    async with open_readings(shell) as readings, replaying(readings, shell) as again:
        found = [each.model_dump(mode="json") async for each in again.check()]
        ended = [each.model_dump(mode="json") async for each in again.sample(sample, seed=seed)] if sample else []
    if shell.json:
        shell.output.document({"open": found, "ended": ended})
    else:
        _print(shell, found, "open", "The code at hand can resume all of them.")
        if sample:
            _print(shell, ended, "ended", "The code at hand does in them what it did.")
    return EXIT_NO if any(each["verdict"] in _BAD for each in (*found, *ended)) else None


def _print(shell: Shell, found: list[dict[str, Any]], which: str, good: str) -> None:
    from rich.text import Text

    counted = Counter(each["verdict"].replace("_", " ") for each in found)
    said = ", ".join(
        f"{number} {each if number == 1 else _PLURAL.get(each, each)}" for each, number in sorted(counted.items())
    )
    turns = "turn" if len(found) == 1 else "turns"
    shell.output.say(f"{len(found)} {which} {turns}" + (f": {said}" if said else ""))
    if found and not any(each["verdict"] in _BAD for each in found):
        shell.output.say(good)
    short = shortened(each["command_id"] for each in found)
    rows: list[list[str | Text]] = [
        [
            short[each["command_id"]],
            one_line(each["journal"], 32),
            Text(each["verdict"].replace("_", " "), style=_STYLES[each["verdict"]]),
            one_line(", ".join(each.get("steps") or ()) or "-", 60),
            one_line(each["reason"] or "", 1_000),
        ]
        for each in found
        if each["verdict"] not in ("continues", "same")
    ]
    if rows:
        columns = [Column("turn", "cyan"), Column("actor"), Column("verdict"), Column("steps", wraps=True)]
        shell.output.table([*columns, Column("why", wide=True, wraps=True)], rows)


async def versions(shell: Shell) -> None:
    """Show which branches of changed code still have open turns: see `Actor.version`.

    A branch without a turn may be taken out of the code. Turns that have not asked for a change may still come to it.
    """
    from loom.actors.open_turns import branches_in_flight
    from loom.cli.reading import open_journal

    async with open_journal(shell) as reader:
        found = await branches_in_flight(reader)
    if shell.json:
        shell.output.document([each.model_dump(mode="json") for each in found])
        return
    if not found:
        shell.output.say("No open turn follows a version of changed code.")
        return
    short = shortened(each.example for each in found)
    rows: list[list[str | Text]] = [
        [
            one_line(each.actor_type, 32),
            one_line(each.change, 60),
            "not asked" if each.version is None else str(each.version),
            str(each.turns),
            moment(each.oldest),
            short[each.example],
        ]
        for each in found
    ]
    columns = [Column("actor type"), Column("change", "cyan"), Column("version", right=True)]
    columns += [Column("open turns", right=True), Column("oldest (UTC)", "dim"), Column("its turn", "cyan")]
    shell.output.table(columns, rows)
