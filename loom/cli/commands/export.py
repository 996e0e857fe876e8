"""`loom export`: the journal as JSON lines, from which a third party can verify the chain, or in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.export_as import AsAsked, export_as
from loom.cli.opened_out import opened_out
from loom.cli.shell import Shell

__all__ = ["add_to"]


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
    form: Annotated[
        Literal["cloudevents", "prov", "opa", "testimony", "trace", "acta"] | None,
        typer.Option("--as", help="In a format of other programs: see `loom docs formats`.", show_default=False),
    ] = None,
    decision: Annotated[
        str | None, typer.Option("--decision", "-d", help="With --as: only this decision, or how its id begins.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="With --as trace or acta: an Ed25519 key in PEM.")
    ] = None,
    data_class: Annotated[
        str, typer.Option("--data-class", help="With --as trace: what class of data the decisions are about.")
    ] = "undeclared",
) -> int | None:
    """Write every entry as a line of JSON: header, hashes, and the body to the byte as it is stored.

    With --as, write the same journal as other programs read it. Such a file cannot be verified like an export.
    """
    from loom.cli.reading import open_journal
    from loom.identity import parse_journal_name
    from loom.journal.export import export_lines
    from loom.projections.joined_lines import joined_lines

    if journal is not None:
        parse_journal_name(journal)
    if form is not None:
        if joined:
            raise typer.BadParameter("expected --as or --joined: a format has its own form", param_hint="--joined")
        return await export_as(shell, AsAsked(form, journal, after, until, out, decision, key, data_class))
    if decision is not None or key is not None:
        raise typer.BadParameter("expected --as FORMAT: only a format takes --decision or --key", param_hint="--as")
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
