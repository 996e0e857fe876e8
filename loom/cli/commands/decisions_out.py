"""`loom decisions --format`: decisions as CSV, JSON lines or Parquet, page by page, of any number."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from loom.cli.command import EXIT_NO
from loom.cli.opened_out import opened_out
from loom.cli.shell import Shell

if TYPE_CHECKING:
    from loom.decisions import DecisionSummary, OutFormat, Traces
    from loom.precedents import Memory

__all__ = ["OutAsked", "write_out"]

_PAGE = 1_000


@dataclass(frozen=True)
class OutAsked:
    """What was asked for on the command line."""

    form: OutFormat
    columns: str | None
    path: Path | None
    limit: int | None

    def check(self) -> tuple[str, ...]:
        """Return the columns; a Parquet file needs a name."""
        from loom.decisions.out import COLUMNS, check_columns

        if self.form == "parquet" and self.path is None:
            raise typer.BadParameter("expected --out FILE: Parquet is no text", param_hint="--format")
        return check_columns(COLUMNS if self.columns is None else [each.strip() for each in self.columns.split(",")])


async def write_out(shell: Shell, memory: Memory, traces: Traces, asked: dict[str, Any], out: OutAsked) -> int | None:
    """Write the decisions that match, newest first, and return the exit code: 1 where there are none."""
    from loom.decisions.out import needs_body, row_of, write_rows

    columns = out.check()
    count = 0
    pages = _pages(memory, asked, limit=out.limit)
    if out.form == "parquet":
        assert out.path is not None  # noqa: S101 - checked above
        count = await _parquet(out.path, columns, traces, pages)
    else:
        with opened_out(out.path) as stream:
            if out.form == "csv":
                stream.write(",".join(columns) + "\n")
            async for page in pages:
                found = await traces.with_bodies(page) if needs_body(columns) else page
                count += write_rows(stream, [row_of(each, columns) for each in found], columns, form=out.form)
    if out.path is not None:
        shell.output.note(f"{count} decisions in {out.path}")
    return None if count else EXIT_NO


async def _parquet(
    path: Path, columns: tuple[str, ...], traces: Traces, pages: AsyncIterator[tuple[DecisionSummary, ...]]
) -> int:
    from loom.decisions.out import ParquetRows, needs_body, row_of

    part = _begun(path)
    count = 0
    try:
        writer = ParquetRows(part, columns)
        try:
            async for page in pages:
                found = await traces.with_bodies(page) if needs_body(columns) else page
                writer.write([row_of(each, columns) for each in found])
                count += len(found)
        finally:
            writer.close()
        os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _begun(path: Path) -> Path:
    """Return the path of the temporary file, which holds the rows until all are written."""
    from loom.errors import ConfigError
    from loom.journal.private import open_private

    if path.exists():
        raise ConfigError(f"file [{path}] is there already; expected a new name: choose another, or remove it")
    part = path.with_name(f"{path.name}.part")
    os.close(open_private(part, os.O_WRONLY | os.O_TRUNC))
    return part


async def _pages(
    memory: Memory, asked: dict[str, Any], *, limit: int | None
) -> AsyncIterator[tuple[DecisionSummary, ...]]:
    """Yield pages, newest first; what similarity suggests is one page."""
    left = limit
    after: int | None = None
    while left is None or left > 0:
        page = await memory.search(**asked, limit=_PAGE if left is None else min(left, _PAGE), after=after)
        if page:
            yield page
        if not page or asked.get("similar_to") is not None:
            return
        after = page[-1].position
        left = None if left is None else left - len(page)
