"""`loom suggestions`: rules that exceptions suggest, what they would have changed, and what people decide on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, fields, listing
from loom.cli.shell import Shell
from loom.text import one_line, shortened

if TYPE_CHECKING:
    from loom.evolution import Suggestion

__all__ = ["add_to"]

_Id = Annotated[str, typer.Argument(metavar="ID", help="A suggestion, or how its id begins.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="List, show, look for, approve, adopt and reject suggestions.")
    command(group, "list", default=True)(suggestions)
    command(group, "show")(show)
    command(group, "look")(look)
    command(group, "approve")(approve)
    command(group, "adopt")(adopt)
    command(group, "reject")(reject)
    app.add_typer(group, name="suggestions", rich_help_panel="Answer")


async def suggestions(shell: Shell) -> None:
    """List what was suggested, newest first."""
    found = await _found(shell)
    nothing = "No suggestions: `loom suggestions look --by NAME` looks for some."
    listing(shell, found, lambda: _cells(found), nothing=nothing)


async def show(shell: Shell, suggestion_id: _Id) -> None:
    """Show a suggestion: the pattern, the rule, and what it would have changed."""
    [each] = await _found(shell, suggestion_id)
    if shell.json:
        shell.output.document(each.model_dump(mode="json"))
        return
    pattern, impact = each.pattern, each.impact
    shell.output.say(f"{each.policy}: a rule for what is granted anyway ({each.status})", style="bold")
    judged = f"{impact.cases:,} decisions, coverage {impact.coverage:.1%}" if impact.coverage is not None else "none"
    rows = [
        ("pattern", pattern.words()),
        ("reason", pattern.reason or "-"),
        ("granted", f"{pattern.occurrences:,} times, refused {pattern.refusals:,} times"),
        *((("left out", f"{pattern.unsaid:,} without a recorded result"),) if pattern.unsaid else ()),
        ("confidence", f"{pattern.confidence:.0%}"),
        ("seen", f"{pattern.first_seen.date()} to {pattern.last_seen.date()}"),
        ("new rule", each.rule),
        ("starts from", each.base[:12]),
        ("judged again", judged),
        *((f"would be {t.new}", f"{t.cases:,} that were {t.old}") for t in impact.transitions),
        *(
            ("rejected by" if each.status == "rejected" else "approved by", f"{each.identity}: {each.reason}")
            for _ in [0]
            if each.identity
        ),
        *(("adopted by", str(each.adopter)) for _ in [0] if each.adopter),
    ]
    fields(shell.output, rows)


async def look(
    shell: Shell,
    by: ByOption,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Only exceptions of this policy.")] = None,
) -> None:
    """Look for patterns among exceptions, and suggest rules for those that are worth one."""
    from loom.cli.acting import act
    from loom.evolution import Suggestion

    made, _ = await act(shell, "suggestions.look", {"policy": policy}, by=by)
    assert isinstance(made, list)  # noqa: S101 - suggestions as JSON
    new = [Suggestion.model_validate(each) for each in made]
    listing(shell, new, lambda: _cells(new), nothing="Nothing new that is worth a rule.")
    await _say_what_is_left(shell, policy)


async def _say_what_is_left(shell: Shell, policy: str | None) -> None:
    """Say which patterns are worth a rule that loom cannot write: those of policies that are code."""
    from loom.cli.reading import loaded, open_readings
    from loom.evolution.suggestions import left_to_people
    from loom.policies.registry import PolicyRegistry

    async with open_readings(shell) as readings:
        left = await left_to_people(readings.queries, await loaded(PolicyRegistry(readings.reader)))
    for pattern in left:
        if policy in (None, pattern.policy):
            shell.output.note(
                f"[{pattern.policy}] is a rule in Python, and loom writes tables, no code: {pattern.occurrences:,} of "
                f"its exceptions were granted and {pattern.refusals:,} refused where {pattern.words()}; write the "
                "rule, and `loom replay judge --under VERSION` measures it"
            )


async def approve(shell: Shell, suggestion_id: _Id, by: ByOption, reason: ReasonOption) -> None:
    """Make the rule a version that you propose; another person adopts it."""
    approved: Any = await _judged(shell, "suggestions.approve", suggestion_id, by, reason)
    if shell.json:
        shell.output.document(approved)
    else:
        shell.output.say(f"approved as {approved['version']} of {approved['name']}", style="green")
        shell.output.note(f"another person adopts it: loom suggestions adopt {suggestion_id} --by NAME -m WHY")


async def adopt(shell: Shell, suggestion_id: _Id, by: ByOption, reason: ReasonOption) -> None:
    """Let new turns pin a suggestion that another person has approved."""
    adopted: Any = await _judged(shell, "suggestions.adopt", suggestion_id, by, reason)
    shell.answer(adopted, f"adopted as {adopted['version']} of {adopted['name']}: new turns pin it", style="green")


async def reject(shell: Shell, suggestion_id: _Id, by: ByOption, reason: ReasonOption) -> None:
    """Reject it; it is suggested again when there are many more such exceptions."""
    rejected: Any = await _judged(shell, "suggestions.reject", suggestion_id, by, reason)
    shell.answer(rejected, f"rejected {rejected['suggestion_id']}")


async def _judged(shell: Shell, operation: str, suggestion_id: str, by: str, reason: str) -> object:
    from loom.cli.acting import act

    done, _ = await act(shell, operation, {"id": suggestion_id, "by": by, "reason": reason}, by=by)
    return done


async def _found(shell: Shell, suggestion_id: str | None = None) -> list[Suggestion]:
    """Return the suggestions in the journal, or the one that is meant."""
    from loom.cli.reading import open_journal
    from loom.evolution.suggestions import SuggestionsMade

    async with open_journal(shell) as reader:
        made = SuggestionsMade(reader)
        return await made.find() if suggestion_id is None else [await made.get(suggestion_id)]


def _cells(found: list[Suggestion]) -> list[Cell[Suggestion]]:
    short = shortened(each.suggestion_id for each in found)
    return [
        cell("id", lambda each: short[each.suggestion_id], "cyan"),
        cell("policy", lambda each: each.policy),
        cell("status", lambda each: each.status),
        cell("granted", lambda each: f"{each.pattern.occurrences:,}", right=True),
        cell("refused", lambda each: f"{each.pattern.refusals:,}", right=True),
        cell("flips", lambda each: f"{each.impact.flipped:,}", right=True),
        cell("pattern", lambda each: one_line(each.pattern.words()), wide=True),
    ]
