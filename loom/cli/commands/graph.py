"""`loom graph`: what decisions rested on and their results, as a table, or in a file that graph tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import command
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from loom.lineage import ContextGraph

__all__ = ["add_to"]

_FORMS = (".graphml", ".json", ".svg")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "graph", panel="Read back")(graph)


async def graph(
    shell: Shell,
    of: Annotated[
        str,
        typer.Argument(metavar="RUN|DECISION", help="What it is about, or how its id begins.", show_default=False),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file: .graphml, .json or .svg.")
    ] = None,
    condensed: Annotated[
        bool, typer.Option("--condensed", help="Like nodes as one node, at most twelve of a kind.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most this many.")] = 10_000,
) -> None:
    """Show what decisions rested on, under which policy, after which precedents, and their results.

    Of a run: all its decisions. Of a decision: it, what led to it, what followed, and its replays.
    """
    from loom.cli.reading import loaded, open_readings
    from loom.lineage import Lineage
    from loom.precedents import EquivalenceRegistry
    from loom.reports.writing import write_whole

    if output is not None and output.suffix not in _FORMS:
        raise typer.BadParameter(
            f"unknown graph format [{output.name}]; expected one of [{', '.join(_FORMS)}]: name the file so",
            param_hint="--output",
        )
    async with open_readings(shell) as readings:
        rules = await loaded(EquivalenceRegistry(readings.reader))
        found = await Lineage(readings.queries, alike=rules.describe).graph(of, limit=limit)
    drawn = found.condensed() if condensed else found
    if output is not None:
        write_whole(output, _written(drawn, output.suffix))
        shell.output.note(f"{len(drawn.nodes):,} nodes and {len(drawn.edges):,} edges are in [{output}]")
    if shell.json:
        shell.output.document(drawn.to_json())
    elif output is None:
        _print(shell.output, found)
    if found.cut:
        shell.output.note(f"only the first {limit:,} decisions are in it: --limit")


def _written(graph: ContextGraph, form: str) -> str:
    if form == ".graphml":
        return graph.to_graphml()
    if form == ".json":
        return json.dumps(graph.to_json(), ensure_ascii=False, indent=1) + "\n"
    from loom.reports.graphs import as_svg

    return as_svg(graph) + "\n"


def _print(output: Output, graph: ContextGraph) -> None:
    small = graph.condensed()
    labels = {each.id: each.label for each in small.nodes}
    kinds = {each.id: each.kind for each in small.nodes}
    counts = ", ".join(
        f"{graph.count(kind):,} {kind}" for kind in ("context", "precedent", "policy", "decision", "outcome")
    )
    output.say(f"{graph.of}: {counts}", style="bold")
    edges = sorted(small.edges, key=lambda each: (-each.count, each.source, each.target))
    output.table(
        [
            Column("times", right=True),
            Column("from"),
            Column("", "cyan", wide=True, wraps=True),
            Column("", "dim"),
            Column("to", wide=True, wraps=True),
        ],
        [
            [
                f"{each.count:,}",
                kinds[each.source],
                one_line(labels[each.source]),
                each.relation,
                one_line(labels[each.target]),
            ]
            for each in edges
        ],
    )
