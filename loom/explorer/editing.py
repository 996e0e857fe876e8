"""A table as a form: the text of each cell, and the table that edited texts are.

The texts go from and to the page in one order: parameters, then for each row its conditions and its effect. A rule that
was added begins with its name and its reason. A parameter is written `{name}`, a list with commas; a text that could be
misread is written as JSON, in quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.errors import PolicyTableError
from loom.policies.tables import Table
from loom.policies.tables.layout import OPERATORS, Condition, Operand, ParameterRef, Row, number

__all__ = ["EFFECTS", "MOST_FIELDS", "Edited", "Field", "edited", "fields_of", "operators_for"]

MOST_FIELDS = 400
"""Tables with more cells are not edited on a page."""

EFFECTS = {
    "allow": "allow",
    "require_approval": "ask a person",
    "deny": "deny",
    "indeterminate": "no answer",
}
"""The effects of a rule, and their words on pages."""

Part: TypeAlias = Literal["parameter", "name", "why", "operator", "value", "effect", "tier"]

_INTEGER = re.compile(r"-?[0-9]{1,16}\Z")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}\Z")
_ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^,"][^,]*|)\s*(?:,|\Z)')
_MANY = ("in", "not in", "between")


class Field(NamedTuple):
    """One text of the form: a parameter, or a part of a row. `path` is its place in the table as plain data."""

    part: Part
    type: str
    text: str
    path: tuple[str | int, ...]


class Edited(NamedTuple):
    """The table that texts are, or what is wrong with some of them, by their numbers; None is about the whole table."""

    table: Table | None
    problems: dict[int | None, str]


def fields_of(table: Table, added: Collection[int] = ()) -> list[Field]:
    """Return the texts of a table, in the order of the form; `added` are the numbers of rules that were added."""
    layout = table.layout
    found = [
        Field("parameter", each.type, _text(each.value), ("parameters", name, "value"))
        for name, each in layout.parameters.items()
    ]
    for part, rows in (("limits", layout.limits), ("rules", layout.rules)):
        for place, row in enumerate(rows):
            if part == "rules" and place in added:
                found.append(Field("name", "name", row.name, (part, place, "name")))
                found.append(Field("why", "why", row.why, (part, place, "why")))
            found += _fields_of_row(table, row, (part, place))
    if layout.otherwise is not None:
        found += _fields_of_row(table, layout.otherwise, ("otherwise",))
    return found


def operators_for(kind: str) -> tuple[str, ...]:
    """Return the operators that a fact of a type can have."""
    ordered = ("<", "<=", ">", ">=", "between")
    if kind in ("integer", "decimal"):
        return tuple(each for each in OPERATORS if each != "starts with")
    return tuple(each for each in OPERATORS if each not in ordered and (kind == "string" or each != "starts with"))


def edited(table: Table, texts: Sequence[str], added: Collection[int] = ()) -> Edited:
    """Return the table with other texts; there must be as many as `fields_of` returns."""
    fields = fields_of(table, added)
    if len(texts) != len(fields):
        return Edited(None, {None: f"[{len(texts)}] texts were sent; expected [{len(fields)}]: open the page again"})
    written = table.written()
    problems: dict[int | None, str] = {}
    for place, (field, text) in enumerate(zip(fields, texts, strict=True)):
        if text.strip() == field.text.strip() and field.part != "value":
            continue
        try:
            _set(written, field, text, texts[place - 1])
        except ValueError as error:
            problems[place] = str(error)
    if problems:
        return Edited(None, problems)
    try:
        return Edited(Table.of(written, checked=False), {})
    except PolicyTableError as error:
        return Edited(None, {None: str(error)})


def _fields_of_row(table: Table, row: Row, path: tuple[str | int, ...]) -> list[Field]:
    found = []
    for place, condition in enumerate(row.when):
        kind, cell = table.layout.facts[condition.fact].type, (*path, "when", place)
        found.append(Field("operator", kind, condition.operator, (*cell, 1)))
        found.append(Field("value", kind, _written(table, condition), (*cell, 2)))
    found.append(Field("effect", "effect", row.effect, (*path, "effect")))
    found.append(Field("tier", "tier", row.tier or "", (*path, "tier")))
    return found


def _set(written: dict[str, Any], field: Field, text: str, before: str) -> None:
    *home_path, last = field.path
    home: Any = written
    for step in home_path:
        home = home[step]
    if field.part == "parameter":
        home[last] = _scalar(field.type, text)
    elif field.part == "value":
        home[last] = _operand(written, field.type, text, before)
    elif field.part in ("name", "why"):
        if not text.strip():
            raise ValueError("expected a name" if field.part == "name" else "expected the reason of this rule")
        home[last] = text.strip()
    elif field.part == "tier":
        tier = text.strip() if home["effect"] == "require_approval" else ""
        home.pop("tier", None)
        home.update({"tier": tier} if tier else {})
    else:
        known: Sequence[str] = operators_for(field.type) if field.part == "operator" else tuple(EFFECTS)
        if text not in known:
            raise ValueError(f"[{text:.40}] is not known; expected one of [{', '.join(known)}]")
        home[last] = text
        if field.part == "effect" and text != "require_approval":
            home.pop("tier", None)


def _operand(written: dict[str, Any], kind: str, text: str, operator: str) -> Any:
    if operator not in _MANY:
        return _one(written, kind, text)
    items = _items(text)
    if operator == "between" and len(items) != 2:
        raise ValueError("expected two values with a comma between them, the smaller one first")
    if not items:
        raise ValueError("expected values with commas between them")
    return [_one(written, kind, each) for each in items]


def _one(written: dict[str, Any], kind: str, text: str) -> Any:
    named = _PARAMETER.match(text.strip())
    if named is not None:
        if named[1] not in written["parameters"]:
            raise ValueError(f"there is no parameter [{named[1]}]")
        return {"param": named[1]}
    return _scalar(kind, text)


def _scalar(kind: str, text: str) -> Any:
    plain = text.strip()
    if kind == "integer":
        if not _INTEGER.match(plain):
            raise ValueError("expected a whole number")
        return int(plain)
    if kind == "decimal":
        if number(plain) is None:
            raise ValueError("expected a number such as 0.25")
        return plain
    if kind == "boolean":
        if plain not in ("true", "false"):
            raise ValueError("expected true or false")
        return plain == "true"
    if not plain.startswith('"'):
        return plain
    try:
        found = json.loads(plain)
    except ValueError:
        found = None
    if not isinstance(found, str):
        raise ValueError('expected a text in quotes, as "a, b"')  # noqa: TRY004 - the text is wrong
    return found


def _items(text: str) -> list[str]:
    """Return the texts between commas; a comma within quotes divides nothing."""
    items, at = [], 0
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is None:
            raise ValueError('expected values with commas between them; put a text with a comma in quotes, as "a, b"')
        if found[1].strip():
            items.append(found[1].strip())
        at = max(found.end(), at + 1)
    return items


def _written(table: Table, condition: Condition) -> str:
    kind = table.layout.facts[condition.fact].type
    shown = [_operand_text(each, kind, among=condition.many) for each in condition.operands]
    return ", ".join(shown)


def _operand_text(operand: Operand, kind: str, *, among: bool) -> str:
    if isinstance(operand, ParameterRef):
        return f"{{{operand.param}}}"
    text = _text(operand)
    odd = text != text.strip() or text.startswith(('"', "{")) or not text or (among and ("," in text or '"' in text))
    return json.dumps(text, ensure_ascii=False) if kind == "string" and odd else text


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
