"""`loom costs`: what calls of models have cost, by actor, model, day or decision, and what is left today."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loom.cli.command import command
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from loom.decisions.model_costs import CostLine

__all__ = ["add_to"]

_Group = Annotated[Literal["actor", "model", "day", "decision"], typer.Option("--by", help="Group the calls by this.")]

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_Since = Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Asked at this time or later (UTC).")]
_Until = Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Asked before this time (UTC).")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "costs", panel="Answer")(costs)


async def costs(shell: Shell, by: _Group = "actor", since: _Since = None, until: _Until = None) -> None:
    """Show what calls of models by actors have cost, dearest first, and how much of today's budget is left.

    Calls whose cost is unknown are counted apart: the sums are without them. Days are those of UTC. The budget counts
    what was reserved for calls that have not ended, and for those whose process died.
    """
    from loom.cli.reading import open_readings
    from loom.decisions.model_costs import ModelCosts
    from loom.workspace import spend_of

    begin = None if since is None else since.replace(tzinfo=UTC)
    end = None if until is None else until.replace(tzinfo=UTC)
    async with open_readings(shell) as readings:
        lines = await ModelCosts(readings.queries).by(by, since=begin, until=end)
        spend = spend_of(shell.settings, readings.reader, now=lambda: datetime.now(UTC))
        today = await spend.today()
    limit = spend.config.max_usd_per_day
    left = max(0.0, limit - today.committed_micro_usd / 1e6)
    if shell.json:
        budget = {
            "day": today.day,
            "time_zone": spend.config.time_zone,
            "spent_usd": today.spent_micro_usd / 1e6,
            "reserved_usd": today.reserved_micro_usd / 1e6,
            "max_usd": limit,
            "left_usd": left,
        }
        shell.output.document({"by": by, "costs": [each.model_dump(mode="json") for each in lines], "today": budget})
        return
    _print(shell, by, lines)
    shell.output.say(
        f"today, {today.day} ({spend.config.time_zone}): ${today.spent_micro_usd / 1e6:,.4f} spent, "
        f"${today.reserved_micro_usd / 1e6:,.4f} reserved, ${left:,.4f} of ${limit:,.2f} left"
    )


def _print(shell: Shell, by: str, lines: Sequence[CostLine]) -> None:
    from loom.decisions.model_costs import NO_DECISION
    from loom.identity import short

    counted = ("calls", "failed", "refused", "tokens in", "tokens out", "US dollars", "cost unknown")
    columns = [Column(by), *(Column(name, right=True) for name in counted)]
    shell.output.table(
        columns,
        [
            [
                short(each.name) if by == "decision" and each.name != NO_DECISION else one_line(each.name, 60),
                *(f"{number:,}" for number in (each.calls, each.failed, each.refused)),
                *(f"{number:,}" for number in (each.input_tokens, each.output_tokens)),
                f"{each.cost_usd:,.6f}",
                f"{each.unknown:,}",
            ]
            for each in lines
        ],
    )
