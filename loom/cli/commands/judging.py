"""`loom replay judge`: what another version of a policy would have decided, case by case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_ERROR, EXIT_NO, EXIT_UNSURE
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.cli.text import one_line, shortened

if TYPE_CHECKING:
    from loom.replay import Case, Judgement, Selection

__all__ = [
    "CoverageOption",
    "DecisionOption",
    "JournalNameOption",
    "RunOption",
    "SinceOption",
    "UntilOption",
    "judge",
    "selection_of",
    "too_little",
]

RunOption = Annotated[str | None, typer.Option("--run", "-r", help="Only decisions of this run.")]
JournalNameOption = Annotated[
    str | None, typer.Option("--of", metavar="TYPE/KEY", help="Only decisions of this actor's journal.")
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], help="Recorded at this time or later (UTC)."
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], help="Recorded before this time (UTC)."),
]
DecisionOption = Annotated[
    list[str] | None, typer.Option("--decision", "-d", help="This decision; may be given several times.")
]
CoverageOption = Annotated[
    float,
    typer.Option(
        "--min-coverage", metavar="PERCENT", min=0, max=100, help="Exit with 3 where fewer of 100 could be judged."
    ),
]


async def judge(
    shell: Shell,
    under: Annotated[
        str, typer.Option("--under", "-u", metavar="VERSION", help="The version to judge under.", show_default=False)
    ],
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Only decisions of this policy.")] = None,
    version: Annotated[str | None, typer.Option("--made-under", help="Only decisions made under this version.")] = None,
    run: RunOption = None,
    of: JournalNameOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    decision: DecisionOption = None,
    cases: Annotated[bool, typer.Option("--cases", help="List every case that did not stay as it was.")] = False,
    min_coverage: CoverageOption = 50,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the result as traces in a replay run.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who keeps it.")] = None,
) -> int | None:
    """Judge recorded decisions under another version of their policy: which would come out differently?

    Only the rule is run, on the facts as they were recorded. Exit code 1: something flips, or comes out differently
    under the very version it was made under. Exit code 3: nothing does, and too little could be judged to say so.
    """
    selection = selection_of(
        policy=policy, policy_version=version, run_id=run, journal=of, since=since, until=until, ids=decision
    )
    if keep:
        found = await _kept(shell, selection, under, by)
        listed: list[Case] = []
    else:
        found, listed = await _judged(shell, selection, under, listing=cases)
    if shell.json:
        document = found.model_dump(mode="json")
        shell.output.document(
            {
                **document,
                "coverage": found.coverage,
                **({"listed": [each._asdict() for each in listed]} if cases else {}),
            }
        )
    else:
        _print(shell, found, listed)
    if not found.cases:
        return EXIT_ERROR if decision or run else None
    if found.flipped or found.defects:
        return EXIT_NO
    return EXIT_UNSURE if too_little(shell, found.coverage, min_coverage) else None


def too_little(shell: Shell, coverage: float | None, min_coverage: float) -> bool:
    """Tell whether too few cases could be judged, and say so beside the answer."""
    if coverage is None or 100 * coverage >= min_coverage:
        return False
    shell.output.note(
        f"coverage is {coverage:.1%}, and at least {min_coverage:g} % was asked for (--min-coverage): "
        "that nothing flips says little"
    )
    return True


def selection_of(*, ids: list[str] | None, since: datetime | None, until: datetime | None, **given: Any) -> Selection:
    """Return the selection that options describe."""
    from loom.replay import Selection

    def utc(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment.replace(tzinfo=UTC)

    return Selection(ids=tuple(ids or ()), since=utc(since), until=utc(until), **given)


async def _judged(shell: Shell, selection: Selection, under: str, *, listing: bool) -> tuple[Judgement, list[Case]]:
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import replaying

    shell.allow_imports()
    async with open_readings(shell) as readings, replaying(readings, shell) as again:
        with shell.output.progress("judging again") as tell:
            found = await again.judge(selection, under=under, progress=tell)
        listed = []
        if listing:
            listed = [case async for case in again.cases(selection, under=under) if case.verdict != "unchanged"]
        return found, listed


async def _kept(shell: Shell, selection: Selection, under: str, by: str | None) -> Judgement:
    from loom.cli.acting import open_loom, over_socket
    from loom.identity import check_person
    from loom.journal.sqlite import WriterLock
    from loom.operations import Operations
    from loom.replay import Judgement

    arguments: dict[str, Any] = {"under": under, "selection": selection.plain(), "by": check_person(by)}
    place = shell.existing
    if WriterLock(place.files.lock).held():
        return Judgement.model_validate(await over_socket(place.files, "replay.keep", arguments, timeout_s=3_600))
    shell.allow_imports()
    async with open_loom(place, by=str(by)) as loom:
        return Judgement.model_validate(await Operations(loom).call("replay.keep", arguments))


def _print(shell: Shell, found: Judgement, listed: list[Case]) -> None:
    output = shell.output
    if not found.cases:
        output.say("No decisions match: nothing was judged.")
        return
    coverage = f"{found.coverage:.1%}" if found.coverage is not None else "-"
    made = ", ".join(f"{version} ({count:,})" for version, count in found.compared.items())
    output.say(f"{found.policy}: {found.cases:,} decisions judged again under {found.under}", style="bold")
    output.say(f"made under {made}", style="dim")
    rows = [["unchanged", f"{found.unchanged:,}"], ["flipped", f"{found.flipped:,}"]]
    rows += [["indeterminate then and now", f"{found.indeterminate:,}"]] if found.indeterminate else []
    rows += [
        [f"not replayable: {reason.replace('_', ' ')}", f"{count:,}"] for reason, count in found.not_replayable.items()
    ]
    rows.append(["coverage", coverage])
    output.table([Column("", "dim"), Column("", right=True)], rows, header=False)
    if found.transitions:
        short = shortened(each for transition in found.transitions for each in transition.examples)
        output.say()
        columns = [
            Column("was"),
            Column("would be"),
            Column("cases", right=True),
            Column("for example", "cyan", wide=True),
        ]
        output.table(
            columns,
            [
                [_words(each.old), _words(each.new), f"{each.cases:,}", ", ".join(short[one] for one in each.examples)]
                for each in found.transitions
            ],
        )
    if found.defects:
        output.say(
            f"{len(found.defects)} came out differently under the very version they were made under: run "
            "`loom policies audit` and `loom verify`",
            style="red",
        )
    if found.run_id is not None:
        output.say(f"kept as run {found.run_id}", style="green")
    if listed:
        _print_cases(shell, listed)


def _print_cases(shell: Shell, listed: list[Case]) -> None:
    short = shortened(each.decision_id for each in listed)
    columns = [
        Column("decision", "cyan"),
        Column("journal"),
        Column("was"),
        Column("would be"),
        Column("rule", wide=True),
    ]
    shell.output.say()
    shell.output.table(
        columns,
        [
            [
                short[each.decision_id], one_line(each.journal, 32), _words(each.old),
                _words(each.new) if each.new else f"({each.reason})",
                f"{each.old_rule or '-'} → {each.new_rule or '-'}",
            ]
            for each in listed
        ],
    )  # fmt: skip


def _words(label: str | None) -> str:
    return "-" if label is None else label.replace("_", " ").replace(":", ", ")
