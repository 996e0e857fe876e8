"""`loom precedents contradictions`: equal situations that were decided in more than one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import EXIT_NO
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import one_line, shortened

if TYPE_CHECKING:
    from loom.precedents import Contradiction

__all__ = ["contradictions"]


async def contradictions(
    shell: Shell,
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="RULE", help="Only situations by this rule: its name or version.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most this many.")] = 20,
) -> int | None:
    """List situations that were decided in more than one way: how often, when, by whom, and what separates them.

    A situation is equal by a registered rule. What separates the outcomes is the recorded fact that tells most about
    them, where one does better than chance. Exit code 1: there are contradictions.
    """
    from loom.cli.reading import loaded, open_readings
    from loom.precedents import EquivalenceRegistry, Precedents

    async with open_readings(shell) as readings:
        asking = Precedents(readings.queries, await loaded(EquivalenceRegistry(readings.reader)))
        found = await asking.contradictions(rule=rule, limit=limit)
    if shell.json:
        shell.output.document(found.model_dump(mode="json"))
    else:
        shell.output.say(
            f"{found.contradictory:,} of {found.situations:,} situations were decided in more than one way; "
            f"{found.others:,} of {found.cases:,} decisions differ from the majority of their situation",
            style="bold",
        )
        for each in found.listed:
            _print(shell.output, each)
        if len(found.listed) < found.contradictory:
            shell.output.note(f"{found.contradictory - len(found.listed):,} more: --limit")
    return EXIT_NO if found.contradictory else None


def _print(output: Output, each: Contradiction) -> None:
    output.say()
    output.say(one_line(each.words), style="cyan")
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
