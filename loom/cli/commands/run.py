"""`loom run`: a loom that resumes its turns and answers the shell, or one command sent to an actor."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Output
from loom.cli.shell import Shell
from loom.cli.text import as_json, one_line

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
    by: Annotated[
        str | None,
        typer.Option(
            "--by", envvar="LOOM_BY", help="Who asks; by default the user of this machine.", show_default=False
        ),
    ] = None,
    command_id: Annotated[
        str | None, typer.Option("--id", help="The command's id: the same one again gives the recorded reply.")
    ] = None,
    patience_s: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Wait for the reply so many seconds at most.")
    ] = None,
) -> Coroutine[Any, Any, int | None]:
    """Run the loom of the config until it is interrupted, or send one command and print the reply.

    Without arguments: resume unfinished turns, take requests of the shell, end well on SIGINT and SIGTERM.
    With TYPE/KEY COMMAND [JSON]: through the loom that runs, or by opening the workspace for as long as it takes.
    A command that waits for somebody's consent is left waiting, and says for whom.
    """
    if actor is None:
        return _serve(shell, once=once)
    if command_type is None:
        raise typer.BadParameter("no command is named; expected [TYPE/KEY COMMAND JSON]: add it", param_hint="COMMAND")
    from loom.cli.serving import person

    arguments = {
        "journal": actor, "command_type": command_type, "payload": _payload(payload), "id": command_id,
        "by": person(by), "timeout_s": patience_s,  # somebody asks, or else anybody could grant it to themselves
    }  # fmt: skip
    return _send(shell, arguments)


async def _serve(shell: Shell, *, once: bool) -> None:
    from loom.cli.serving import serve, settle

    shell.allow_imports()
    await (settle(shell) if once else serve(shell))


def _payload(text: str) -> dict[str, Any]:
    from loom.errors import AdmissionError
    from loom.journal.admission import parse_json

    try:
        source = (
            sys.stdin.read() if text == "-" else Path(text[1:]).read_text(encoding="utf-8") if text[:1] == "@" else text
        )
        value = parse_json(source)
    except (AdmissionError, OSError, UnicodeError) as error:
        raise typer.BadParameter(f"{error}", param_hint="JSON") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(
            f"[{one_line(text, 60)}] is no object; expected [{{…}}]: write its fields", param_hint="JSON"
        )
    return value


async def _send(shell: Shell, arguments: dict[str, Any]) -> int | None:
    """Send the command through the loom that runs, or through one that is opened for it."""
    from loom.cli.acting import open_loom, over_socket
    from loom.cli.serving import person
    from loom.journal.sqlite import WriterLock
    from loom.operations import Operations

    files = shell.place.files
    if WriterLock(files.lock).held():
        patience_s = (arguments["timeout_s"] or _FOR_EVER_S) + _MARGIN_S
        said: Any = await over_socket(files, "actors.send", arguments, timeout_s=patience_s)
        return _print(shell.output, said)
    shell.allow_imports()
    async with open_loom(shell.place, by=person(arguments["by"])) as loom:
        # With an id, the command may be one that was cut short: its actor resumes what it has, and no other does.
        loom.actors.resumes = arguments["id"] is not None
        said = await Operations(loom).call("actors.send", arguments)
    return _print(shell.output, said)


def _print(output: Output, said: dict[str, Any]) -> int | None:
    status, short_id = said["status"], said["command_id"][:12]
    if output.json:
        output.document(said)
    elif status == "completed":
        output.say(as_json(said["reply"]))
    elif status == "parked":
        output.say(f"turn {short_id} of {said['journal']} waits for consent:", style="bold")
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
