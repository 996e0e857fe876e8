"""`loom policies audit`: does every decision name a version that there is, and does that version still say so."""

from __future__ import annotations

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.judging import DecisionOption, JournalNameOption, RunOption, selection_of
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.cli.text import one_line, shortened

__all__ = ["add_to"]


def add_to(group: typer.Typer) -> None:
    """Add the command to the group of policies."""
    command(group, "audit")(audit)


async def audit(
    shell: Shell, run: RunOption = None, of: JournalNameOption = None, decision: DecisionOption = None
) -> int | None:
    """Judge every decision again under its own version, and compare with what was recorded.

    Exit code 1: a version is missing, an evaluation does not come out again, or a run mixes versions.
    """
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import registry_of
    from loom.replay.audit import audit as audited
    from loom.workspace import actors_of

    shell.allow_imports()
    selection = selection_of(
        run_id=run, journal=of, ids=decision, since=None, until=None, origin=None if run or decision else "any"
    )
    async with open_readings(shell) as readings:
        registry = await registry_of(readings.reader)
        for cls in actors_of(shell.settings.modules):
            if cls.policy is not None:
                registry.attach(cls.policy)
        found = await audited(readings.queries, registry, selection)
    if shell.json:
        shell.output.document({**found.model_dump(mode="json"), "sound": found.sound})
        return None if found.sound else EXIT_NO
    if not found.decisions:
        shell.output.say("No decisions match: nothing was audited.")
        return None
    words = "sound" if found.sound else "NOT sound"
    shell.output.say(f"{found.decisions:,} decisions: {words}", style="green" if found.sound else "red")
    rows = [["confirmed", f"{found.confirmed:,}"]]
    rows += [[code.replace("_", " "), f"{count:,}"] for code, count in found.counts.items()]
    rows += [[f"run {run_id} mixes", ", ".join(versions)] for run_id, versions in found.mixed_runs.items()]
    shell.output.table([Column("", "dim"), Column("", right=True)], rows, header=False)
    serious = [each for each in found.findings if each.code in ("mismatch", "version_missing", "code_changed")]
    if serious:
        short = shortened(each.decision_id for each in serious)
        columns = [
            Column("decision", "cyan"),
            Column("journal"),
            Column("version"),
            Column("finding", "red"),
            Column("", wide=True),
        ]
        shell.output.table(
            columns,
            [
                [short[each.decision_id], one_line(each.journal, 32), each.version, each.code, one_line(each.detail)]
                for each in serious[:50]
            ],
        )
    return None if found.sound else EXIT_NO
