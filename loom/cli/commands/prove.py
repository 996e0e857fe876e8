"""`loom prove`: one decision as a file that a stranger checks without loom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "prove", panel="Check")(prove)


async def prove(
    shell: Shell,
    decision_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A decision, or how its id begins; or its place, TYPE/KEY#SEQUENCE, also where its body is gone.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Into this new file, for its owner only.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that covers it, as a signed note."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="PATH",
            help="Leave a field out: KIND.FIELD or SEQUENCE.FIELD, of kinds that are redactable; repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a decision with its proof into one file: its turn as stored, inclusion proofs, a checkpoint, its policy.

    The file also holds a copy of the verifier, for convenience. A stranger takes the verifier (its digest is printed)
    and the public key from elsewhere: `python3 -I -S verify.py case.zip --key FINGERPRINT`.
    """
    import asyncio
    from contextlib import closing

    from loom.cli.reading import open_readings
    from loom.proof.case import Place, case_of, checkpoint_for, signer_of, verifier_sha256, write_case
    from loom.proof.log import CheckpointLog
    from loom.proof.tree import tree_opener

    given = None if checkpoint is None else _read(checkpoint)
    async with open_readings(shell) as readings:
        place = Place.parse(decision_id)
        if place is None:
            trace = await readings.traces.get(decision_id)
            place = Place(trace.decision_id, trace.journal, trace.sequence)
        workspace = await readings.reader.workspace() or shell.place.name
        log = CheckpointLog(readings.reader, workspace)
        await log.load()
        opens = tree_opener(readings.reader, readings.files, workspace)
        with closing(await asyncio.to_thread(opens)) as tree:
            note = given or await checkpoint_for(log, readings.reader, tree, place)
            case = await case_of(
                readings.reader,
                tree,
                place,
                workspace=workspace,
                checkpoint=note,
                key=signer_of(log, note),
                without=without or (),
            )
    write_case(out, case.raw)
    digest = verifier_sha256()
    if shell.json:
        shell.output.document(
            {
                "decision_id": place.decision_id,
                "file": str(out),
                "bytes": len(case.raw),
                "entries": case.entries,
                "erased": case.erased,
                "signed": case.signed,
                "verifier_sha256": digest,
            }
        )
        return
    output = shell.output
    output.say(f"{out}: decision {place.decision_id[:12]}, {case.entries} entries, {len(case.raw)} bytes", style="bold")
    if case.erased:
        output.say(f"{case.erased} of them have no body any more; that they were recorded is proven all the same")
    if case.without_policy:
        output.say("the policy version it names is not in the journal: its document is not in the file")
    if not case.signed:
        output.say("no one has signed its checkpoint: a stranger learns that it is consistent, not whose it is")
    output.say(f"verify.py has the SHA-256 {digest}: publish it, and the key, where the reader trusts you", style="dim")
    output.say(f"to check: python3 -I -S verify.py {out.name} --key FINGERPRINT", style="dim")


def _read(path: Path) -> bytes:
    from loom.errors import ConfigError

    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"checkpoint [{path}] cannot be read [{error}]; expected a signed note: name one") from error
