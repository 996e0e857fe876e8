"""`loom approvals`, `loom approve`, `loom deny`: what people are asked for, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.helping import WithDefault
from loom.cli.listing import Cell, cell, fields, listing
from loom.cli.output import ROOMY, Output
from loom.cli.shell import Shell
from loom.cli.values import text_values
from loom.text import age, compact, moment, named, one_line, who

if TYPE_CHECKING:
    from loom.decisions import Approval

__all__ = ["ByOption", "ReasonOption", "add_to"]

ByOption = Annotated[
    str,
    typer.Option(
        "--by", envvar="LOOM_BY", help="Who you are: your answer is journaled in this name.", show_default=False
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why.", show_default=False)]
_ApprovalId = Annotated[
    str, typer.Argument(metavar="ID", help="A request, or how its id begins: see `loom approvals`.", show_default=False)
]
_Distinguished = Annotated[
    str | None,
    typer.Option("--distinguished", metavar="BECAUSE", help="Why the case differs from earlier ones of its class."),
]
_STYLES = {"granted": "green", "denied": "red", "pending": "bold", "sent_back": "yellow", "moot": "dim"}
_SOON_S = 3_600


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=WithDefault, help="List what people are asked for; send a request back, or inform.")
    command(group, "list")(approvals)
    command(group, "send-back")(send_back)
    command(group, "inform")(inform)
    app.add_typer(group, name="approvals", rich_help_panel="Answer")
    command(app, "approve", panel="Answer")(approve)
    command(app, "deny", panel="Answer")(deny)


async def approvals(
    shell: Shell,
    approval_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Show one request, with all that happened to it.", show_default=False),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Also answered ones, newest first.")] = False,
    approver: Annotated[str | None, typer.Option(help="Only requests to this approver.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")] = 100,
    opens: Annotated[
        bool, typer.Option("--open", help="Of one request: open what is sealed, as --by. It is journaled first.")
    ] = False,
    by: Annotated[
        str | None, typer.Option("--by", envvar="LOOM_BY", help="With --open: who you are.", show_default=False)
    ] = None,
) -> None:
    """List the requests that wait for approval, oldest first, or show one request.

    What is sealed in a request is opened for the person whom it names, or a reader, by the account.
    """
    if opens:
        found: tuple[Approval, ...] = (await _opened(shell, approval_id, by),)
    else:
        found = await _found(shell, approval_id, approver, every=all, limit=limit)
    _print(shell, found, approval_id, approver, every=all)


def _print(
    shell: Shell, found: tuple[Approval, ...], approval_id: str | None, approver: str | None, *, every: bool
) -> None:
    if approval_id is None:
        nothing = f"No {'' if every else 'pending '}approvals{f' of {approver}' if approver else ''}."
        listing(shell, found, lambda: _cells(shell.output, with_status=every), nothing=nothing)
    elif shell.json:
        shell.output.document(found[0].model_dump(mode="json"))
    else:
        _print_one(shell.output, found[0])


async def _opened(shell: Shell, approval_id: str | None, by: str | None) -> Approval:
    from loom.cli.acting import act
    from loom.decisions import Approval

    if approval_id is None or by is None:
        raise typer.BadParameter("what is sealed is opened of one request, for a person; expected ID and --by")
    said, _ = await act(shell, "approvals.show", {"id": approval_id, "by": by}, by=by)
    return Approval.model_validate(said)


async def _found(
    shell: Shell, approval_id: str | None, approver: str | None, *, every: bool, limit: int
) -> tuple[Approval, ...]:
    """Return requests from the journal; an account that cannot read it asks the loom that runs."""
    import os

    from loom.cli.reading import open_readings

    if not os.access(shell.existing.files.journal, os.R_OK):
        from loom.decisions import Approval
        from loom.journal.control import control_call

        given: dict[str, Any] = {"id": approval_id, "every": every, "approver": approver, "limit": limit}
        listed: Any = await control_call(shell.existing.files.lock, "approvals.list", given)
        return tuple(Approval.model_validate(each) for each in listed)
    async with open_readings(shell) as readings:
        if approval_id is not None:
            return (await readings.approvals.get(approval_id),)
        if every:
            return await readings.approvals.list(approver=approver, limit=limit)
        return await readings.approvals.pending(approver, limit=limit)


async def approve(
    shell: Shell,
    approval_id: _ApprovalId,
    by: ByOption,
    comment: Annotated[str | None, typer.Option("--comment", "-m", help="A comment on your answer.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Grant another value, within the bounds of the request."),
    ] = None,
    distinguished: _Distinguished = None,
) -> None:
    """Grant a request, in your own name. You may not grant what you asked for yourself."""
    given: dict[str, Any] = {"id": approval_id, "by": by, "comment": comment}
    if values:
        given["set"] = text_values(values, option="--set")
    await _answer(shell, "approvals.grant", given | _distinguishing(distinguished))


async def deny(
    shell: Shell,
    approval_id: _ApprovalId,
    by: ByOption,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why not.", show_default=False)],
    distinguished: _Distinguished = None,
) -> None:
    """Deny a request, in your own name, and say why."""
    given: dict[str, Any] = {"id": approval_id, "by": by, "comment": comment}
    await _answer(shell, "approvals.deny", given | _distinguishing(distinguished))


async def send_back(
    shell: Shell,
    approval_id: _ApprovalId,
    by: ByOption,
    question: Annotated[str, typer.Option("--question", "-m", help="What you have to know.", show_default=False)],
) -> None:
    """Send a request back with a question, in your own name; its deadline holds."""
    await _answer(shell, "approvals.send_back", {"id": approval_id, "by": by, "question": question})


async def inform(
    shell: Shell,
    approval_id: _ApprovalId,
    by: ByOption,
    information: Annotated[str, typer.Option("--information", "-m", help="The answer.", show_default=False)],
) -> None:
    """Answer the question with which a request was sent back; it goes to the approver again."""
    await _answer(shell, "approvals.inform", {"id": approval_id, "by": by, "information": information})


def _distinguishing(because: str | None) -> dict[str, Any]:
    """Return the argument, where it is given: a loom of an earlier version does not know it."""
    return {} if because is None else {"distinguished": because}


async def _answer(shell: Shell, operation: str, arguments: dict[str, Any]) -> None:
    from loom.cli.acting import act

    answered, by_a_running_loom = await act(shell, operation, arguments, by=arguments["by"])
    assert isinstance(answered, dict)  # noqa: S101 - an approval as JSON
    if shell.json:
        shell.output.document(answered)
        return
    status = str(answered["status"])
    _say_answer(shell.output, answered, status)
    if not by_a_running_loom:
        shell.output.note("no loom runs here: the turn continues with the next `loom run`")


def _say_answer(output: Output, answered: dict[str, Any], status: str) -> None:
    said = f"{status} {str(answered['approval_id'])[:12]}"
    if status == "pending":
        event = answered["events"][-1]
        did = "waits for information" if answered.get("question") else "waits for the approver"
        if event["event"] in ("granted", "denied"):
            did = "waits for another person"
        output.say(f"{said}: {str(event['event']).replace('_', ' ')} by {named(event)}; {did}", style="yellow")
        return
    changes = answered.get("changes") or {}
    changed = f" with {compact(changes)}" if changes else ""
    output.say(
        f"{said}{changed} by {named(answered, 'answered_by')}: {answered['journal']}", style=_STYLES.get(status, "")
    )


def _cells(output: Output, *, with_status: bool) -> list[Cell[Approval]]:
    from rich.text import Text

    from loom.clock import SystemClock

    now_us = SystemClock().now_us()

    def left(each: Approval) -> Text:
        left_s = each.left_s(now_us)
        return Text("-" if left_s is None else age(left_s), "red" if left_s is not None and left_s < _SOON_S else "")

    more: list[Cell[Approval]] = [
        cell("by", lambda each: who(each.requester)),
        cell("actor", lambda each: one_line(each.journal, 32)),
    ]
    return [
        cell("id", lambda each: each.approval_id[:12], "cyan"),
        cell("asked of", lambda each: one_line(each.approver, 24)),
        cell("waited" if with_status else "waiting", lambda each: age(each.waiting_s(now_us)), right=True),
        cell("status", lambda each: Text(each.status, style=_STYLES[each.status]))
        if with_status
        else cell("left", left, right=True),
        *(more if output.width >= ROOMY else ()),
        cell("reason", lambda each: one_line(each.reason), wide=True, wraps=True),
    ]


def _effect(each: Approval) -> list[tuple[str, str]]:
    """Return the effect that is to be approved, with the arguments that the answer binds."""
    return [] if each.action is None else [("to do", f"{one_line(each.action)} {compact(each.arguments or {})}")]


def _print_one(output: Output, each: Approval) -> None:
    from loom.clock import SystemClock

    now_us = SystemClock().now_us()
    output.say(f"{each.status} {each.approval_id}", style=_STYLES[each.status])
    said = [
        ("asked of", each.approver),
        ("asked by", f"{each.requester or 'unnamed'}, in {each.journal}"),
        *([("needs", each.missing if each.pending else f"{each.quorum} persons")] if each.quorum > 1 else []),
        ("reason", one_line(each.reason)),
        *_effect(each),
        ("facts", compact(each.facts or {})),
        *[("may change", f"{field.name}: {field.bounds}") for field in each.adjustable],
        *([("question", one_line(each.question))] if each.question else []),
        *([("information", one_line(each.information))] if each.information else []),
        ("rule", "-" if each.evaluation is None else f"{each.evaluation.rule}: {one_line(each.evaluation.why)}"),
        ("waiting" if each.pending else "waited", age(each.waiting_s(now_us))),
        ("deadline", "-" if each.deadline is None else f"{moment(each.deadline)}, then {each.on_deadline}"),
    ]
    fields(output, said)
    for event in each.events:
        by = f" by {event.identity if event.event != 'escalated' else event.by}" if event.by else ""
        comment = f": “{one_line(event.comment)}”" if event.comment else ""
        late = "" if event.counts else " (too late to count)"
        changed = f" with {compact(event.changes)}" if event.changes else ""
        because = f"; distinguished because “{one_line(event.distinguished)}”" if event.distinguished else ""
        what = event.event.replace("_", " ")
        by += f" ({one_line(event.capacity)})" if event.capacity else ""
        output.say(f"  {moment(event.at)}  {what}{changed}{by}{comment}{because}{late}", style="dim")
    if each.pending:
        output.note(
            f"loom approve {each.approval_id[:12]} --by NAME   or   loom deny {each.approval_id[:12]} --by NAME -m WHY"
        )
