"""`loom export`: the journal as JSON lines, from which a third party can verify the chain."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.shell import Shell

__all__ = ["add_to", "opened_out"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "export", panel="Check")(export)


async def export(
    shell: Shell,
    journal: Annotated[
        str | None, typer.Argument(metavar="[TYPE/KEY]", help="Only this journal.", show_default=False)
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only entries after this sequence, or position.")] = 0,
    until: Annotated[int | None, typer.Option(min=1, help="Only entries up to this sequence, or position.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Into a new file, for its owner only.")] = None,
    joined: Annotated[
        bool,
        typer.Option("--joined", help="Replace references of decisions by what they refer to: this does not verify."),
    ] = False,
) -> int | None:
    """Write every entry as a line of JSON: header, hashes, and the body to the byte as it is stored."""
    from loom.cli.reading import open_journal
    from loom.identity import parse_journal_name
    from loom.journal.export import export_lines
    from loom.projections.joined_lines import joined_lines

    if journal is not None:
        parse_journal_name(journal)
    count = 0
    async with open_journal(shell) as reader:
        workspace = await reader.workspace() or shell.place.name
        total = await reader.tail()
        with opened_out(out) as stream, shell.output.progress("exporting") as tell:
            lines = joined_lines if joined else export_lines
            async for line in lines(reader, workspace=workspace, journal=journal, after=after, until=until):
                stream.write(line + "\n")
                count += 1
                if count % 1_000 == 0:
                    tell(count, total)
    if out is not None:
        shell.output.note(f"{count} entries in {out}")
    elif not count:
        shell.output.note(f"there is nothing to export{f' of [{journal}]' if journal else ''}")
    return None if count else EXIT_NO


@contextlib.contextmanager
def opened_out(out: Path | None) -> Iterator[TextIO]:
    """Yield standard output, or a file that gets its name once it is complete; no file is ever overwritten."""
    if out is None:
        # Bodies are UTF-8 to the byte, whatever the locale says.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        return
    import os

    from loom.errors import ConfigError
    from loom.journal.private import open_private

    if out.exists():
        raise ConfigError(f"file [{out}] is there already; expected a new name: choose another, or remove it")
    part = out.with_name(f"{out.name}.part")
    descriptor = open_private(part, os.O_WRONLY | os.O_TRUNC)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, out)
    finally:
        part.unlink(missing_ok=True)
