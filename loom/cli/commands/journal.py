"""`loom journal`: list the journals, or the entries of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import moment, one_line, shortened

if TYPE_CHECKING:
    from loom.journal.entry import Recorded
    from loom.journal.places import PlaceReader

__all__ = ["add_to"]

_PAGE = 1_000
_TABLE_ROWS = 1_000
"""At most this many entries are laid out as one table; with more, each page is laid out separately."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "journal", panel="Read back")(journal)


async def journal(
    shell: Shell,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[TYPE/KEY]", help="One journal; or a TYPE, to list its journals.", show_default=False),
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only entries after this sequence.")] = 0,
    until: Annotated[int | None, typer.Option(min=1, help="Only entries up to this sequence.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The bodies of the entries as they are stored.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List at most this many journals.")] = 1_000,
) -> int | None:
    """List the journals, or the entries of one.

    With --json, journals are one document and entries are JSON lines.
    """
    from loom.cli.reading import open_journal

    async with open_journal(shell) as reader:
        if name is None or "/" not in name:
            await _list(shell.output, reader, actor_type=name, limit=limit)
            return None
        return await _print_entries(shell.output, reader, name, after=after, until=until, raw=raw)


async def _list(output: Output, reader: PlaceReader, *, actor_type: str | None, limit: int) -> None:
    from loom.journal.listing import journal_as_json

    found: list[dict[str, Any]] = []
    after = "" if actor_type is None else f"{actor_type}/"
    while len(found) < limit:
        page = await reader.journals(after=after, limit=min(_PAGE, limit - len(found)))
        wanted = [each for each in page if actor_type is None or each[0].startswith(f"{actor_type}/")]
        found += [await journal_as_json(reader, name, entries) for name, entries in wanted]
        if len(wanted) < len(page) or not page:
            break
        after = page[-1][0]
    if output.json:
        output.document(found)
    elif not found:
        output.say("No journals." if actor_type is None else f"No journals of [{actor_type}].")
    else:
        columns = [
            Column("journal", "cyan"),
            Column("entries", right=True),
            Column("last entry (UTC)", "dim"),
            Column("kind"),
        ]
        output.table(
            columns,
            [
                [
                    each["journal"],
                    str(each["entries"]),
                    moment(each["last_at"]) if each["last_at"] else "-",
                    each["last_kind"] or "-",
                ]
                for each in found
            ],
        )
        if len(found) == limit:
            output.note(f"the first {limit}; there may be more: --limit")


async def _print_entries(
    output: Output, reader: PlaceReader, name: str, *, after: int, until: int | None, raw: bool
) -> int | None:
    from loom.identity import parse_journal_name

    parse_journal_name(name)
    rows: list[Recorded] = []
    seen = shown = 0
    async for recorded in reader.read(name, after=after, until=until):
        seen += 1
        if output.json:
            output.line(recorded.as_json())
        elif raw:
            body = (
                "(erased)" if recorded.body is None else one_line(recorded.body.decode("utf-8", "replace"), 1_000_000)
            )
            output.say(f"{recorded.sequence} {recorded.kind} {body}")
        else:
            rows.append(recorded)
            if len(rows) == _TABLE_ROWS:
                _table(output, rows, header=shown == 0)
                shown, rows = seen, []
    if rows:
        _table(output, rows, header=shown == 0)
    if seen:
        return None
    entries = dict(await reader.journals(after=name[:-1], limit=1_000)).get(name, 0)
    output.note(
        f"journal [{name}] has [{entries}] entries, none of them in that range"
        if entries
        else f"there is no journal [{name}]: see `loom journal`"
    )
    return EXIT_NO


def _table(output: Output, rows: list[Recorded], *, header: bool) -> None:
    from loom.operations.summaries import step_of, summary_of

    roomy, wide = output.width >= 110, output.width >= 150
    columns = [Column("#", right=True), Column("time (UTC)", "dim"), Column("kind", "cyan")]
    columns += [Column("turn", "dim")] if roomy else []
    columns += [Column("step", "dim")] if wide else []
    columns += [Column("what it says", wide=True, wraps=True)]
    several_days = rows[0].recorded_at.date() != rows[-1].recorded_at.date() or not output.for_eyes

    short = shortened(each.command_id for each in rows if each.command_id)

    def row(each: Recorded) -> list[str]:
        at = moment(each.recorded_at)
        cells = [str(each.sequence), at if several_days else at[11:], one_line(each.kind, 28)]
        cells += [one_line(short.get(each.command_id or "", "-"), 16 if output.for_eyes else 200)] if roomy else []
        cells += [one_line(step_of(each), 24 if output.for_eyes else 200)] if wide else []
        return [*cells, summary_of(each)]

    if not several_days:
        output.say(f"{rows[0].journal}, {rows[0].recorded_at.date()}", style="bold")
    output.table(columns, [row(each) for each in rows], header=header)
