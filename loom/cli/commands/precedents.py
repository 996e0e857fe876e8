"""`loom precedents`: which cases are alike, by which rules, how they were decided, and earlier cases by their words."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.contradicting import contradictions
from loom.cli.helping import Sections
from loom.cli.listing import cell, listing
from loom.cli.output import ROOMY, Column, Output
from loom.cli.shell import Shell
from loom.cli.values import named_values
from loom.text import compact, one_line, who

if TYPE_CHECKING:
    from rich.text import Text

    from loom.cli.reading import Readings
    from loom.decisions import PrecedentFound
    from loom.precedents import EquivalenceRegistry, PrecedentMember, PrecedentSupport

__all__ = ["add_to"]

_WHY_SUPERSEDED = {"policy": "another version is adopted", "overruled": "overruled"}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="List classes of like cases, what is in one, and the rules that make them.")
    command(group, "list", default=True)(precedents)
    command(group, "show")(show)
    command(group, "contradictions")(contradictions)
    command(group, "rules")(rules)
    app.add_typer(group, name="precedents", rich_help_panel="Read back")


async def precedents(
    shell: Shell,
    of: Annotated[
        str | None, typer.Option("--of", metavar="ID", help="The class of this decision, and what is in it.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="RULE", help="Only classes by this rule: its name or version.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="With all these words in rationale or reasoning.")] = None,
    facet: Annotated[
        list[str] | None, typer.Option("--facet", "-f", metavar="NAME=VALUE", help="With exactly this fact or context.")
    ] = None,
    type: Annotated[str | None, typer.Option("--type", "-t", help="Of this type of decision.")] = None,
    similar_to: Annotated[
        str | None, typer.Option("--similar-to", metavar="TEXT", help="Suggest those whose rationale is nearest to it.")
    ] = None,
    min_similarity: Annotated[
        float | None,
        typer.Option("--min-similarity", min=-1, max=1, help="Only those with at least this cosine similarity."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")] = 20,
) -> int | None:
    """List classes of like cases with a like outcome, largest first; or search earlier decisions.

    Decisions that were replayed, or whose turn failed or was abandoned, are no precedents.
    """
    from loom.cli.reading import loaded, open_readings, similarity_in
    from loom.precedents import EquivalenceRegistry, Precedents

    searched = text is not None or bool(facet) or type is not None or (similar_to, min_similarity) != (None, None)
    if rule is not None and (of is not None or searched):
        raise typer.BadParameter("expected [--rule alone]: it chooses among classes", param_hint="--rule")
    async with open_readings(shell) as readings:
        known = await loaded(EquivalenceRegistry(readings.reader))
        asking = Precedents(readings.queries, known)
        if of is None and not searched:
            full_hash = None if rule is None else known.resolve(rule).hash
            classes = await asking.classes(rule=full_hash, limit=limit)
            _print_classes(shell.output, classes, known)
            return None
        kind = None if of is None else await asking.of(of)
        if of is not None and kind is None:
            shell.output.note("this decision has no class: its actor has no equivalence rule, or its turn failed")
            return EXIT_NO
        if kind is not None and not searched:
            await _show(shell.output, readings, known, kind, limit=limit, after=None)
            return None
        facets = named_values(facet or [], option="--facet")
        wanted: dict[str, Any] = {"text": text, "facets": facets, "decision_type": type}
        wanted |= {"similar_to": similar_to, "min_similarity": min_similarity}
        if kind is not None:
            wanted["precedent"] = kind.precedent
        similarity = None if similar_to is None else similarity_in(readings, shell)
        searching = Precedents(readings.queries, similarity=similarity)
        _print_found(shell.output, await searching.find(**wanted, limit=limit), kind)
    return None


async def show(
    shell: Shell,
    precedent: Annotated[
        str, typer.Argument(metavar="CLASS", help="The key of a class, or how it begins.", show_default=False)
    ],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many decisions.")] = 20,
    after: Annotated[int | None, typer.Option(help="Continue after this position, the last one already seen.")] = None,
) -> None:
    """Show one class: what makes its cases alike, and the decisions in it, newest first."""
    from loom.cli.reading import loaded, open_readings
    from loom.precedents import EquivalenceRegistry, Precedents

    async with open_readings(shell) as readings:
        known = await loaded(EquivalenceRegistry(readings.reader))
        kind = await Precedents(readings.queries, known).get(precedent)
        await _show(shell.output, readings, known, kind, limit=limit, after=after)


async def rules(
    shell: Shell, name: Annotated[str | None, typer.Option("--name", help="Only versions of this rule.")] = None
) -> None:
    """List the registered equivalence rules: what makes two cases alike, since when, and by whom."""
    from loom.cli.reading import loaded, open_journal
    from loom.precedents import EquivalenceRegistry

    async with open_journal(shell) as reader:
        found = (await loaded(EquivalenceRegistry(reader))).versions(name)
    listing(
        shell,
        found,
        lambda: [
            cell("rule", lambda each: one_line(each.name, 32)),
            cell("version", lambda each: each.version, "cyan"),
            cell("registered (UTC)", lambda each: shell.output.moment(each.registered_at), "dim"),
            cell("by", lambda each: who(each.identity, 16)),
            cell("alike by", lambda each: _declared(each.document["attributes"]), wide=True, wraps=True),
            cell("and outcome", lambda each: _declared(each.document["outcome"]), wide=True, wraps=True),
        ],
        nothing="No equivalence rules.",
        document=lambda each: {**asdict(each), "registered_at": each.registered_at.isoformat()},
    )


async def _show(
    output: Output,
    readings: Readings,
    known: EquivalenceRegistry,
    kind: PrecedentSupport,
    *,
    limit: int,
    after: int | None,
) -> None:
    members = await readings.precedents.members(kind.precedent, limit=limit, after=after)
    alike = known.describe((await readings.traces.get(kind.decision_id)).decision)
    if output.json:
        decisions = [each.model_dump(mode="json") for each in members]
        output.document({"class": kind.model_dump(mode="json"), "alike_by": alike, "decisions": decisions})
        return
    _print_heading(output, kind)
    output.table([Column("", "dim"), Column("", wide=True, wraps=True)], list(alike.items()))
    output.say()
    _print_members(output, members)
    if len(members) == limit and members[-1].position:
        output.note(f"there may be more: --after {members[-1].position}")


def _print_heading(output: Output, kind: PrecedentSupport) -> None:
    cases = "1 case" if kind.support == 1 else f"{kind.support} like cases with a like outcome"
    output.say(f"{cases}: {compact(kind.outcome, 80)}", style="bold")
    if kind.superseded:
        them = "it is" if kind.support == 1 else f"{kind.superseded} of them {'is' if kind.superseded == 1 else 'are'}"
        output.say(f"{them} superseded: overruled, or of a policy version that is not adopted any more")


def _declared(attributes: list[dict[str, Any]]) -> str:
    """Return the attributes of a rule on one line: `energy in 5 parts of 0 to 0.9`."""
    from fractions import Fraction

    def one(each: dict[str, Any]) -> str:
        if "from" in each:
            return f"{one({name: said for name, said in each.items() if name != 'from'})} of the {each['from']}"
        if "at" in each:
            return f"{each['bin']} at {', '.join(f'{float(Fraction(border)):g}' for border in each['at'])}"
        if "bin" in each:
            low, high = (f"{float(Fraction(each[end])):g}" for end in ("low", "high"))
            return f"{each['bin']} in {each['bins']} parts of {low} to {high}"
        return f"set of {each['set']}" if "set" in each else str(each["exact"])

    return one_line(", ".join(map(one, attributes)))


def _print_classes(output: Output, classes: tuple[PrecedentSupport, ...], known: EquivalenceRegistry) -> None:
    if output.json:
        output.document([each.model_dump(mode="json") for each in classes])
        return
    if not classes:
        output.say("No classes: no decision was made under an equivalence rule yet.")
        return
    roomy = output.width >= ROOMY
    several = len({each.rule for each in classes}) > 1
    columns = [Column("class", "cyan"), Column("cases", right=True), Column("superseded", "yellow", right=True)]
    columns += [Column("rule")] if several or roomy else []
    columns += [Column("last (UTC)", "dim"), Column("newest", "cyan")] if roomy else []
    columns += [Column("like cases → outcome", wide=True, wraps=True)]

    def row(each: PrecedentSupport) -> list[str]:
        cells = [each.precedent[:12], str(each.support), str(each.superseded or "-")]
        cells += [_named(known, each.rule)] if several or roomy else []
        cells += [output.moment(each.last_at), each.decision_id[:12]] if roomy else []
        return [*cells, one_line(each.words) or compact(each.outcome)]

    output.table(columns, [row(each) for each in classes])


def _named(known: EquivalenceRegistry, full_hash: str) -> str:
    """Return the name and version of a rule; of one that was used before rules were registered, how its hash begins."""
    if not known.knows(full_hash):
        return full_hash[:12]
    version = known.resolve(full_hash)
    return one_line(f"{version.name} v{version.number}", 32)


def _print_found(output: Output, found: tuple[PrecedentFound, ...], kind: PrecedentSupport | None = None) -> None:
    if output.json:
        shown = [each.model_dump(mode="json") for each in found]
        output.document(shown if kind is None else {"class": kind.model_dump(mode="json"), "decisions": shown})
        return
    if kind is not None:
        _print_heading(output, kind)
    _print_members(output, found)


def _print_members(output: Output, found: tuple[PrecedentFound, ...] | tuple[PrecedentMember, ...]) -> None:
    from rich.text import Text

    if not found:
        output.say("No earlier decisions match.")
        return
    roomy = output.width >= ROOMY
    columns = [Column("id", "cyan"), Column("recorded (UTC)", "dim")]
    columns += [Column("actor")] if roomy else []
    suggested = any(each.basis for each in found)
    if suggested:
        output.note("suggested by similarity: near in their words, which makes no precedent of them")
        columns.insert(0, Column("near", right=True))
    columns += [Column("superseded", "yellow")] if any(each.superseded for each in found) else []
    columns += [Column("outcome"), Column("rationale", wide=True, wraps=True)]

    def row(each: PrecedentFound) -> list[str | Text]:
        cells: list[str | Text] = [each.decision_id[:12], output.moment(each.recorded_at)]
        cells += [one_line(each.journal, 32)] if roomy else []
        if any(other.superseded for other in found):
            cells.append(_WHY_SUPERSEDED.get(each.superseded or "", "-") if roomy else each.superseded or "-")
        outcome = Text(compact(each.outcome, 40 if roomy else 26), style="red" if each.is_exception else "")
        near = [f"{each.similarity or 0.0:.2f}"] if suggested else []
        return [*near, *cells, outcome, one_line(each.rationale)]

    output.table(columns, [row(each) for each in found])
