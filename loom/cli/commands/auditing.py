"""`loom policies audit`: does each decision name a known version, and does that version still give its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, EXIT_UNSURE, command
from loom.cli.commands.judging import (
    DecisionOption,
    JournalNameOption,
    OpenOption,
    RunOption,
    WhyOption,
    opening_of,
    selection_of,
)
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import one_line, shortened

if TYPE_CHECKING:
    from loom.replay import Selection
    from loom.replay.audit import Audit

__all__ = ["add_to"]

_SERIOUS = ("mismatch", "version_missing", "code_changed")
_SHOWN = 50
_CODES = {
    "no_rule": "no rule to judge by",
    "no_facts": "not confirmed: no facts recorded",
    "no_evaluation": "not confirmed: no evaluation recorded",
    "code_changed": "not confirmed: other code",
    "sealed": "not confirmed: facts are sealed",
    "erased": "not confirmed: facts are erased",
}


def add_to(group: typer.Typer) -> None:
    """Add the command to the group of policies."""
    command(group, "audit")(audit)


async def audit(
    shell: Shell,
    run: RunOption = None,
    of: JournalNameOption = None,
    decision: DecisionOption = None,
    opens: OpenOption = False,
    by: Annotated[str | None, typer.Option("--by", help="Who opens sealed data.")] = None,
    why: WhyOption = None,
) -> int | None:
    """Judge every decision again under its own version, and compare with what was recorded.

    Exit code 1: a version is missing, an evaluation differs, or a run mixes versions. Exit code 3: nothing contradicts
    the record, but only a part of it, or nothing, could be confirmed.

    Decisions on sealed facts cannot be confirmed, unless --open lets the running loom open them in memory for a reader
    whom the config names; that is journaled first.
    """
    selection = selection_of(
        run_id=run, journal=of, ids=decision, since=None, until=None, origin=None if run or decision else "any"
    )
    opening = opening_of(by, why, opens=opens)
    found = await (_audited_opened(shell, selection, opening) if opening else _audited(shell, selection))
    ends = {"sound": None, "not_sound": EXIT_NO, "unconfirmed": EXIT_UNSURE}[found.verdict]
    if shell.json:
        said = {"verdict": found.verdict, "sound": found.sound, "unconfirmed": found.unconfirmed}
        shell.output.document({**found.model_dump(mode="json"), **said})
        return ends if found.decisions else None
    if found.observed:
        many = f"{found.observed:,} observed {'decision' if found.observed == 1 else 'decisions'}"
        shell.output.say(f"{many} under no version, which is no fault: made before loom was there.", style="dim")
    if not found.decisions:
        shell.output.say("No decisions match: nothing was audited." if not found.observed else "No others match.")
        return None
    style = {"sound": "green", "not_sound": "red", "unconfirmed": "yellow"}[found.verdict]
    shell.output.say(f"{found.decisions:,} decisions: {_in_words(found)}", style=style)
    rows = [["confirmed", f"{found.confirmed:,}"]]
    rows += [[_CODES.get(code, code.replace("_", " ")), f"{count:,}"] for code, count in found.counts.items()]
    rows += [[f"run {run_id} mixes", ", ".join(versions)] for run_id, versions in found.mixed_runs.items()]
    shell.output.table([Column("", "dim"), Column("", right=True)], rows, header=False)
    serious = [each for each in found.findings if each.code in _SERIOUS]
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
                for each in serious[:_SHOWN]
            ],
        )
        total = sum(found.counts.get(code, 0) for code in _SERIOUS)
        if total > _SHOWN:
            shell.output.say(f"{min(len(serious), _SHOWN)} of {total:,} are listed", style="dim")
    return ends


async def _audited(shell: Shell, selection: Selection) -> Audit:
    from loom.cli.reading import loaded, open_readings
    from loom.extension import installed
    from loom.policies import AnyPolicy
    from loom.policies.registry import PolicyRegistry
    from loom.replay.audit import audit as audited
    from loom.replay.sealed import AsRecorded
    from loom.sealing import Erasures
    from loom.workspace import actors_of

    shell.allow_imports()
    async with open_readings(shell) as readings:
        registry = await loaded(PolicyRegistry(readings.reader))
        for policy in (each for extension in installed().values() for each in extension.policies):
            registry.attach(policy)
        for cls in actors_of(shell.settings.modules):
            if isinstance(cls.policy, AnyPolicy):
                registry.attach(cls.policy)
        sight = AsRecorded(await loaded(Erasures(readings.reader)))
        return await audited(readings.queries, registry, selection, sight=sight)


async def _audited_opened(shell: Shell, selection: Selection, opening: Mapping[str, str]) -> Audit:
    from loom.cli.acting import act_with_code
    from loom.replay.audit import Audit

    arguments: dict[str, Any] = {"selection": selection.plain(), **opening}
    found, _ = await act_with_code(shell, "policies.audit", arguments, by=opening["opened_by"])
    return Audit.model_validate(found)


def _in_words(found: Audit) -> str:
    """Print the result of an audit, and what it leaves open."""
    if found.verdict == "not_sound":
        return "NOT sound"
    if found.verdict == "sound":
        unjudged = found.counts.get("no_rule", 0)
        return "sound" + (f"; {unjudged:,} were decided without a rule and say nothing" if unjudged else "")
    if not found.confirmed:
        return "none could be confirmed; nothing was found against them"
    if found.unconfirmed:
        return f"{found.unconfirmed:,} could not be confirmed; nothing was found against them"
    return f"confirmed, and {found.left_out:,} rows of the views were left out, as the journal does not give them"
