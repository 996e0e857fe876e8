"""`loom budget`: what enrichment has spent today, and what is left."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Column
from loom.cli.shell import Shell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "budget", panel="Answer")(budget)


async def budget(shell: Shell) -> int | None:
    """Show today's budget for enrichment: calls and dollars, spent, reserved and left. Exit code 1: nothing is left."""
    from loom.cli.reading import open_journal
    from loom.enrichment import Budget, DecisionTracesConfig

    section = shell.settings.sections.get("decision_traces")
    config = section if isinstance(section, DecisionTracesConfig) else DecisionTracesConfig()
    async with open_journal(shell) as reader:
        today = await Budget(reader, config.budgets, now=lambda: datetime.now(UTC)).today()
    none_left = not today.calls_left or not today.left_micro_usd
    if shell.json:
        shell.output.document(
            {
                "day": today.day,
                "time_zone": config.budgets.time_zone,
                "mode": config.llm_enrichment.mode,
                "calls": today.calls,
                "max_calls": today.max_calls,
                "calls_left": today.calls_left,
                "spent_usd": today.spent_micro_usd / 1e6,
                "reserved_usd": today.reserved_micro_usd / 1e6,
                "max_usd": today.max_micro_usd / 1e6,
                "left_usd": today.left_micro_usd / 1e6,
            }
        )
    else:
        shell.output.say(
            f"{today.day} ({config.budgets.time_zone}), enrichment mode {config.llm_enrichment.mode}", style="bold"
        )
        columns = [Column("", "dim"), *(Column(name, right=True) for name in ("spent", "reserved", "left", "of"))]
        dollars = [today.spent_micro_usd, today.reserved_micro_usd, today.left_micro_usd, today.max_micro_usd]
        shell.output.table(
            columns,
            [
                ["calls", f"{today.calls:,}", "", f"{today.calls_left:,}", f"{today.max_calls:,}"],
                ["US dollars", *(f"{each / 1e6:,.4f}" for each in dollars)],
            ],
        )
    return EXIT_NO if none_left else None
