"""`loom contradictions`: equal situations that were decided in more than one way, until a person says what stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import WithDefault
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import one_line, shortened

if TYPE_CHECKING:
    from loom.precedents import Contradiction, Contradictions

__all__ = ["add_to", "contradictions"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=WithDefault, help="List equal situations that were decided differently; say what stands.")
    command(group, "list")(listed)
    command(group, "resolve")(resolve)
    app.add_typer(group, name="contradictions", rich_help_panel="Answer")


_Rule = Annotated[
    str | None, typer.Option("--rule", metavar="RULE", help="Only situations by this rule: its name or version.")
]
_Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most this many.")]


async def contradictions(shell: Shell, rule: _Rule = None, limit: _Limit = 20) -> int | None:
    """List situations that were decided in more than one way: how often, when, by whom, and what separates them.

    A situation is equal by a registered rule. What separates the outcomes is the recorded fact that tells most about
    them, where one does better than chance. Exit code 1: there are contradictions.
    """
    found = await _found(shell, None, rule, limit)
    return EXIT_NO if found.contradictory else None


async def listed(
    shell: Shell,
    situation: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show one, open or resolved.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Also those of which a person said what stands.")] = False,
    rule: _Rule = None,
    limit: _Limit = 20,
) -> int | None:
    """List situations that were decided in more than one way, until a person says which outcome stands.

    One is open again when a later decision goes against what stands. Exit code 1: there are open ones.
    """
    if situation is None:
        found = await _found(shell, None if all else "open", rule, limit)
        return EXIT_NO if found.contradictory > found.resolved else None
    from loom.cli.reading import loaded, open_readings
    from loom.precedents import EquivalenceRegistry, Precedents

    async with open_readings(shell) as readings:
        asking = Precedents(readings.queries, await loaded(EquivalenceRegistry(readings.reader)))
        one = await asking.contradiction(situation)
    if shell.json:
        shell.output.document(one.model_dump(mode="json"))
    else:
        _print(shell.output, one)
    return EXIT_NO if one.status == "open" else None


async def resolve(
    shell: Shell,
    situation: Annotated[
        str, typer.Argument(metavar="ID", help="A situation, or how it begins: see `loom contradictions`.")
    ],
    stands: Annotated[
        str, typer.Option("--stands", metavar="OUTCOME", help="The outcome that stands: its key, or its words.")
    ],
    by: ByOption,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why it stands.", show_default=False)],
) -> None:
    """Say which outcome of a situation stands, in your own name, and why. What was decided stays as it is."""
    from loom.cli.acting import act
    from loom.precedents import Contradiction

    given = {"id": situation, "stands": stands, "by": by, "reason": reason}
    said, _ = await act(shell, "contradictions.resolve", given, by=by)
    if shell.json:
        shell.output.document(said)
    else:
        _print(shell.output, Contradiction.model_validate(said))


async def _found(shell: Shell, status: Literal["open"] | None, rule: str | None, limit: int) -> Contradictions:
    """Print contradictions, and return them."""
    from loom.cli.reading import loaded, open_readings
    from loom.precedents import EquivalenceRegistry, Precedents

    async with open_readings(shell) as readings:
        asking = Precedents(readings.queries, await loaded(EquivalenceRegistry(readings.reader)))
        found = await asking.contradictions(rule=rule, status=status, limit=limit)
    if shell.json:
        shell.output.document(found.model_dump(mode="json"))
        return found
    resolved = f", {found.resolved:,} of them resolved" if found.resolved else ""
    shell.output.say(
        f"{found.contradictory:,} of {found.situations:,} situations were decided in more than one way{resolved}; "
        f"{found.others:,} of {found.cases:,} decisions differ from the majority of their situation",
        style="bold",
    )
    for each in found.listed:
        _print(shell.output, each)
    there = found.contradictory - (found.resolved if status == "open" else 0)
    if len(found.listed) < there:
        shell.output.note(f"{there - len(found.listed):,} more: --limit")
    return found


def _print(output: Output, each: Contradiction) -> None:
    output.say()
    output.say(f"{each.situation[:12]}  {one_line(each.words)}", style="cyan")
    short = shortened(one for outcome in each.outcomes for one in outcome.examples)
    columns = [Column("outcome"), Column("cases", right=True), Column("first (UTC)", "dim"), Column("last", "dim")]
    output.table(
        [*columns, Column("by"), Column("for example", "cyan", wide=True)],
        [
            [
                one_line(outcome.words, 60),
                f"{outcome.cases:,}",
                output.moment(outcome.first_at),
                output.moment(outcome.last_at),
                one_line(", ".join(f"{who} ({count:,})" for who, count in outcome.deciders.items()), 80),
                ", ".join(short[one] for one in outcome.examples),
            ]
            for outcome in each.outcomes
        ],
    )
    if each.separation is None:
        output.say("no recorded fact separates them better than chance", style="dim")
    else:
        output.say(f"separated best by {one_line(each.separation.in_words)}", style="yellow")
    said = each.resolution
    if said is not None:
        again = "" if each.status == "resolved" else "; a later decision goes against that: it is open again"
        output.say(
            f"{one_line(said.words)} stands, says {one_line(str(said.identity))}, {output.moment(said.resolved_at)}: "
            f"“{one_line(said.reason)}”{again}",
            style="green" if each.status == "resolved" else "red",
        )
