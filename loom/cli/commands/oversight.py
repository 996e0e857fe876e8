"""`loom oversight`: whether people look at what they answer, and blind second looks at decided cases."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.commands.judging import SinceOption
from loom.cli.helping import Sections
from loom.cli.listing import fields
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import age, compact, one_line

if TYPE_CHECKING:
    from loom.people.oversight import OversightReport
    from loom.people.oversight_figures import PersonOversight

__all__ = ["add_to"]

_LookId = Annotated[str, typer.Argument(metavar="ID", help="A case, or how its id begins: see `loom oversight looks`.")]
_LEGEND = (
    "median: from the request to the answer. quick: less than 5 s for it, since the request and the answer before. "
    "overturned: reported as wrong later, or answered otherwise by another person in the same class. "
    "bursts: answers that came five or more in a minute."
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Tell whether people look at what they answer.")
    command(group, "report", default=True)(report)
    command(group, "sample")(sample)
    command(group, "looks")(looks)
    command(group, "answer")(answer)
    app.add_typer(group, name="oversight", rich_help_panel="Answer")


async def report(shell: Shell, since: SinceOption = None) -> int | None:
    """Show how each person answers: how many, how fast, how it went, what came of it, and what stands out.

    The policy `oversight` says what stands out. Nothing follows from it: a person draws the conclusions. Exit code 1:
    the answers of a person stand out.
    """
    from loom.cli.reading import loaded, open_readings
    from loom.people.oversight import Oversight
    from loom.policies.registry import PolicyRegistry

    begin = None if since is None else since.replace(tzinfo=UTC)
    async with open_readings(shell) as readings:
        policies = await loaded(PolicyRegistry(readings.reader))
        asked = Oversight(readings.queries, policies, readings.approvals, readings.reader, by="shell")
        found = await asked.report(since=begin)
    if shell.json:
        shell.output.document(found.model_dump(mode="json"))
    elif not found.answers:
        shell.output.say("No person has answered a request.")
    else:
        _print(shell, found)
    return EXIT_NO if any(_stands_out(each) for each in found.people) else None


async def sample(
    shell: Shell,
    by: ByOption,
    share: Annotated[float, typer.Option("--share", min=0.0001, max=1.0, help="Which share of the answers.")] = 0.02,
) -> None:
    """Draw answered cases for a blind second look by another person.

    The hashes of the answers' entries say which: no person chooses them, and the same share draws nothing twice.
    """
    said: Any = await _act(shell, "sample", {"share": share, "by": by}, by)
    shell.answer(
        said, f"{said['new']} cases drawn, {said['drawn']} in all, of {said['answers']} answers: `loom oversight looks`"
    )


async def looks(
    shell: Shell,
    look_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show one case.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most this many.")] = 50,
) -> None:
    """List the cases that wait for a second answer, without how they were answered, or show one."""
    from loom.cli.reading import loaded, open_readings
    from loom.people.oversight import Oversight
    from loom.policies.registry import PolicyRegistry

    async with open_readings(shell) as readings:
        policies = await loaded(PolicyRegistry(readings.reader))
        asked = Oversight(readings.queries, policies, readings.approvals, readings.reader, by="shell")
        found = await asked.looks(limit=limit) if look_id is None else (await asked.look(look_id),)
    if shell.json:
        plain = [each.model_dump(mode="json") for each in found]
        shell.output.document(plain if look_id is None else plain[0])
    elif look_id is not None:
        case = found[0]
        said = case.evaluation
        fields(
            shell.output,
            [
                ("case", case.look_id[:12]),
                ("asked of", one_line(case.role, 80)),
                ("reason", one_line(case.reason, 400)),
                ("facts", "-" if case.facts is None else compact(case.facts, 400)),
                ("the rule says", "-" if said is None else one_line(f"{said.rule}: {said.why}", 400)),
                ("effect", one_line(f"{case.action} {compact(case.arguments or {})}", 400) if case.action else "-"),
            ],
        )
        shell.output.note("`loom oversight answer ID --grant` or `--deny` answers it a second time")
    elif not found:
        shell.output.say("No case waits for a second look: `loom oversight sample --by YOU` draws some.")
    else:
        rows = [(each.look_id[:12], one_line(each.role, 30), one_line(each.reason, 200)) for each in found]
        shell.output.table([Column("id", "cyan"), Column("asked of"), Column("reason", wide=True)], rows)


async def answer(
    shell: Shell,
    look_id: _LookId,
    by: ByOption,
    grant: Annotated[bool, typer.Option("--grant/--deny", help="How you would have answered.", show_default=False)],
    comment: Annotated[str | None, typer.Option("--comment", "-m", help="Why.", show_default=False)] = None,
) -> None:
    """Answer a decided case a second time; it changes nothing of the case."""
    given = {"id": look_id, "granted": grant, "by": by, "comment": comment}
    said: Any = await _act(shell, "answer", given, by)
    agrees = "agrees with" if said["agrees"] else "differs from"
    shell.answer(said, f"your answer is kept; it {agrees} the first one")


def _print(shell: Shell, found: OversightReport) -> None:
    output = shell.output
    columns = [
        Column("person", "cyan", wide=True),
        Column("role"),
        *(Column(name, right=True) for name in ("answers", "median", "quick", "denied", "changed", "over-", "bursts")),
        Column("stands out", "red"),
    ]
    rows = [[*_cells(each), _standing_out(each)] for each in found.people]
    several = {each.person for each in found.by_role if each.answers < _answers_of(found, each.person)}
    rows += [[*_cells(each), ""] for each in found.by_role if each.person in several]
    output.table(columns, rows)
    for each in found.people:
        if _stands_out(each) and each.stands_out is not None:
            output.say(f"{one_line(each.person, 60)}: {one_line(each.stands_out.why, 400)}", style="red")
    late = [f"{one_line(each.role, 40)} {each.expired:,}" for each in found.roles if each.expired]
    if late:
        output.say(f"Not answered in time: {', '.join(late)}")
    if found.looks_answered or found.looks_open:
        output.say(
            f"Blind second looks: {found.looks_agree:,} of {found.looks_answered:,} agree, {found.looks_open:,} open"
        )
    output.say(_LEGEND, style="dim")
    older = "" if found.whole else "; there are older answers"
    output.note(f"{found.answers:,} answers, judged by {found.judged_version}{older}")


def _answers_of(found: OversightReport, person: str) -> int:
    return next(each.answers for each in found.people if each.person == person)


def _cells(each: PersonOversight) -> list[str]:
    source = "" if each.sources == () else f" ({', '.join(each.sources)})"
    return [
        one_line(f"{each.person}{source}", 50),
        one_line(each.role or "all", 30),
        f"{each.answers:,}",
        "-" if each.median_s is None else age(each.median_s),
        _share(each.share_under_5_s),
        _share(each.denied_share),
        f"{each.changed:,}",
        _share(each.overturned_share),
        f"{each.in_bursts:,}",
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _stands_out(each: PersonOversight) -> bool:
    return each.stands_out is not None and each.stands_out.needs_approval


def _standing_out(each: PersonOversight) -> str:
    return each.stands_out.rule.replace("_", " ") if each.stands_out is not None and _stands_out(each) else ""


async def _act(shell: Shell, word: str, arguments: dict[str, Any], by: str) -> Any:
    from loom.cli.acting import act

    said, _ = await act(shell, f"oversight.{word}", arguments, by=by)
    return said
