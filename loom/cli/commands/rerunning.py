"""`loom replay run`: an actor's code under another version of its policy, fed from the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import EXIT_ERROR, EXIT_NO, EXIT_UNSURE
from loom.cli.commands.judging import (
    ByTimeOption,
    CoverageOption,
    DecisionOption,
    JournalNameOption,
    RunOption,
    SinceOption,
    UntilOption,
    selection_of,
)
from loom.cli.coverage import too_little
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import compact, one_line, shortened

if TYPE_CHECKING:
    from loom.replay import Rerun

__all__ = ["rerun"]


async def rerun(
    shell: Shell,
    under: Annotated[
        str, typer.Option("--under", "-u", metavar="VERSION", help="The version to run under.", show_default=False)
    ],
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Only decisions of this policy.")] = None,
    run: RunOption = None,
    of: JournalNameOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    by_time: ByTimeOption = "decided",
    decision: DecisionOption = None,
    min_coverage: CoverageOption = 50,
) -> int | None:
    """Run the actors' code again under another version: which decisions would come out differently?

    Look-ups, precedents and approvals come from the journal; nothing is fetched, performed or written. Code that
    reaches a step that was never recorded stops there. Exit code 1: a decision flips. Exit code 3: nothing flips, but
    too few decisions could be run to be sure.
    """
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import replaying

    shell.allow_imports()
    selection = selection_of(
        policy=policy, run_id=run, journal=of, since=since, until=until, ids=decision, by_time=by_time
    )
    async with open_readings(shell) as readings, replaying(readings, shell) as again:
        with shell.output.progress("running again") as tell:
            found = await again.run(selection, under=under, progress=tell)
    if shell.json:
        shell.output.document({**found.model_dump(mode="json"), "counts": found.counts, "coverage": found.coverage})
    else:
        _print(shell, found)
    if not found.cases:
        return EXIT_ERROR if decision or run else None
    if found.counts.get("flipped"):
        return EXIT_NO
    return EXIT_UNSURE if too_little(shell, found.coverage, min_coverage) else None


def _print(shell: Shell, found: Rerun) -> None:
    if not found.cases:
        shell.output.say("No decisions match: nothing was run.")
        return
    coverage = f"{found.coverage:.1%}" if found.coverage is not None else "-"
    shell.output.say(f"{found.policy}: {len(found.cases):,} decisions run again under {found.under}", style="bold")
    counts = ", ".join(f"{count:,} {verdict.replace('_', ' ')}" for verdict, count in sorted(found.counts.items()))
    shell.output.say(f"{counts}; coverage {coverage}")
    changed = [case for case in found.cases if case.verdict != "unchanged" or case.leftovers]
    if not changed:
        return
    short = shortened(case.decision_id for case in changed)
    columns = [
        Column("decision", "cyan"),
        Column("journal"),
        Column("was"),
        Column("would be"),
        Column("not reached any more", "dim", wide=True),
    ]
    rows = [
        [
            short[case.decision_id],
            one_line(case.journal, 32),
            _effect_and_outcome(case.old, case.old_outcome),
            _effect_and_outcome(case.new, case.new_outcome) if case.new_outcome is not None else f"({case.reason})",
            one_line(", ".join(case.leftovers) or "-"),
        ]
        for case in changed
    ]
    shell.output.say()
    shell.output.table(columns, rows)


def _effect_and_outcome(effect: str | None, outcome: object) -> str:
    return one_line(f"{(effect or '-').replace('_', ' ')}: {compact(outcome)}", 48)
