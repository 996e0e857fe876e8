"""What the shell prints: tables for people, JSON for programs, notes on stderr, progress while a person waits.

Journaled text goes through `safe` and is never read as rich's markup. If stdout is no terminal, there is neither
colour nor a frame, and a row is a line.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from loom.text import as_json, moment, safe

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console, RenderableType
    from rich.text import Text

__all__ = ["ROOMY", "Column", "Output", "plain_error"]

ROOMY = 100
"""From this many characters on, a table has its less important columns."""

_WIDTH_OF_A_PIPE = 4_000
_PROGRESS_AFTER = 20_000
"""From this many entries on, a progress bar is shown."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: `wide` columns share the space that is left and are cut or wrapped; others are whole."""

    title: str
    style: str = ""
    wide: bool = False
    wraps: bool = False
    right: bool = False


class Output:
    """Where a command writes. `json` says that stdout belongs to a program."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    @cached_property
    def console(self) -> Console:
        """Standard output, for people."""
        return _console(sys.stdout)

    @cached_property
    def errors(self) -> Console:
        """Standard error, for people."""
        return _console(sys.stderr)

    @property
    def for_eyes(self) -> bool:
        """Whether a person looks at standard output as it is written."""
        return self.console.is_terminal

    def moment(self, at: datetime | str) -> str:
        """Return a moment in UTC, without year and seconds where there is little room."""
        return moment(at)[5:16] if self.width < ROOMY else moment(at)

    @property
    def width(self) -> int:
        """How many characters fit on a line."""
        return self.console.width

    def say(self, text: str = "", *, style: str = "", whole: bool = False) -> None:
        """Print a line, or several, for people; `whole` lines are left as they are, to be copied."""
        from rich.text import Text

        self._print(Text(safe(text), style=style), soft_wrap=whole)

    def show(self, renderable: RenderableType) -> None:
        """Print something that rich lays out."""
        self._print(renderable)

    def note(self, text: str) -> None:
        """Print a note apart from the answer, on standard error."""
        from rich.text import Text

        self.errors.print(Text(safe(text), style="dim"), soft_wrap=True)

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        sys.stdout.write(as_json(value) + "\n")

    def line(self, value: Any) -> None:
        """Print one line of JSON lines."""
        sys.stdout.write(as_json(value, indent=None) + "\n")

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], *, header: bool = True) -> None:
        """Print a table. Columns that are not wide are shown whole; without any title there is no header."""
        header = header and any(column.title for column in columns)
        if not self.for_eyes:
            sys.stdout.writelines(_plain_table(columns, rows, header=header))
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            show_header=header,
            header_style="bold",
            padding=(0, 1, 0, 0),
            expand=any(column.wide for column in columns),
        )
        for column in columns:
            table.add_column(
                Text(column.title),
                style=column.style,
                no_wrap=not column.wraps,
                overflow="fold" if column.wraps else "ellipsis",
                ratio=1 if column.wide else None,
                justify="right" if column.right else "left",
                min_width=None if column.wide else len(column.title),
            )
        for row in rows:
            table.add_row(*(Text(safe(cell)) if isinstance(cell, str) else cell for cell in row))
        self.console.print(table)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a function that takes progress; a bar appears on standard error if a person waits for much."""
        if not self.errors.is_terminal:
            yield lambda done, total: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with contextlib.ExitStack() as stack:
            shown: list[Callable[[int, int], None]] = []

            def tell(done: int, total: int) -> None:
                if not shown and total >= _PROGRESS_AFTER:
                    bar = stack.enter_context(Progress(*columns, console=self.errors, transient=True))
                    task = bar.add_task(what, total=total)
                    shown.append(lambda done, total: bar.update(task, completed=done, total=total))
                if shown:
                    shown[0](done, total)

            yield tell

    def _print(self, renderable: RenderableType, *, soft_wrap: bool = False) -> None:
        if self.for_eyes:
            self.console.print(renderable, soft_wrap=soft_wrap)
            return
        with self.console.capture() as captured:
            self.console.print(renderable, soft_wrap=soft_wrap)
        sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().removesuffix("\n").split("\n"))


def _plain_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], *, header: bool) -> Iterator[str]:
    """Yield the lines of a table that no terminal shows: aligned, whole, a row a line; rich takes too long for many."""
    from rich.cells import cell_len

    table = [[safe(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    lines = [[column.title for column in columns], *table] if header else table
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            " " * (width - cell_len(cell)) + cell if column.right else cell + " " * (width - cell_len(cell))
            for column, width, cell in zip(columns, widths, line, strict=True)
        )
        yield "  ".join(padded).rstrip() + "\n"


def plain_error(text: str) -> None:
    """Print an error on standard error, without rich, which may not work."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    prefix = "\x1b[1;31merror:\x1b[0m" if coloured else "error:"
    sys.stderr.write(f"{prefix} {safe(text)}\n")


def _console(stream: Any) -> Console:
    from rich.console import Console

    terminal = stream.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = None
    if not terminal:
        width = int(columns) if columns.isdigit() and int(columns) > 0 else _WIDTH_OF_A_PIPE
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width, force_terminal=terminal)
