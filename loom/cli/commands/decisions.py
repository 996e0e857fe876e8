"""`loom decisions` and `loom why`: what was decided, and one decision in the order in which a person asks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loom.cli.command import command
from loom.cli.commands.decisions_out import OutAsked, write_out
from loom.cli.commands.facets import print_facets
from loom.cli.commands.judging import ByTimeOption
from loom.cli.listing import Cell, cell, listing
from loom.cli.output import ROOMY, Output
from loom.cli.shell import Shell
from loom.cli.values import moment_of, named_values
from loom.text import compact, moment, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from loom.cli.reading import Readings
    from loom.decisions import IMPORT_WORDS, DecisionChain, DecisionLineage, DecisionSummary, Explanation

__all__ = ["add_to", "explained"]

_MEMBERS = 50
_LISTED = 20
_MOST_LISTED = 10_000
_WIDE = 150
_WIDEST = 100
_PIPE = 1_000  # no terminal is so wide: the width of the reader's is unknown
_IN_A_PIPE = 88
_STYLES = {"plain": "", "strong": "bold", "good": "green", "bad": "red", "quiet": "dim"}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "decisions", panel="Read back")(decisions)
    command(app, "why", panel="Read back")(why)


async def decisions(
    shell: Shell,
    type: Annotated[str | None, typer.Option("--type", "-t", help="Of this type, such as exception.")] = None,
    exception: Annotated[
        bool | None, typer.Option("--exception/--no-exception", help="Only exceptions, or only others.")
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", "-a", help="Of an actor type, or of one TYPE/KEY.")] = None,
    policy: Annotated[str | None, typer.Option(help="Under a policy, by name or by version.")] = None,
    sent: Annotated[str | None, typer.Option("--command", help="For a command of this type.")] = None,
    run: Annotated[str | None, typer.Option("--run", "-r", help="In this run, or how its id begins.")] = None,
    replayed: Annotated[
        bool | None, typer.Option("--replayed/--original", help="Only replays of decisions, or only originals.")
    ] = None,
    observed: Annotated[bool, typer.Option("--observed", help="Only imported ones.")] = False,
    status: Annotated[str | None, typer.Option(help="Whose turn is open, settled, failed or abandoned.")] = None,
    since: Annotated[str | None, typer.Option(help="From then on: 2h, 3d, 2026-01-31, 2026-01-31T12:00.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    by_time: ByTimeOption = "decided",
    text: Annotated[str | None, typer.Option(help="With these words in rationale and reasoning.")] = None,
    facet: Annotated[
        list[str] | None, typer.Option("--facet", "-f", metavar="NAME=VALUE", help="With exactly this fact or context.")
    ] = None,
    outcome: Annotated[
        list[str] | None,
        typer.Option("--outcome", "-o", metavar="NAME=VALUE", help="With exactly this outcome."),
    ] = None,
    alike: Annotated[
        str | None, typer.Option("--alike", help="Of this class: the key of a situation or precedent.")
    ] = None,
    similar_to: Annotated[
        str | None, typer.Option("--similar-to", metavar="TEXT", help="Suggest those whose rationale is nearest to it.")
    ] = None,
    min_similarity: Annotated[
        float | None,
        typer.Option("--min-similarity", min=-1, max=1, help="Only those with at least this cosine similarity."),
    ] = None,
    facets: Annotated[
        str | None, typer.Option("--facets", metavar="NAME", help="Count them by the values of this fact or context.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most this many: 20 in a list, all with --format.")
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl", "parquet"] | None, typer.Option("--format", help="As a file for other programs.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="NAMES", help="With --format: decision_id,facts.income,outcome.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="With --format: into a new file.")] = None,
) -> int | None:
    """List decisions, newest first; those that similarity suggests, nearest first.

    With --format all that match are written, as CSV, JSON lines or Parquet; exit code 1 says that there are none.
    With --facets they are counted instead, without replays and without imports that have not ended.
    """
    from loom.cli.reading import open_readings, similarity_in
    from loom.precedents import Memory

    now = datetime.now(UTC)
    wanted: dict[str, Any] = {
        "decision_type": type,
        "command_type": sent,
        "is_exception": exception,
        "origin": "observed" if observed else None if replayed is None else "replayed" if replayed else "original",
        "status": status,
        "since": None if since is None else moment_of(since, "--since", now),
        "until": None if until is None else moment_of(until, "--until", now),
    }
    if actor is not None:
        wanted["actor_type"], slash, key = actor.partition("/")
        wanted["actor_key"] = key if slash else None
    async with open_readings(shell) as readings:
        if run is not None:
            wanted["run_id"] = (await readings.runs.get(run)).run_id
        if policy is not None:
            wanted |= await _under(readings, policy)
        similarity = None if similar_to is None else similarity_in(readings, shell)
        memory = Memory(readings.queries, similarity=similarity)
        asked: dict[str, Any] = {
            "text": text,
            "facets": named_values(facet or [], option="--facet"),
            "outcome": named_values(outcome or [], option="--outcome"),
            "alike": alike,
            "similar_to": similar_to,
            "min_similarity": min_similarity,
        }
        if facets is not None:
            asked |= {"format": form, "columns": columns, "out": out}
            await print_facets(shell, readings, facets, {**wanted, "by_time": by_time}, asked, limit)
            return None
        if form is not None:
            given = OutAsked(form, columns, out, limit)
            return await write_out(shell, memory, readings.traces, {**asked, **wanted, "by_time": by_time}, given)
        if columns is not None or out is not None:
            raise typer.BadParameter("expected --format: only a file has columns", param_hint="--format")
        if limit is not None and limit > _MOST_LISTED:
            raise typer.BadParameter(f"expected at most {_MOST_LISTED} in a list: take --format", param_hint="--limit")
        found = await memory.search(**asked, **wanted, by_time=by_time, limit=limit or _LISTED)
    filtered = any((*(value is not None for value in wanted.values()), *asked.values()))
    nothing = "No decisions match." if filtered else "No decisions."
    listing(shell, found, lambda: _cells(shell.output, found), nothing=nothing)
    return None


async def why(
    shell: Shell,
    decision_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="A decision, or how its id begins; by default the newest.", show_default=False
        ),
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="Also what led to it, and what followed from it.")] = False,
) -> None:
    """Explain one decision: what, why, on which facts, under which rule, after which precedents, who agreed."""
    from loom.cli.reading import loaded, open_readings
    from loom.decisions import explain
    from loom.precedents import EquivalenceRegistry

    async with open_readings(shell) as readings:
        trace = await readings.traces.get(decision_id or await _newest(readings))
        line = await readings.traces.chain(trace.decision_id) if chain else None
        replays = trace.origin == "replayed" or trace.replays
        lineage = await readings.traces.lineage(trace.decision_id) if replays else None
        alike = (await loaded(EquivalenceRegistry(readings.reader))).describe(trace.decision)
    if shell.json:
        shown = {**trace.model_dump(mode="json"), "explanation": explain(trace, alike=alike).model_dump(mode="json")}
        more = {"lineage": lineage, "chain": line}
        shown |= {name: each.model_dump(mode="json") for name, each in more.items() if each is not None}
        shell.output.document(shown)
        return
    output = shell.output
    output.show(explained(explain(trace, alike=alike), output))
    if lineage is not None:
        _print_lineage(output, lineage)
    if line is not None:
        _print_chain(output, line)


async def _newest(readings: Readings) -> str:
    """Return the id of the newest decision."""
    from loom.errors import DecisionNotFoundError

    for each in await readings.traces.find(limit=1):
        return each.decision_id
    raise DecisionNotFoundError(
        "there are [0] decisions; expected one to explain: run an actor first, as in `loom run`"
    )


async def _under(readings: Readings, policy: str) -> dict[str, str]:
    """Return the filter by a policy: by its name where there is one of that name, else by the version it names."""
    from loom.cli.reading import loaded
    from loom.policies.registry import PolicyRegistry

    registry = await loaded(PolicyRegistry(readings.reader))
    if policy in registry.names():
        return {"policy": policy}
    return {"policy_version": registry.resolve(policy).version}


def _cells(output: Output, found: Sequence[DecisionSummary]) -> list[Cell[DecisionSummary]]:
    from rich.text import Text

    roomy = output.width >= ROOMY
    suggested = any(each.similarity is not None for each in found)
    if suggested:
        output.note("suggested by similarity: near in their words, which makes no precedent of them")

    def kind(each: DecisionSummary) -> Text:
        shown = Text(one_line(each.decision_type, 24), style="red" if each.is_exception else "")
        if each.origin == "observed":
            shown.append(" (observed)" if each.status == "settled" else f" (observed, {IMPORT_WORDS[each.status]})")
        elif each.status in ("failed", "abandoned"):
            shown.append(f" ({each.status})", style="red")
        return shown

    def came_to(each: DecisionSummary) -> Text:
        return _came_to(each, longest=60 if output.for_eyes else 400)

    def why(each: DecisionSummary) -> str:
        return one_line(each.rationale, 140 if output.for_eyes else 400)

    near: Cell[DecisionSummary] = cell("near", lambda each: f"{each.similarity or 0.0:.2f}", right=True)
    actor: Cell[DecisionSummary] = cell("actor", lambda each: one_line(each.journal, 40))
    under: list[Cell[DecisionSummary]] = [
        cell("policy", lambda each: one_line(each.policy_version or each.origin, 24)),
        cell("rule", lambda each: one_line(each.rule or "-", 24)),
    ]
    apart = [cell("outcome", came_to, wraps=True), cell("rationale", why, wide=True, wraps=True)]
    both: Cell[DecisionSummary] = cell(
        "outcome, and why",
        lambda each: came_to(each).append(f"\n{why(each)}", style="default"),
        wide=True,
        wraps=True,
    )
    return [
        *([near] if suggested else []),
        cell("id", lambda each: each.decision_id[:12], "cyan"),
        cell("decided (UTC)", lambda each: output.moment(each.decided_at), "dim"),
        cell("type", kind),
        *([actor] if roomy else []),
        *(under if output.width >= _WIDE else []),
        *(apart if roomy else [both]),
    ]


def _came_to(each: DecisionSummary, *, longest: int) -> Text:
    """Return the outcome as it was recorded, in red where it went against its own rule."""
    from rich.text import Text

    said = compact(each.outcome, longest) if each.outcome else each.verdict or "-"
    shown = Text(said, style={"granted": "green", "denied": "yellow"}.get(each.verdict or "", ""))
    if each.departure is not None:
        shown.append("\nagainst its rule", style="red")
    return shown


def explained(explanation: Explanation, output: Output) -> RenderableType:
    """Lay an explanation out in two columns, at a width that is easy to read."""
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.table import Table
    from rich.text import Text

    width = min(output.width, _WIDEST) if output.width < _PIPE else _IN_A_PIPE
    column = min(22, max((len(line.label) for part in explanation.sections for line in part.lines), default=0))
    parts: list[RenderableType] = [
        Text(explanation.title, style="bold"),
        Text(explanation.subtitle, style="dim"),
    ]
    for section in explanation.sections:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=column, style="cyan", overflow="fold")
        grid.add_column(overflow="fold", ratio=1)
        for line in section.lines:
            grid.add_row(Text(line.label), Text(line.text, style=_STYLES[line.tone]))
        parts += [Text(), Text(section.question, style="bold"), _indented(grid)]
    return Constrain(Group(*parts), width)


def _indented(renderable: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(renderable, (0, 0, 0, 2))


def _print_chain(output: Output, chain: DecisionChain) -> None:
    output.say()
    output.say("What led to it, and what followed?", style="bold")
    for related in chain.ancestors:
        output.say(f"  {'↑' * related.depth} {_in_line(related.decision)}", style="dim")
    output.say(f"  • {_in_line(chain.decision)}")
    for related in chain.descendants:
        output.say(f"  {'↓' * related.depth} {_in_line(related.decision)}", style="dim")
    if chain.cut:
        output.say("  … there are more", style="dim")


def _print_lineage(output: Output, lineage: DecisionLineage) -> None:
    output.say()
    output.say("Which is the original, and which replay it?", style="bold")
    if lineage.missing is not None:
        output.say(f"  {lineage.missing[:12]}  (not in this journal)", style="dim")
    for each in lineage.members[:_MEMBERS]:
        this = each.decision.decision_id == lineage.decision.decision_id
        mark = "•" if this else "↳" if each.depth else "○"
        output.say(f"  {'  ' * each.depth}{mark} {_as_member(each.decision)}", style="" if this else "dim")
    if lineage.cut or len(lineage.members) > _MEMBERS:
        output.say("  … there are more", style="dim")


def _as_member(each: DecisionSummary) -> str:
    effect = (each.effect or each.decision_type).replace("_", " ")
    run = f" in run {one_line(each.run_id, 40)}" if each.run_id else ""
    under = f"under {each.policy_version}" if each.policy_version else each.origin
    return f"{each.decision_id[:12]}  {moment(each.recorded_at)}  {effect} {under}{run}"


def _in_line(each: DecisionSummary) -> str:
    said = compact(each.rationale, 60)
    return f"{each.decision_id[:12]}  {moment(each.recorded_at)}  {each.decision_type} by {each.journal}: {said}"
