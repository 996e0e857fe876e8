"""`loom export --as`: a journal and its decisions in the formats of other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from loom.cli.command import EXIT_NO
from loom.cli.shell import Shell

if TYPE_CHECKING:
    from loom.formats import FormatName
    from loom.proof.keys import Signer

__all__ = ["AsAsked", "export_as"]


@dataclass(frozen=True)
class AsAsked:
    """What was asked for on the command line."""

    form: FormatName
    journal: str | None
    after: int
    until: int | None
    out: Path | None
    decision: str | None
    key: Path | None
    data_class: str


async def export_as(shell: Shell, asked: AsAsked) -> int | None:
    """Write the format, and return the exit code: 1 where nothing was written."""
    from loom.cli.opened_out import opened_out
    from loom.cli.reading import open_readings
    from loom.formats import SIGNED, DecisionsRead, Written, write_format
    from loom.formats.reading import Span

    if asked.key is not None and asked.form not in SIGNED:
        raise typer.BadParameter(f"[{asked.form}] is not signed: expected no --key", param_hint="--key")
    signer = _signer(shell, asked.key) if asked.form in SIGNED else None
    count = 0
    async with open_readings(shell) as readings:
        workspace = await readings.reader.workspace() or shell.place.name
        span = Span(asked.journal, asked.after, asked.until)
        decisions = DecisionsRead(readings.reader, readings.traces, span, asked.decision)
        given = Written(signer=signer, data_class=asked.data_class)
        with opened_out(asked.out) as stream:
            async for line in write_format(asked.form, decisions, workspace=workspace, given=given):
                stream.write(line + "\n")
                count += 1
    for line in decisions.left_out.lines():
        shell.output.note(line)
    if asked.out is not None:
        shell.output.note(f"{asked.form} in {asked.out}")
    return None if count > (2 if asked.form == "prov" else 0) else EXIT_NO


def _signer(shell: Shell, key: Path | None) -> Signer:
    """Return the key of a file, or the one that signs checkpoints."""
    from loom.proof.keys import FileSigner
    from loom.proof.opening import checkpoints_in, signer_of

    if key is not None:
        return FileSigner(key)
    found = signer_of(checkpoints_in(shell.settings), shell.existing.files)
    if found is None:
        raise typer.BadParameter(
            "this format is signed: expected a file that `loom keys signing new` made, or a key under checkpoints: in "
            "the config",
            param_hint="--key",
        )
    return found
