"""`loom run`: a loom that resumes its turns and answers the shell, or one command sent to an actor."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Output
from loom.cli.shell import Shell
from loom.text import as_json, one_line

__all__ = ["add_to"]

_FOR_EVER_S = 3e7
_MARGIN_S = 30.0


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "run", panel="Run")(run)


def run(
    shell: Shell,
    actor: Annotated[
        str | None, typer.Argument(metavar="[TYPE/KEY]", help="The actor to send one command to.", show_default=False)
    ] = None,
    command_type: Annotated[
        str | None, typer.Argument(metavar="[COMMAND]", help="The command, by its name.", show_default=False)
    ] = None,
    payload: Annotated[
        str, typer.Argument(metavar="[JSON]", help="Its fields; - reads them from stdin, @FILE from a file.")
    ] = "{}",
    once: Annotated[
        bool, typer.Option("--once", help="End when no turn is running any more; parked ones stay.")
    ] = False,
    standby: Annotated[
        bool,
        typer.Option("--standby", help="Wait until no other process runs the workspace, then take its place."),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", envvar="LOOM_BY", help="Who asks; by default the user of this machine.", show_default=False
        ),
    ] = None,
    command_id: Annotated[
        str | None, typer.Option("--id", help="The command's id: the same id again gives the recorded reply.")
    ] = None,
    patience_s: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Wait for the reply at most this many seconds.")
    ] = None,
    accept_loss: Annotated[
        str | None,
        typer.Option(
            "--accept-loss",
            metavar="NAME",
            help="Open a journal that is behind an anchor: who accepts that entries are gone.",
            show_default=False,
        ),
    ] = None,
) -> Coroutine[Any, Any, int | None]:
    """Run the loom of the config until it is interrupted, or send one command and print the reply.

    Without arguments: resume unfinished turns, take requests of the shell, end in order on SIGINT and SIGTERM.
    With TYPE/KEY COMMAND [JSON]: through the loom that runs, or by opening the workspace for as long as it takes.
    A command that waits for approval is left waiting, and the output names the approver.
    """
    if standby and (once or actor is not None):
        raise typer.BadParameter("is for a loom that runs until it is ended; expected neither --once nor a command")
    if actor is None:
        return _serve(shell, once=once, standby=standby, accept_loss=accept_loss)
    if command_type is None:
        raise typer.BadParameter("no command is named; expected [TYPE/KEY COMMAND JSON]: add it", param_hint="COMMAND")
    from loom.cli.serving import person

    arguments = {
        "journal": actor,
        "command_type": command_type,
        "id": command_id,
        "by": person(by),
        "timeout_s": patience_s,  # else anyone could grant their own request
    }
    return _send(shell, arguments, payload)


async def _serve(shell: Shell, *, once: bool, standby: bool, accept_loss: str | None) -> None:
    from loom.cli.serving import serve, settle, standing_by

    shell.allow_imports()
    if once:
        await settle(shell, accept_loss=accept_loss)
    else:
        await serve(shell, standby=standing_by(shell) if standby else None, accept_loss=accept_loss)


async def _send(shell: Shell, given: dict[str, Any], payload: str) -> int | None:
    """Send the command; if the wait is interrupted, say what happens to its turn."""
    import asyncio

    from loom.cli.acting import act_with_code
    from loom.cli.payload import read_payload
    from loom.identity import new_id

    fields = await read_payload(payload)
    arguments = {**given, "payload": fields, "id": given["id"] or new_id()}
    said: Any
    try:
        said, _ = await act_with_code(
            shell,
            "actors.send",
            arguments,
            by=given["by"],
            begins=True,
            resumes=given["id"] is not None,  # then it may be one that was interrupted
            timeout_s=(given["timeout_s"] or _FOR_EVER_S) + _MARGIN_S,
        )
    except asyncio.CancelledError:
        shell.output.note(await _what_becomes(shell, arguments["journal"], arguments["id"]))
        raise
    return _print(shell.output, said)


async def _what_becomes(shell: Shell, journal: str, command_id: str) -> str:
    """Return what happens to a command whose sender was interrupted, as far as its journal says."""
    from loom.cli.reading import open_journal
    from loom.errors import LoomError
    from loom.journal.kinds import ENDINGS
    from loom.journal.sqlite import WriterLock

    turn = f"turn {command_id} of {journal}"
    try:
        async with open_journal(shell) as reader:
            received = await reader.find_command(journal, command_id)
            entries = (
                []
                if received is None
                else [
                    each.kind
                    async for each in reader.read(journal, after=received.sequence)
                    if each.command_id == command_id
                ]
            )
    except LoomError as error:
        return f"interrupted; the status of {turn} cannot be read: {error}"
    again = f"the same command with --id {command_id} gives its reply"
    if received is None:
        return f"interrupted; {turn} was not accepted: nothing was done"
    if any(kind in ENDINGS for kind in entries):
        return f"interrupted; {turn} has ended: {again}"
    if WriterLock(shell.place.files.lock).held():
        return f"interrupted; {turn} goes on in the loom that runs: {again}"
    return f"interrupted; {turn} was cut short and goes on with the next `loom run`; {again}"


def _print(output: Output, said: dict[str, Any]) -> int | None:
    status, short_id = said["status"], said["command_id"][:12]
    if output.json:
        output.document(said)
    elif status == "completed":
        output.say(as_json(said["reply"]))
    elif status == "parked":
        output.say(f"turn {short_id} of {said['journal']} waits for approval:", style="bold")
        for each in said["approvals"]:
            output.say(f"  {each['approval_id'][:12]}  {one_line(each['approver'])}: {one_line(each['reason'])}")
            output.note(f"  loom approve {each['approval_id'][:12]} --by NAME")
        output.note(f"  the reply, later: the same command with --id {said['command_id']}")
    elif status == "running":
        output.say(f"turn {short_id} of {said['journal']} still runs")
        output.note(f"  the reply, later: the same command with --id {said['command_id']}")
    else:
        output.say(f"{status}: {one_line(said['error']['message'], 2_000)}", style="red")
    return EXIT_NO if status in ("failed", "abandoned", "stuck") else None
