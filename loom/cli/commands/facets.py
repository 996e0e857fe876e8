"""`loom decisions --facets`: how many decisions there are of each value of a fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import as_json, one_line

if TYPE_CHECKING:
    from loom.cli.reading import Readings
    from loom.precedents import FacetCount

__all__ = ["print_facets"]

_LISTED = 50


async def print_facets(
    shell: Shell, readings: Readings, name: str, wanted: dict[str, Any], asked: dict[str, Any], limit: int | None
) -> None:
    """Print the counts; refuse filters by words, classes or other facets, which cannot be counted."""
    from loom.cli.reading import loaded
    from loom.precedents import EquivalenceRegistry, Precedents

    if given := [option for option, value in asked.items() if value]:
        raise typer.BadParameter(
            f"expected it without {', '.join(f'--{each}'.replace('_', '-') for each in given)}: counts go by what the "
            "list goes by alone",
            param_hint="--facets",
        )
    precedents = Precedents(readings.queries, await loaded(EquivalenceRegistry(readings.reader)))
    found = await precedents.facets(name, limit=limit or _LISTED, **wanted)
    if shell.json:
        shell.output.document(found.model_dump(mode="json"))
        return
    declared = "" if found.rule is None else f", a facet of {found.rule}"
    shell.output.say(f"{one_line(name)} of {found.decisions:,} decisions{declared}", style="bold")
    if not found.complete:
        shell.output.note(
            f"only the newest {found.read:,} were read in time: narrow --since, or register an equivalence rule with "
            f"the attribute [{one_line(name)}], by which sums are kept"
        )
    columns = [Column(one_line(name), wide=True, wraps=True)]
    columns += [Column(each, right=True) for each in ("decisions", "granted", "denied", "exceptions")]
    if found.values:
        shell.output.table(columns, [_row(each) for each in found.values])
    for count, what in ((found.left_out, "further values: --limit"), (found.others, "decisions of other values")):
        if count:
            shell.output.note(f"{count:,} {what}")


def _row(each: FacetCount) -> list[str]:
    value = each.value if isinstance(each.value, str) else as_json(each.value)
    return [one_line(value, 80), *(f"{n:,}" for n in (each.decisions, each.granted, each.denied, each.exceptions))]
