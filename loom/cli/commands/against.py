"""`loom replay judge --against outcome`: what the rule says against what was done, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from loom.cli.command import EXIT_ERROR, EXIT_NO, EXIT_UNSURE
from loom.cli.coverage import too_little
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import one_line, shortened

if TYPE_CHECKING:
    from decimal import Decimal

    from loom.replay import AgainstCase, Cell, OutcomeJudgement, Selection

__all__ = ["AgainstAsked", "judge_against"]

_MOST_GROUPS = 120
_WORDS = {"month": "by month", "decider": "by decider"}


@dataclass(frozen=True)
class AgainstAsked:
    """What was asked for on the command line."""

    under: str | None
    maps: list[str] | None
    per: list[str]
    weigh: str | None
    gaps: bool
    cell: str | None
    cases: bool
    max_differing: float
    min_coverage: float
    opening: Mapping[str, str]
    """Who opens sealed data, and why; empty if it stays sealed."""

    def mapping(self) -> dict[str, str] | None:
        """Return the mapping that `name:value=effect` options give."""
        if not self.maps:
            return None
        found = {}
        for each in self.maps:
            value, equals, effect = each.rpartition("=")
            if not equals:
                raise typer.BadParameter(
                    f"[{each}] maps no outcome; expected [name:value=effect], as in granted:true=allow: write it so",
                    param_hint="--map",
                )
            found[value] = effect
        return found


async def judge_against(shell: Shell, selection: Selection, asked: AgainstAsked) -> int | None:
    """Compare and print; return the exit code."""
    mapping = asked.mapping()
    if unknown := [each for each in asked.per if each not in _WORDS]:
        raise typer.BadParameter(f"unknown grouping [{unknown[0]}]; expected one of [{', '.join(_WORDS)}]")
    compare = _compared_opened if asked.opening else _compared
    found, every = await compare(shell, selection, asked, mapping)
    listed = [each for each in every if _is_wanted(each, asked.cell)]
    if shell.json:
        document = found.model_dump(mode="json")
        more = {"listed": [{**each._asdict(), "verdict": each.verdict} for each in listed]} if listed else {}
        shell.output.document({**document, "coverage": found.coverage, "differing": found.differing, **more})
    else:
        _print(shell, found, listed)
    if not found.cases:
        return EXIT_ERROR if selection.ids or selection.run_id else None
    if found.differing is not None and 100 * found.differing > asked.max_differing:
        return EXIT_NO
    return (
        EXIT_UNSURE if too_little(shell, found.coverage, asked.min_coverage, "the rule against what was done") else None
    )


async def _compared(
    shell: Shell, selection: Selection, asked: AgainstAsked, mapping: dict[str, str] | None
) -> tuple[OutcomeJudgement, list[AgainstCase]]:
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import replaying

    per: Any = asked.per
    shell.allow_imports()
    async with open_readings(shell) as readings, replaying(readings, shell) as again:
        with shell.output.progress("comparing") as tell:
            found = await again.judge(
                selection,
                under=asked.under,
                against="outcome",
                mapping=mapping,
                per=per,
                weigh=asked.weigh,
                gaps=asked.gaps,
                progress=tell,
            )
        listed = []
        if asked.cell is not None or asked.cases:
            every = again.cases_against(selection, under=asked.under, mapping=mapping, gaps=asked.gaps)
            listed = [each async for each in every if _is_wanted(each, asked.cell)]
    return found, listed


async def _compared_opened(
    shell: Shell, selection: Selection, asked: AgainstAsked, mapping: dict[str, str] | None
) -> tuple[OutcomeJudgement, list[AgainstCase]]:
    from loom.cli.acting import act_with_code
    from loom.replay import AgainstCase, OutcomeJudgement

    wanted = {"under": asked.under, "mapping": mapping, "weigh": asked.weigh}
    arguments: dict[str, Any] = {name: given for name, given in wanted.items() if given is not None}
    arguments |= {"selection": selection.plain(), "per": asked.per, "gaps": asked.gaps, **asked.opening}
    arguments["listed"] = asked.cell is not None or asked.cases
    said: Any
    said, _ = await act_with_code(shell, "replay.compare", arguments, by=asked.opening["opened_by"])
    return OutcomeJudgement.model_validate(said["found"]), [AgainstCase(**each) for each in said["listed"]]


def _is_wanted(case: AgainstCase, cell: str | None) -> bool:
    if cell is None:
        return case.verdict == "differs"
    return cell in (f"{case.said or case.reason}/{case.done or '-'}", str(case.said or case.reason))


def _print(shell: Shell, found: OutcomeJudgement, listed: list[AgainstCase]) -> None:
    output = shell.output
    if not found.cases:
        output.say("No decisions match: nothing was judged.")
        return
    output.say(f"{found.policy}: what {found.under} says of {found.cases:,} decisions, and what was done", style="bold")
    if found.mapping is not None:
        said = ", ".join(f"{outcome} = {effect}" for outcome, effect in found.mapping.items())
        output.say(f"done: {one_line(said)}", style="dim")
    output.table([Column("", "dim"), Column("", right=True)], list(_figures(found)), header=False)
    output.say()
    _print_cells(shell, found)
    for grouping, groups in found.groups.items():
        output.say()
        _print_groups(shell, grouping, groups)
    if listed:
        output.say()
        short = shortened(each.decision_id for each in listed)
        columns = [Column("decision", "cyan"), Column("journal"), Column("the rule says"), Column("done")]
        rows = [
            [
                short[each.decision_id],
                one_line(each.journal, 32),
                _words(each.said) or f"({each.reason})",
                _words(each.done) or "-",
                one_line(each.rule or "-"),
            ]
            for each in listed
        ]
        output.table([*columns, Column("rule", wide=True)], rows)


def _figures(found: OutcomeJudgement) -> Iterator[tuple[str, str]]:
    if found.mapping is not None:
        yield "agrees", f"{found.agrees:,}"
        share = "" if found.differing is None else f" ({found.differing:.1%} of what can agree or differ)"
        yield "differs", f"{found.differs:,}{share}"
        yield "the rule asks for consent", f"{found.consent:,}"
        if found.unmapped:
            yield "outcome not in the mapping", f"{found.unmapped:,}"
    if found.gaps:
        yield "decided whatever is missing", f"{found.filled:,}"
    for words, count in found.open.items():
        yield f"open: {words}", f"{count:,}"
    for reason, count in found.not_replayable.items():
        if reason not in ("open", "not_looked_at"):
            yield f"not replayable: {reason.replace('_', ' ')}", f"{count:,}"
    yield "coverage", "-" if found.coverage is None else f"{found.coverage:.1%}"


def _print_cells(shell: Shell, found: OutcomeJudgement) -> None:
    short = shortened(each for cell in found.cells for each in cell.examples)
    columns = [Column("the rule says"), *([Column("done")] if found.mapping else []), Column("cases", right=True)]
    columns += [Column(f"sum of {one_line(found.weight_fact, 24)}", right=True)] if found.weight_fact else []
    rows = [
        [
            _words(each.said),
            *([_words(each.done) or "(not mapped)"] if found.mapping else []),
            f"{each.cases:,}",
            *([_weight(each.weight)] if found.weight_fact else []),
            ", ".join(short[one] for one in each.examples),
        ]
        for each in found.cells
    ]
    shell.output.table([*columns, Column("for example", "cyan", wide=True)], rows)
    if found.unweighed:
        shell.output.note(f"{found.unweighed:,} cases have no number in [{found.weight_fact}]: they have no weight")


def _print_groups(shell: Shell, grouping: str, groups: Mapping[str, tuple[Cell, ...]]) -> None:
    shell.output.say(_WORDS[grouping], style="bold")
    columns = [Column(grouping), *(Column(each, right=True) for each in ("cases", "agrees", "differs", "consent"))]
    rows = [[one_line(name, 32), *_counts(cells)] for name, cells in list(groups.items())[:_MOST_GROUPS]]
    shell.output.table([*columns, Column("differing", right=True)], rows)
    if len(groups) > _MOST_GROUPS:
        shell.output.note(f"{len(groups) - _MOST_GROUPS} more are left out; --json has them")


def _counts(cells: Iterable[Cell]) -> list[str]:
    from loom.replay.against import verdict_of

    counts = {"agrees": 0, "differs": 0, "consent": 0}
    total = 0
    for each in cells:
        total += each.cases
        verdict = verdict_of(each.said, each.done)
        if verdict in counts:
            counts[verdict] += each.cases
    both = counts["agrees"] + counts["differs"]
    return [
        f"{total:,}",
        *(f"{each:,}" for each in counts.values()),
        f"{counts['differs'] / both:.1%}" if both else "-",
    ]


def _words(label: str | None) -> str:
    return "" if label is None else label.replace("_", " ").replace(":", ", ")


def _weight(weight: Decimal | None) -> str:
    return "-" if weight is None else f"{weight:,f}"
