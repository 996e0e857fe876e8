"""How commands list things: JSON for programs, a table whose columns say what is in them, words where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from loom.cli.output import Column, Output
from loom.cli.shell import Shell

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Cell", "cell", "fields", "listing", "rows_of"]

T = TypeVar("T")


class Cell(NamedTuple, Generic[T]):
    """A column, and what it shows of each thing that is listed."""

    column: Column
    show: Callable[[T], str | Text]


def cell(
    title: str,
    show: Callable[[T], str | Text],
    style: str = "",
    *,
    wide: bool = False,
    wraps: bool = False,
    right: bool = False,
) -> Cell[T]:
    """Return a column of a listing."""
    return Cell(Column(title, style, wide=wide, wraps=wraps, right=right), show)


def listing(
    shell: Shell,
    found: Sequence[T],
    cells: Callable[[], Sequence[Cell[T]]],
    *,
    nothing: str,
    document: Callable[[T], Any] | None = None,
) -> None:
    """Print what was found; `nothing` says that there is none. `cells` is called for a table only.

    `document` returns an item as programs read it, by default its fields.
    """
    if shell.json:
        shell.output.document([(document or _document)(each) for each in found])
    elif not found:
        shell.output.say(nothing)
    else:
        rows_of(shell.output, found, cells())


def rows_of(output: Output, found: Sequence[T], cells: Sequence[Cell[T]], *, header: bool = True) -> None:
    """Print a table of what was found."""
    rows = [[each.show(item) for each in cells] for item in found]
    output.table([each.column for each in cells], rows, header=header)


def fields(output: Output, said: Sequence[Sequence[str]]) -> None:
    """Print names and values, one pair a line."""
    output.table([Column("", "dim"), Column("", wide=True, wraps=True)], said)


def _document(item: Any) -> Any:
    from pydantic import BaseModel  # heavy, and `loom --help` needs none of it

    if isinstance(item, BaseModel):
        return item.model_dump(mode="json")
    return item if isinstance(item, Mapping) else item._asdict()
