"""`loom drift --by month`, and the three parts of a change: who came, what the rule said, what people did."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from loom.cli.command import EXIT_NO, EXIT_UNSURE
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.drift import Drift, DriftPart, DriftParts, Window

__all__ = ["comparing", "drift_by_month", "print_parts"]


@contextlib.asynccontextmanager
async def comparing(shell: Shell, *, imports: bool) -> AsyncIterator[Drift]:
    """Yield an object that compares what the journal says, with the policies of the config's modules if requested.

    An unknown name is wrong usage here (exit code 2): 1 would say that there is drift.
    """
    from loom.cli.reading import loaded, open_readings
    from loom.drift import Drift
    from loom.errors import (
        EquivalenceRuleNotRegisteredError,
        PolicyNotRegisteredError,
        RunNotFoundError,
        WindowError,
    )
    from loom.policies import AnyPolicy
    from loom.policies.registry import PolicyRegistry
    from loom.precedents import EquivalenceRegistry
    from loom.workspace import actors_of

    shell.allow_imports()
    actors = actors_of(shell.settings.modules) if imports else ()
    async with open_readings(shell) as readings:
        policies = await loaded(PolicyRegistry(readings.reader))
        for cls in actors:
            if isinstance(cls.policy, AnyPolicy):
                policies.attach(cls.policy)
        try:
            yield Drift(readings.queries, policies, await loaded(EquivalenceRegistry(readings.reader)), by="drift")
        except (EquivalenceRuleNotRegisteredError, PolicyNotRegisteredError, RunNotFoundError) as error:
            raise WindowError(str(error)) from error


async def drift_by_month(
    shell: Shell, window: Window | None, *, rule: str | None, under: str | None, first: bool
) -> int | None:
    """Compare every month, and print; return the exit code."""
    async with comparing(shell, imports=under is not None) as drift:
        found = await drift.by_month(window, rule=rule, under=under, against="first" if first else "previous")
    output = shell.output
    if output.json:
        output.document(found.model_dump(mode="json"))
    elif not found.months:
        output.say("No decisions in a class: nothing was compared.")
    else:
        columns = [
            Column("month"),
            Column("decisions", right=True),
            Column("against"),
            Column("who came", right=True),
            Column("the rule said", right=True),
            Column("people did", right=True),
            Column("what moved", wide=True),
        ]
        rows: list[list[str | Text]] = []
        for month in found.months:
            cells: list[str | Text] = [month.month, f"{month.decisions:,}", month.against or "-"]
            parts = () if month.parts is None else month.parts.all
            cells += [_p(month.p_values.get(part.name), detected=part.name in month.changed) for part in parts]
            cells += [""] * (3 - len(parts))
            moved = "; ".join(_moved(part) for part in parts if part.name in month.changed)
            rows.append([*cells, one_line(moved)])
        output.table(columns, rows)
        output.say("p-values, corrected for the number of months", style="dim")
    if found.unclassified:
        output.note(f"{found.unclassified:,} decisions are in no class and were not compared")
    if found.changed:
        return EXIT_NO
    known = [part for month in found.months if month.parts for part in month.parts.all]
    return None if any(part.state != "insufficient_data" for part in known) else EXIT_UNSURE


def print_parts(output: Output, parts: DriftParts) -> None:
    """Print the three parts of a change."""
    output.say()
    output.say("In three parts", style="bold")
    rows: list[list[str | Text]] = [
        [
            part.name,
            part.state.replace("_", " "),
            _p(part.p_value, detected=part.detected),
            f"{part.decisions[0]:,} against {part.decisions[1]:,}",
            one_line(_moved(part) if part.detected else ""),
        ]
        for part in parts.all
    ]
    columns = [Column("", "bold"), Column(""), Column("p", right=True), Column("comparable decisions")]
    output.table([*columns, Column("what moved", wide=True, wraps=True)], rows)
    if parts.not_evaluated:
        output.note(f"{parts.not_evaluated:,} decisions were made under no rule; --under asks one about them")


def _moved(part: DriftPart) -> str:
    return ", ".join(f"{each.label} {100 * each.change:+.1f} points" for each in part.shifts[:3])


def _p(p_value: float | None, *, detected: bool) -> Text:
    from rich.text import Text

    return Text("-" if p_value is None else f"{p_value:.2g}", style="red" if detected else "dim")
