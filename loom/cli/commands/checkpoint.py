"""`loom checkpoint`: signed checkpoints of the journal, made, listed, compared, and shown to witnesses."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.listing import cell, listing
from loom.cli.shell import Shell
from loom.text import one_line

__all__ = ["add_to"]

_NoteFile = Annotated[str, typer.Argument(metavar="FILE", help="A signed note; - reads it from stdin.")]
_Witness = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="KEY", help="A key of a witness that the config does not name; repeatable."),
]
_MOST_BYTES = 131_072


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Sign checkpoints of the journal, and compare them.")
    command(group, "show", default=True)(show)
    command(group, "list")(list_checkpoints)
    command(group, "sign")(sign)
    command(group, "verify")(verify)
    command(group, "cosign")(cosign)
    app.add_typer(group, name="checkpoint", rich_help_panel="Check")


async def show(shell: Shell) -> int | None:
    """Print the newest checkpoint as a signed note, and say how far it and the anchors reach. Exit code 1: none yet."""
    from loom.cli.reading import loaded, open_journal
    from loom.proof.log import CheckpointLog
    from loom.proof.verifying import evidence_of

    place = shell.existing
    async with open_journal(shell) as reader:
        log = await loaded(CheckpointLog(reader, place.name))
        tail = await reader.tail()
        found = await evidence_of(reader, place.name, place.files, place.config)
    newest = log.newest
    if shell.json:
        anchors = [{**each._asdict(), "at": each.at and each.at.isoformat()} for each in found.anchors]
        note = None if newest is None else str(newest.note)
        size = 0 if newest is None else newest.size
        shell.output.document({"origin": log.origin, "size": size, "note": note, "entries": tail, "anchors": anchors})
    elif newest is None:
        shell.output.say("No checkpoint yet: name a key in `checkpoints:` of the config, then `loom checkpoint sign`.")
    else:
        shell.output.say(str(newest.note).rstrip("\n"), whole=True)
        shell.output.note(f"{newest.size} of {tail} entries, signed {shell.output.moment(newest.at)}")
        for each in found.anchors:
            shell.output.note(f"anchor {each.name}: {one_line(each.problem or f'{each.size} entries', 200)}")
    return EXIT_NO if newest is None else None


async def list_checkpoints(shell: Shell) -> None:
    """List the checkpoints in the journal, the last one first."""
    from loom.cli.reading import loaded, open_journal
    from loom.proof.log import CheckpointLog

    async with open_journal(shell) as reader:
        log = await loaded(CheckpointLog(reader, shell.existing.name))
    listing(
        shell,
        log.checkpoints[::-1],
        lambda: (
            cell("size", lambda each: f"{each.size}", right=True),
            cell("position", lambda each: f"{each.position}", right=True),
            cell("at (UTC)", lambda each: shell.output.moment(each.at)),
            cell("why", lambda each: each.why),
            cell("root", lambda each: each.checkpoint.root.hex()),
            cell("signatures", lambda each: f"{len(each.note.signatures)}", right=True),
        ),
        nothing="No checkpoints: `loom checkpoint sign --by YOU` makes one.",
        document=lambda each: {
            "size": each.size,
            "position": each.position,
            "at": each.at.isoformat(),
            "why": each.why,
            "root": each.checkpoint.root.hex(),
            "note": str(each.note),
        },
    )


async def sign(shell: Shell, by: ByOption) -> None:
    """Sign a checkpoint of all entries now, with the key of the config; the last one where nothing came since."""
    said = await _act(shell, "sign", {"by": by}, by)
    if shell.json:
        shell.output.document(said)
    elif said is None:
        shell.output.say("The journal is empty: there is nothing to sign.")
    else:
        shell.output.say(said["note"].rstrip("\n"), whole=True)


async def verify(
    shell: Shell,
    file: _NoteFile,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A key of the log that is known from elsewhere, as name+id+base64; repeatable."),
    ] = None,
) -> int | None:
    """Say what a checkpoint from elsewhere is to this journal. Exit code 1: the journal does not begin with it."""
    import asyncio
    from contextlib import closing

    from loom.cli.reading import loaded, open_journal
    from loom.proof.log import CheckpointLog, Judgement
    from loom.proof.notes import Note, VerifyingKey
    from loom.proof.tree import tree_opener

    place = shell.existing
    note = Note.parse(await _text(file))
    trusted = tuple(VerifyingKey.parse(each).public for each in key or ())
    async with open_journal(shell) as reader:
        log = await loaded(CheckpointLog(reader, place.name))
        opens = tree_opener(reader, place.files, place.name)

        def judge() -> Judgement:
            with closing(opens()) as tree:
                return log.judge(note, tree.root, tree.rebuild(), trusted=trusted)

        judged = await asyncio.to_thread(judge)
    words = f"{judged.answer.replace('_', ' ')}: {judged.words}"
    signer = None if judged.key is None else judged.key.fingerprint
    shell.answer(
        {"answer": judged.answer, "words": judged.words, "signer": signer},
        one_line(words, 1_000),
        style="bold green" if judged.holds else "bold red",
    )
    return None if judged.holds else EXIT_NO


async def cosign(
    shell: Shell,
    source: Annotated[
        str,
        typer.Argument(metavar="URL|FILE", help="A witness's address, or a note with its line; - reads it from stdin."),
    ],
    by: ByOption,
    witness: _Witness = None,
) -> None:
    """Have a witness sign the newest checkpoint, or take the lines of witnesses out of a note; both are journaled."""
    text = await _asked(shell, source) if source.startswith(("http://", "https://")) else await _text(source)
    said = await _act(shell, "cosigned", {"note": text, "witnesses": list(witness or ()), "by": by}, by)
    shell.answer(said, f"cosigned by {', '.join(said)}" if said else "no new signature: it is journaled already")


async def _asked(shell: Shell, url: str) -> str:
    """Send the newest checkpoint to a witness, from what it has seen on, and return the note with its line."""
    import asyncio
    from contextlib import closing

    from loom.cli.reading import loaded, open_journal
    from loom.proof.errors import WitnessRefusedError
    from loom.proof.log import CheckpointLog
    from loom.proof.tree import tree_opener
    from loom.proof.witnessing import ask_witness

    place = shell.existing
    async with open_journal(shell) as reader:
        log = await loaded(CheckpointLog(reader, place.name))
        newest = log.newest
        if newest is None:
            raise WitnessRefusedError("there is no checkpoint yet; expected one: `loom checkpoint sign`", status=0)
        opens = tree_opener(reader, place.files, place.name)

        def ask() -> str:
            with closing(opens()) as tree:
                tree.extend()
                return str(ask_witness(url, newest.note, tree))

        return await asyncio.to_thread(ask)


async def _act(shell: Shell, word: str, arguments: dict[str, Any], by: str) -> Any:
    from loom.cli.acting import act
    from loom.proof.extension import extension

    said, _ = await act(shell, f"proof.{word}", arguments, by=by, extensions=(extension,))
    return said


async def _text(file: str) -> str:
    import asyncio
    import sys
    from pathlib import Path

    from loom.errors import AdmissionError

    def read() -> bytes:
        if file == "-":
            return sys.stdin.buffer.read(_MOST_BYTES)
        with Path(file).open("rb") as opened:
            return opened.read(_MOST_BYTES)

    try:
        return (await asyncio.to_thread(read)).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise AdmissionError(
            f"file [{file}] cannot be read [{type(error).__name__}]; expected a signed note in UTF-8: check the path"
        ) from error
