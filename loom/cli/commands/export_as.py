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
    from loom.formats import SIGNED, DecisionsRead, Written, key_from_pem, write_format
    from loom.formats.reading import Span

    if (asked.key is None) == (asked.form in SIGNED):
        problem = "is signed: expected --key FILE" if asked.key is None else "is not signed: expected no --key"
        raise typer.BadParameter(f"[{asked.form}] {problem}", param_hint="--key")
    signer = None if asked.key is None else key_from_pem(asked.key.read_bytes(), name=str(asked.key))
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
    for told in decisions.left_out.lines():
        shell.output.note(told)
    if asked.out is not None:
        shell.output.note(f"{asked.form} in {asked.out}")
    return None if count > (2 if asked.form == "prov" else 0) else EXIT_NO
