"""`loom precedents`: which cases are alike and how they were decided, and earlier cases found by what they say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import ROOMY, Column, Output
from loom.cli.shell import Shell
from loom.cli.text import compact, one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.decisions import PrecedentFound
    from loom.precedents import PrecedentSupport

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "precedents", panel="Read back")(precedents)


async def precedents(
    shell: Shell,
    of: Annotated[
        str | None, typer.Option("--of", metavar="ID", help="Those of the same class as this decision.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="With all these words in rationale or reasoning.")] = None,
    facet: Annotated[
        list[str] | None, typer.Option("--facet", "-f", metavar="NAME=VALUE", help="With exactly this fact or context.")
    ] = None,
    type: Annotated[str | None, typer.Option("--type", "-t", help="Of this type of decision.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 20,
) -> int | None:
    """List classes of like cases with a like outcome, largest first; or search earlier decisions.

    Decisions that were replayed, or whose turn failed or was given up, are no precedents.
    """
    from loom.cli.reading import open_readings

    output = shell.output
    async with open_readings(shell) as readings:
        index = readings.precedents
        if of is None and text is None and not facet and type is None:
            classes = await index.classes(limit=limit)
            _print_classes(output, classes)
            return None
        wanted: dict[str, Any] = {"text": text, "facets": _facets(facet or []), "decision_type": type}
        kind = None
        if of is not None:
            kind = await index.of(of)
            if kind is None:
                output.note("this decision has no class: its actor has no equivalence rule, or its turn failed")
                return EXIT_NO
            wanted["precedent"] = kind.precedent
        found = await index.find(**wanted, limit=limit)
    if output.json:
        shown = [each.model_dump(mode="json") for each in found]
        output.document(shown if kind is None else {"class": kind.model_dump(mode="json"), "decisions": shown})
        return None
    if kind is not None:
        output.say(f"{kind.support} like cases with a like outcome: {compact(kind.outcome, 80)}", style="bold")
    _print_found(output, found)
    return None


def _facets(given: list[str]) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise typer.BadParameter(
                f"[{each}] is no facet; expected [name=value], as in industry=healthcare: write it like that",
                param_hint="--facet",
            )
        try:
            facets[name] = json.loads(value)
        except ValueError:
            facets[name] = value
    return facets


def _print_classes(output: Output, classes: tuple[PrecedentSupport, ...]) -> None:
    if output.json:
        output.document([each.model_dump(mode="json") for each in classes])
        return
    if not classes:
        output.say("No classes: no decision was made under an equivalence rule yet.")
        return
    roomy = output.width >= ROOMY
    columns = [
        Column("class", "cyan"),
        Column("cases", right=True),
        Column("last (UTC)", "dim"),
        Column("newest", "cyan"),
    ]
    columns += [Column("type")] if roomy else []
    columns += [Column("outcome", wide=True, wraps=True)]

    def row(each: PrecedentSupport) -> list[str]:
        cells = [each.precedent[:12], str(each.support), output.moment(each.last_at), each.decision_id[:12]]
        cells += [one_line(each.decision_type, 24)] if roomy else []
        return [*cells, compact(each.outcome)]

    output.table(columns, [row(each) for each in classes])


def _print_found(output: Output, found: tuple[PrecedentFound, ...]) -> None:
    from rich.text import Text

    if not found:
        output.say("No earlier decisions match.")
        return
    roomy = output.width >= ROOMY
    columns = [Column("id", "cyan"), Column("recorded (UTC)", "dim")]
    columns += [Column("actor")] if roomy else []
    columns += [Column("outcome"), Column("rationale", wide=True, wraps=True)]

    def row(each: PrecedentFound) -> list[str | Text]:
        cells: list[str | Text] = [each.decision_id[:12], output.moment(each.recorded_at)]
        cells += [one_line(each.journal, 32)] if roomy else []
        outcome = Text(compact(each.outcome, 40 if roomy else 26), style="red" if each.is_exception else "")
        return [*cells, outcome, one_line(each.rationale)]

    output.table(columns, [row(each) for each in found])
