"""The rows of a table that is edited: which of them are there, in which order, and with which conditions.

A shape is a text in the address of a page. `0,2,1` are the rules of the table in another order, without the ones left
out; `1+` is a copy of the second rule; `1:0.amount` is the second rule with its first condition and a new one on
`amount`. Hard limits and the row for everything else stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from loom.errors import PolicyTableError
from loom.explorer.editing import Edited, Field, edited, fields_of
from loom.policies.tables import Table

__all__ = ["Sheet", "reshaped", "sheet_of"]

_ROW = re.compile(r"(\d{1,3})(\+?)(?::([A-Za-z0-9_.]*))?\Z")
_EMPTY = {"integer": 0, "decimal": "0", "boolean": True, "string": ""}
_MOST_ROWS = 100
_NONE = "none"


class _Row(NamedTuple):
    """A rule of the first table, or a copy of it; conditions by their number there, new ones by the name of a fact."""

    rule: int
    copy: bool
    cells: tuple[int | str, ...]


Shape: TypeAlias = tuple[_Row, ...]


class Sheet(NamedTuple):
    """The table that edits began with, and the same table in another shape, whose texts are edited."""

    base: Table
    table: Table
    shape: Shape

    @property
    def text(self) -> str:
        """The shape as a text; empty if it is that of the first table."""
        if self.shape == _shape_of(self.base):
            return ""
        return ",".join(self._row(each) for each in self.shape) or _NONE

    @property
    def added(self) -> frozenset[int]:
        """The numbers of the rules that are copies: their names and reasons are edited as well."""
        return frozenset(place for place, each in enumerate(self.shape) if each.copy)

    @property
    def fields(self) -> list[Field]:
        """The texts of the table, in the order of the form."""
        return fields_of(self.table, self.added)

    def edited(self, texts: Sequence[str]) -> Edited:
        """Return the table with other texts; there must be as many as there are fields."""
        return edited(self.table, texts, self.added)

    def is_new(self, rule: int, cell: int) -> bool:
        """Return whether a condition is not in the table that edits began with."""
        row = self.shape[rule]
        return row.copy or isinstance(row.cells[cell], str)

    def _row(self, row: _Row) -> str:
        kept = tuple(range(len(self.base.layout.rules[row.rule].when)))
        cells = "" if row.cells == kept else ":" + ".".join(str(each) for each in row.cells)
        return f"{row.rule}{'+' if row.copy else ''}{cells}"


def sheet_of(table: Table, text: str) -> Sheet:
    """Return a table in the shape that a text says. Raises `PolicyTableError` for what is no shape of it."""
    shape = _shape_of(table)
    if text:
        shape = () if text == _NONE else tuple(_parsed(table, each) for each in text.split(","))
    return _sheet(table, shape)


def reshaped(sheet: Sheet, texts: Sequence[str], action: str) -> tuple[Sheet, tuple[str, ...]]:
    """Return the sheet after an action, and its texts: what was typed into the rows that stay is kept.

    Actions are `up:R`, `down:R`, `copy:R`, `remove:R`, `with:R:FACT` and `without:R:C`, for the number of a rule and of
    a condition of it. Raises `PolicyTableError` for anything else.
    """
    groups = _grouped(sheet, texts)
    rows = [(row, group) for row, group in zip(sheet.shape, groups.rules, strict=True)]
    verb, *where = action.split(":")
    try:
        _act(sheet, rows, verb, *where)
    except (LookupError, TypeError, ValueError) as error:
        raise PolicyTableError(f"[{action:.80}] cannot be done with these rules: open the page again") from error
    changed = _sheet(sheet.base, tuple(row for row, _ in rows))
    return changed, (*groups.before, *(text for _, group in rows for text in group), *groups.after)


def _act(sheet: Sheet, rows: list[tuple[_Row, list[str]]], verb: str, rule: str, *more: str) -> None:
    place = _below(len(rows), rule)
    row, group = rows[place]
    if verb in ("up", "down"):
        rows.insert(_below(len(rows), str(place + (1 if verb == "down" else -1))), rows.pop(place))
    elif verb == "remove":
        del rows[place]
    elif verb == "copy":
        rows.insert(place + 1, (row._replace(copy=True), _copied(sheet, rows, place)))
    elif verb == "with":
        fact = sheet.base.layout.facts[more[0]]
        written = str(_EMPTY[fact.type]).lower() if fact.type != "string" else '""'
        rows[place] = row._replace(cells=(*row.cells, more[0])), [*group[:-2], "=", written, *group[-2:]]
    elif verb == "without":
        cell = _below(len(row.cells), more[0])
        at = 2 * cell + (2 if row.copy else 0)
        rows[place] = row._replace(cells=row.cells[:cell] + row.cells[cell + 1 :]), group[:at] + group[at + 2 :]
    else:
        raise ValueError(verb)


def _copied(sheet: Sheet, rows: Sequence[tuple[_Row, list[str]]], place: int) -> list[str]:
    """Return the texts of a copy of a rule: a name that is free, the reason, and the cells as they were typed."""
    row, texts = rows[place]
    rule = sheet.table.layout.rules[place]
    why, cells = (texts[1], texts[2:]) if row.copy else (rule.why, texts)
    taken = {each.name for each in sheet.table.layout.rows} | {typed[0] for each, typed in rows if each.copy}
    return [_unused(rule.name, taken), why, *cells]


def _below(count: int, text: str) -> int:
    number = int(text)
    if not 0 <= number < count:
        raise ValueError(text)
    return number


class _Groups(NamedTuple):
    """The texts before the rules, those of each rule, and those after them."""

    before: Sequence[str]
    rules: list[list[str]]
    after: Sequence[str]


def _grouped(sheet: Sheet, texts: Sequence[str]) -> _Groups:
    fields = sheet.fields
    if len(texts) != len(fields):
        raise PolicyTableError(f"[{len(texts)}] texts were sent; expected [{len(fields)}]: open the page again")
    rules: list[list[str]] = [[] for _ in sheet.shape]
    outside: tuple[list[str], list[str]] = [], []
    for field, text in zip(fields, texts, strict=True):
        if field.path[0] == "rules":
            rules[int(field.path[1])].append(text)
        else:
            outside[field.path[0] == "otherwise"].append(text)
    return _Groups(outside[0], rules, outside[1])


def _shape_of(table: Table) -> Shape:
    return tuple(
        _Row(place, copy=False, cells=tuple(range(len(row.when)))) for place, row in enumerate(table.layout.rules)
    )


def _parsed(table: Table, text: str) -> _Row:
    found = _ROW.match(text)
    rules = table.layout.rules
    if found is None or int(found[1]) >= len(rules):
        raise PolicyTableError(f"[{text:.80}] is no row of these rules: open the page again")
    rule = int(found[1])
    kept: tuple[int | str, ...] = tuple(range(len(rules[rule].when)))
    if found[3] is not None:
        kept = tuple(int(each) if each.isdigit() else each for each in found[3].split(".") if each)
    for each in kept:
        if each not in table.layout.facts if isinstance(each, str) else each >= len(rules[rule].when):
            raise PolicyTableError(f"[{each}] is no condition of rule [{rules[rule].name}]: open the page again")
    return _Row(rule, copy=bool(found[2]), cells=kept)


def _sheet(base: Table, shape: Shape) -> Sheet:
    if len(shape) > _MOST_ROWS:
        raise PolicyTableError(f"[{len(shape)}] rules are more than can be edited here; expected {_MOST_ROWS} at most")
    written = base.written()
    rows: list[dict[str, Any]] = written["rules"]
    names = {row["name"] for row in (*written.get("limits", ()), *rows, written.get("otherwise") or {"name": ""})}
    made = []
    for row in shape:
        first = rows[row.rule]
        name = _unused(first["name"], names) if row.copy else first["name"]
        names.add(name)
        when = [first["when"][each] if isinstance(each, int) else _new_cell(base, each) for each in row.cells]
        made.append({**first, "name": name, "when": when})
    if len({row["name"] for row in made}) < len(made):
        raise PolicyTableError("a rule is there twice; expected a copy of it: open the page again")
    return Sheet(base, Table.of({**written, "rules": made}, checked=False), shape)


def _new_cell(table: Table, fact: str) -> list[Any]:
    return [fact, "=", _EMPTY[table.layout.facts[fact].type]]


def _unused(name: str, taken: set[str]) -> str:
    return next(found for n in range(2, len(taken) + 3) if (found := f"{name[:56]} ({n})") not in taken)
