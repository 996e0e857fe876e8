"""`loom witness`: a small witness, which signs no log that forks or shrinks. It needs no journal and no config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.helping import Sections
from loom.cli.shell import Shell

__all__ = ["add_to"]

_Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="Where its key and its memory are.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Witness the checkpoints of other people's journals.")
    command(group, "new")(new)
    command(group, "add")(add)
    command(group, "show")(show)
    command(group, "serve")(serve)
    app.add_typer(group, name="witness", rich_help_panel="Check")


def new(
    shell: Shell,
    directory: _Directory,
    name: Annotated[str, typer.Option("--name", help="Its name, as example.org/witness.", show_default=False)],
) -> None:
    """Make a witness, and print its key: logs name it in `checkpoints.witnesses`."""
    from loom.proof.witness import Witness

    made = Witness.create(directory, name)
    shell.answer({"key": str(made.key)}, str(made.key))


def add(
    shell: Shell,
    directory: _Directory,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of a log, as `loom keys signing` prints it.")],
) -> None:
    """Take checkpoints of a log from now on, signed by this key; repeat it for a key that takes its place."""
    from loom.proof.notes import VerifyingKey
    from loom.proof.witness import Witness

    given = VerifyingKey.parse(key)
    Witness(directory).add_log(given)
    shell.answer({"log": given.name}, f"takes checkpoints of {given.name}")


def show(shell: Shell, directory: _Directory) -> None:
    """Print its key, and how many entries of each log it has seen."""
    from loom.proof.witness import Witness

    witness = Witness(directory)
    seen = witness.seen()
    if shell.json:
        shell.output.document({"key": str(witness.key), "seen": seen})
        return
    shell.output.say(str(witness.key), whole=True)
    for name, size in seen.items():
        shell.output.say(f"{name}: {size} entries")


def serve(
    shell: Shell,
    directory: _Directory,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="The port; 0 takes a free one.")] = 0,
) -> None:
    """Answer `POST /add-checkpoint` until it is interrupted: `loom checkpoint cosign URL` asks it."""
    import sys

    from loom.errors import ConfigError
    from loom.proof.witness import Witness, witness_server

    witness = Witness(directory)
    try:
        server = witness_server(witness, host=host, port=port)
    except OSError as error:
        raise ConfigError(f"[{host}:{port}] cannot be listened on [{error.strerror}]; choose another port") from error
    at, on = server.server_address[:2]
    if shell.json:
        shell.output.line({"event": "listening", "host": str(at), "port": int(on), "key": str(witness.key)})
    else:
        shell.output.say(f"listening on http://{at!s}:{on}", style="bold")
        shell.output.say(str(witness.key), whole=True)
    sys.stdout.flush()
    with server:
        server.serve_forever()
