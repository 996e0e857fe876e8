"""`loom replay judge`: what another version of a policy would have decided, case by case."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loom.cli.command import EXIT_ERROR, EXIT_NO, EXIT_UNSURE
from loom.cli.commands.against import AgainstAsked, judge_against
from loom.cli.coverage import too_little
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.cli.values import named_values
from loom.text import one_line, shortened

if TYPE_CHECKING:
    from loom.replay import Case, Judgement, Selection

__all__ = [
    "ByTimeOption",
    "CoverageOption",
    "DecisionOption",
    "JournalNameOption",
    "OpenOption",
    "RunOption",
    "SinceOption",
    "UntilOption",
    "WhyOption",
    "judge",
    "opening_of",
    "selection_of",
]

RunOption = Annotated[str | None, typer.Option("--run", "-r", help="Only decisions of this run.")]
JournalNameOption = Annotated[
    str | None, typer.Option("--of", metavar="TYPE/KEY", help="Only decisions of this actor's journal.")
]
ByTimeOption = Annotated[
    Literal["decided", "recorded"],
    typer.Option(
        "--by-time",
        help="Choose by when decisions were made (imported ones: as the source claims), or were recorded.",
    ),
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], help="Decided at this time or later (UTC)."
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], help="Decided before this time (UTC)."),
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

OpenOption = Annotated[
    bool, typer.Option("--open", help="Open sealed data, in memory, as --by, for the reason in --why.")
]
WhyOption = Annotated[str | None, typer.Option("--why", help="With --open: the reason for it.")]


def opening_of(by: str | None, why: str | None, *, opens: bool) -> dict[str, str]:
    """Return who opens sealed data and why, as operations take it; empty if it stays sealed."""
    if not opens:
        if why is not None:
            raise typer.BadParameter("expected --open: only opening sealed data takes a reason", param_hint="--why")
        return {}
    if not by or not why or not why.strip():
        raise typer.BadParameter(
            "sealed data is opened by a person, for a reason; expected --by and --why", param_hint="--open"
        )
    return {"opened_by": by, "opened_why": why}


async def judge(
    shell: Shell,
    under: Annotated[
        str | None,
        typer.Option("--under", "-u", metavar="VERSION", help="The version to judge under; else the one of each."),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option("--what-if", "-w", metavar="NAME=CHANGE", help="On other facts: percent=-10%, arr=+5, risk=low."),
    ] = None,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Only decisions of this policy.")] = None,
    version: Annotated[str | None, typer.Option("--made-under", help="Only decisions made under this version.")] = None,
    run: RunOption = None,
    of: JournalNameOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    by_time: ByTimeOption = "decided",
    decision: DecisionOption = None,
    cases: Annotated[bool, typer.Option("--cases", help="List every case that changed.")] = False,
    gaps: Annotated[
        bool,
        typer.Option("--gaps", help="Also say what holds for all possible values of the facts that were not recorded."),
    ] = False,
    against: Annotated[
        Literal["outcome"] | None, typer.Option("--against", help="Compare the rule with what was done.")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="NAME:VALUE=EFFECT", help="Which outcome means which effect: granted:true=allow."
        ),
    ] = None,
    per: Annotated[list[str] | None, typer.Option("--per", help="Split by month, or by decider.")] = None,
    weigh: Annotated[str | None, typer.Option("--weigh", metavar="FACT", help="Weigh the cases by this fact.")] = None,
    cell: Annotated[
        str | None, typer.Option("--cell", metavar="SAYS/DONE", help="List the cases of one cell: deny/allow.")
    ] = None,
    max_differing: Annotated[
        float,
        typer.Option("--max-differing", metavar="PERCENT", min=0, max=100, help="Exit with 1 where more differ."),
    ] = 0,
    min_coverage: CoverageOption = 50,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the result as traces in a replay run.")] = False,
    opens: OpenOption = False,
    by: Annotated[str | None, typer.Option("--by", help="Who keeps it, or opens sealed data.")] = None,
    why: WhyOption = None,
) -> int | None:
    """Judge recorded decisions under another version of their policy, or on other facts: which would flip?

    Only the rule is run, on the facts as they were recorded, changed as --what-if says: a value with a sign changes the
    recorded number by that amount, or by that percentage; any other value replaces it. Exit code 1: a decision flips,
    or its own version now gives another result. Exit code 3: nothing flips, but too few decisions could be judged to
    be sure.

    Decisions on sealed facts cannot be judged, unless --open lets the running loom open them in memory for a reader
    whom the config names; that is journaled first.

    With --against outcome: compare what the rule says with what was done, as --map says. Exit code 1: the share of
    differing cases, among those that can agree or differ, is above --max-differing.
    """
    changes = _changes(what_if) if what_if else None
    if under is None and changes is None and not gaps and against is None:
        raise typer.BadParameter(
            "expected a version or other facts: give --under, --what-if, --gaps or --against", param_hint="--under"
        )
    selection = selection_of(
        policy=policy,
        policy_version=version,
        run_id=run,
        journal=of,
        since=since,
        until=until,
        ids=decision,
        by_time=by_time,
    )
    opening = opening_of(by, why, opens=opens)
    if against is not None:
        _check_alone({"--keep": keep, "--what-if": changes is not None})
        given = AgainstAsked(under, maps, per or [], weigh, gaps, cell, cases, max_differing, min_coverage, opening)
        return await judge_against(shell, selection, given)
    _check_needs_against({"--map": maps, "--per": per, "--weigh": weigh, "--cell": cell})
    if keep:
        _check_alone({"--gaps": gaps}, "--keep")
        found = await _kept(shell, selection, under, changes, by, opening)
        listed: list[Case] = []
    elif opening:
        found, listed = await _judged_opened(shell, selection, under, changes, opening, listing=cases, gaps=gaps)
    else:
        found, listed = await _judged(shell, selection, under, changes, listing=cases, gaps=gaps)
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


def _check_alone(given: Mapping[str, bool], option: str = "--against") -> None:
    for name, is_given in given.items():
        if is_given:
            raise typer.BadParameter(f"[{option}] is given with [{name}]; expected one of them", param_hint=name)


def _check_needs_against(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if value:
            raise typer.BadParameter("expected --against outcome: only that comparison takes it", param_hint=name)


def selection_of(*, ids: list[str] | None, since: datetime | None, until: datetime | None, **given: Any) -> Selection:
    """Return the selection that options describe."""
    from loom.replay import Selection

    def utc(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment.replace(tzinfo=UTC)

    return Selection(ids=tuple(ids or ()), since=utc(since), until=utc(until), **given)


def _changes(what_if: list[str]) -> dict[str, Any]:
    """Return the other facts: with a sign in front a change of the recorded number, else a value."""
    from loom.replay.scenario import RELATIVE

    signed = {name: value for name, _, value in (each.partition("=") for each in what_if) if RELATIVE.match(value)}
    return {**named_values(what_if, option="--what-if"), **signed}


async def _judged(
    shell: Shell,
    selection: Selection,
    under: str | None,
    what_if: dict[str, Any] | None,
    *,
    listing: bool,
    gaps: bool,
) -> tuple[Judgement, list[Case]]:
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import replaying

    shell.allow_imports()
    async with open_readings(shell) as readings, replaying(readings, shell) as again:
        with shell.output.progress("judging again") as tell:
            found = await again.judge(selection, under=under, what_if=what_if, gaps=gaps, progress=tell)
        listed = []
        if listing:
            every = again.cases(selection, under=under, what_if=what_if, gaps=gaps)
            listed = [case async for case in every if case.verdict != "unchanged"]
        return found, listed


async def _judged_opened(
    shell: Shell,
    selection: Selection,
    under: str | None,
    what_if: dict[str, Any] | None,
    opening: Mapping[str, str],
    *,
    listing: bool,
    gaps: bool,
) -> tuple[Judgement, list[Case]]:
    from loom.cli.acting import act_with_code
    from loom.replay import Case, Judgement

    arguments: dict[str, Any] = {"selection": selection.plain(), "gaps": gaps, "listed": listing, **opening}
    arguments |= {name: given for name, given in (("under", under), ("what_if", what_if)) if given is not None}
    said: Any
    said, _ = await act_with_code(shell, "replay.judge", arguments, by=opening["opened_by"])
    return Judgement.model_validate(said["found"]), [Case(**each) for each in said["listed"]]


async def _kept(
    shell: Shell,
    selection: Selection,
    under: str | None,
    what_if: dict[str, Any] | None,
    by: str | None,
    opening: Mapping[str, str],
) -> Judgement:
    from loom.cli.acting import act_with_code
    from loom.identity import check_person
    from loom.replay import Judgement

    person = check_person(by)
    arguments: dict[str, Any] = {"selection": selection.plain(), "by": person, **opening}
    arguments |= {name: given for name, given in (("under", under), ("what_if", what_if)) if given is not None}
    kept, _ = await act_with_code(shell, "replay.keep", arguments, by=person)
    return Judgement.model_validate(kept)


def _print(shell: Shell, found: Judgement, listed: list[Case]) -> None:
    output = shell.output
    if not found.cases:
        output.say("No decisions match: nothing was judged.")
        return
    coverage = f"{found.coverage:.1%}" if found.coverage is not None else "-"
    made = ", ".join(f"{version} ({count:,})" for version, count in found.compared.items())
    output.say(f"{found.policy}: {found.cases:,} decisions judged again under {found.under}", style="bold")
    output.say(f"made under {made}", style="dim")
    if found.scenario is not None:
        changes: Any = found.scenario.get("what_if") or {}
        said = ", ".join(f"{name} {one_line(str(change), 40)}" for name, change in changes.items())
        untouched = f"; {found.untouched:,} have the facts they had" if found.untouched else ""
        output.say(f"what if: {said}{untouched}", style="cyan")
    rows = [["unchanged", f"{found.unchanged:,}"], ["flipped", f"{found.flipped:,}"]]
    rows += [["indeterminate then and now", f"{found.indeterminate:,}"]] if found.indeterminate else []
    rows += [["decided whatever is missing", f"{found.filled:,}"]] if found.gaps else []
    rows += [[f"open: {words}", f"{count:,}"] for words, count in found.open.items()]
    rows += [
        [f"not replayable: {reason.replace('_', ' ')}", f"{count:,}"]
        for reason, count in found.not_replayable.items()
        if reason not in ("open", "not_looked_at")
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
            f"{len(found.defects)} came out differently under the version they were made under: run "
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
                short[each.decision_id],
                one_line(each.journal, 32),
                _words(each.old),
                _words(each.new) if each.new else f"({each.reason})",
                f"{each.old_rule or '-'} → {each.new_rule or '-'}",
            ]
            for each in listed
        ],
    )


def _words(label: str | None) -> str:
    return "-" if label is None else label.replace("_", " ").replace(":", ", ")
