"""`loom serve` and `loom keys`: the API, and who may use it."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands import signing_keys
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import cell, listing
from loom.cli.shell import Shell
from loom.identity import Access

if TYPE_CHECKING:
    from loom.journal.standby import OnActive
    from loom.runtime import Loom

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "serve", panel="Wings")(serve)
    group = typer.Typer(cls=Sections, help="Add and revoke keys of the API, and keys that sign.")
    command(group, "list", default=True)(keys)
    command(group, "add")(add)
    command(group, "revoke")(revoke)
    signing_keys.add_to(group)
    app.add_typer(group, name="keys", rich_help_panel="Wings")


async def serve(
    shell: Shell,
    host: Annotated[
        str | None, typer.Option("--host", help="The address to listen on; by default the loopback.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="The port; 0 takes a free one.")] = None,
    standby: Annotated[
        bool,
        typer.Option("--standby", help="Wait until no other process runs a workspace, then take its place and listen."),
    ] = False,
) -> None:
    """Serve the API until SIGINT or SIGTERM; running requests are answered before it ends."""
    from loom.cli.serving import person, standing_by
    from loom.cli.web_serving import serve_workspaces
    from loom.telemetry import configure_logging
    from loom.web.config import WebConfig

    shell.allow_imports()
    section = shell.settings.sections.get("web")
    config = section if isinstance(section, WebConfig) else WebConfig()
    names = config.workspaces or (shell.place.name,)

    def listening(at: str, on: int) -> None:
        if shell.json:
            shell.output.line({"event": "listening", "host": at, "port": on, "workspaces": list(names)})
        else:
            shell.output.say(f"listening on http://{at}:{on} for [{', '.join(names)}]", style="bold")
            shell.output.say(
                "  sign in there with a key: `loom keys add NAME --role approver --by YOU` makes one", style="dim"
            )
            shell.output.say("  Ctrl-C ends it, once running requests are answered", style="dim")
        sys.stdout.flush()

    on_active = standing_by(shell) if standby else None
    logging = shell.settings.logging
    configure_logging(level="debug" if shell.debug else logging.level, format=logging.format)
    await serve_workspaces(
        {name: partial(_open, shell, name, person(None), on_active) for name in names},
        config,
        host=host,
        port=port,
        listening=listening,
        waits=standby,
    )
    shell.output.note("ended")


def _open(shell: Shell, name: str, by: str, standby: OnActive | None) -> Loom:
    from loom.cli.acting import open_loom
    from loom.cli.web_serving import served_extensions
    from loom.workspace import locate

    place = shell.place if name == shell.place.name else locate(shell.settings, workspace=name)
    return open_loom(place, by=by, resume=True, extensions=served_extensions(), standby=standby)


async def keys(shell: Shell) -> None:
    """List the keys of the workspace."""
    from loom.cli.reading import loaded, open_journal
    from loom.web.keys import Keys

    async with open_journal(shell) as reader:
        known = await loaded(Keys(reader))
    listing(
        shell,
        known.all(),
        lambda: (
            cell("id", lambda each: each.key_id),
            cell("whose", lambda each: each.name),
            cell("role", lambda each: each.role),
            cell("", lambda each: "revoked" if each.revoked else ""),
        ),
        nothing="No keys: `loom keys add NAME --role reader --by YOU` adds one.",
    )


async def add(
    shell: Shell,
    name: Annotated[str, typer.Argument(help="Whose key it is: approvals are answered in this name.")],
    role: Annotated[Access, typer.Option("--role", help="What it may do.")],
    by: ByOption,
) -> None:
    """Add a key for a person; it is shown only this once."""
    begins = not shell.place.files.exists()
    said = await _act(shell, "issue", {"name": name, "role": role, "by": by}, by, begins=True)
    if shell.json:
        shell.output.document(said)
    else:
        if begins:
            shell.output.note(f"began workspace {shell.place.name} in {shell.place.files.directory}")
        shell.output.say(f"{said['key']}")
        shell.output.note(f"the key of {name}, {role}; it is shown only this once, and only its hash is kept")


async def revoke(
    shell: Shell,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a key.")],
    by: ByOption,
    reason: ReasonOption,
) -> None:
    """Revoke a key, at once."""
    said = await _act(shell, "revoke", {"key_id": key_id, "by": by, "reason": reason}, by)
    shell.answer(said, f"key {said['key_id']} is revoked")


async def _act(shell: Shell, word: str, arguments: dict[str, Any], by: str, *, begins: bool = False) -> Any:
    from loom.cli.acting import act
    from loom.web.extension import extension

    said, _ = await act(shell, f"web.{word}", arguments, by=by, extensions=(extension,), begins=begins)
    return said
