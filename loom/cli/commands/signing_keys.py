"""`loom keys signing`: the keys that sign checkpoints, and which took whose place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import cell, listing
from loom.cli.shell import Shell

__all__ = ["add_to"]

_KeyFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A file of its own, outside the data folder.", show_default=False)
]


def add_to(keys: typer.Typer) -> None:
    """Add the commands to those about keys."""
    group = typer.Typer(cls=Sections, help="Make, list and rotate the keys that sign checkpoints.")
    command(group, "list", default=True)(signing_keys)
    command(group, "new")(new)
    command(group, "rotate")(rotate)
    keys.add_typer(group, name="signing")


async def signing_keys(shell: Shell) -> None:
    """List the keys of the log, as others name them, and since when they sign."""
    from loom.cli.reading import loaded, open_journal
    from loom.proof.log import CheckpointLog

    async with open_journal(shell) as reader:
        log = await loaded(CheckpointLog(reader, shell.existing.name))
    listing(
        shell,
        tuple(log.keys.values()),
        lambda: (
            cell("key", lambda each: str(log.key(each.public)), wide=True, wraps=True),
            cell("fingerprint", lambda each: log.key(each.public).fingerprint),
            cell("since", lambda each: f"{each.since}", right=True),
            cell("", lambda each: "" if each.until is None else f"retired after {each.until} entries"),
        ),
        nothing="No key has signed: `loom keys signing new FILE` makes one, `checkpoints:` in the config names it.",
        document=lambda each: {
            "key": str(log.key(each.public)),
            "fingerprint": log.key(each.public).fingerprint,
            "since": each.since,
            "until": each.until,
        },
    )


def new(shell: Shell, file: _KeyFile) -> None:
    """Make a key in a new file for its owner only. Its first checkpoint makes it the key of the log.

    Others check with its fingerprint, or with the key under the name of the log, which `loom keys signing` shows then.
    """
    from loom.proof.keys import create_key
    from loom.proof.notes import fingerprint_of

    fingerprint = fingerprint_of(create_key(file))
    if shell.json:
        shell.output.document({"file": str(file), "fingerprint": fingerprint})
        return
    shell.output.say(f"fingerprint {fingerprint}")
    shell.output.note(f"the key is in {file}, and nowhere else; the config names it:")
    shell.output.note(f"checkpoints:\n  key_file: {file.absolute()}")


async def rotate(shell: Shell, file: _KeyFile, by: ByOption, reason: ReasonOption) -> None:
    """Have the key in another file sign from now on; the next checkpoint has the signatures of both.

    Name the new file in the config before the loom is opened again: the old key signs no more.
    """
    from loom.cli.acting import act
    from loom.proof.extension import extension

    given: dict[str, Any] = {"key_file": str(file.absolute()), "by": by, "reason": reason}
    said: Any
    said, _ = await act(shell, "proof.rotate", given, by=by, extensions=(extension,))
    shell.answer(said, f"{said['key']}\nfingerprint {said['fingerprint']}")
    if not shell.json:
        shell.output.note(f"name it in the config now: checkpoints.key_file: {file.absolute()}")
