"""Cells made into the values that are recorded: exact ones only, by the rule that the map names."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from loom.history.map import Cell, Kind, Moment
from loom.journal.admission import MAX_INTEGER

__all__ = ["BadValueError", "cell_reader", "moment_reader"]

_TRUE = frozenset({"1", "true", "yes", "y", "t"})
_FALSE = frozenset({"0", "false", "no", "n", "f"})
_MAX_TEXT = 4_000
_MAX_DIGITS = 64
_ROUNDING = {
    "half_even": decimal.ROUND_HALF_EVEN,
    "half_up": decimal.ROUND_HALF_UP,
    "half_down": decimal.ROUND_HALF_DOWN,
    "down": decimal.ROUND_DOWN,
    "up": decimal.ROUND_UP,
    "floor": decimal.ROUND_FLOOR,
    "ceiling": decimal.ROUND_CEILING,
}

Cells = Mapping[str, object]


class BadValueError(ValueError):
    """A cell is not what the map says that it is; `code` says in a word how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def cell_reader(cell: Cell, kind: Kind = "text") -> Callable[[Cells], JsonValue]:
    """Return what reads a value out of a row: None where the cell is empty; raise `BadValueError`.

    `kind` is what it is read as where the map does not say.
    """
    if cell.column is None:
        constant = cell.value
        return lambda _: constant
    column, empty, values = cell.column, frozenset(cell.empty), cell.values
    convert = _converter(cell.kind or kind, cell)

    def read(cells: Cells) -> JsonValue:
        given = cells.get(column)
        if hasattr(given, "item") and getattr(given, "ndim", None) == 0:  # a scalar of numpy's or pandas'
            given = given.item()
        if isinstance(given, str):
            given = given.strip()
        if given is None or (isinstance(given, str) and given in empty) or given != given:
            if cell.required:
                raise BadValueError("nothing_there", "is empty; expected a value, as it is required")
            return None
        if values is not None:
            return _declared(given, values)
        return convert(given)

    return read


def moment_reader(moment: Moment) -> Callable[[Cells], datetime | None]:
    """Return what reads a time, with its zone, out of a row: None where the cell is empty; raise `BadValueError`."""
    zone = None if moment.zone is None else ZoneInfo(moment.zone)
    if moment.column is None:
        constant = _in_zone(_parsed(moment.value or "", moment.format), zone)
        return lambda _: constant
    column, empty = moment.column, frozenset(moment.empty)

    def read(cells: Cells) -> datetime | None:
        given = cells.get(column)
        if given is None or (isinstance(given, str) and given.strip() in empty):
            return None
        return _in_zone(_parsed(given, moment.format), zone)

    return read


def _declared(given: object, values: Mapping[str, JsonValue]) -> JsonValue:
    text = _as_text(given)
    if text not in values:
        raise BadValueError("undeclared", f"is [{_short(text)}]; expected one of [{', '.join(values)}]: declare it")
    return values[text]


def _as_text(given: object) -> str:
    """Return a cell as the map would write it: 1.0 is 1, and true is true."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    return str(given)


def _converter(kind: Kind, cell: Cell) -> Callable[[object], JsonValue]:
    if kind == "boolean":
        return _boolean
    if kind == "text":
        return _text
    exponent = None if cell.places is None else Decimal(1).scaleb(-cell.places)
    rounding = _ROUNDING.get(cell.rounding or "")
    whole = kind == "integer"

    def number(given: object) -> JsonValue:
        exact = _exact(given, rounded=rounding is not None)
        if rounding is not None and exponent is not None:
            with decimal.localcontext() as context:
                context.prec = 2 * _MAX_DIGITS
                exact = exact.quantize(exponent, rounding=rounding)
        return _integer(exact) if whole else _plain(exact)

    return number


def _boolean(given: object) -> bool:
    text = _as_text(given).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadValueError("bad_value", f"is [{_short(text)}]; expected true or false: declare values: in the map")


def _text(given: object) -> str:
    if isinstance(given, bytes | list | dict):
        raise BadValueError("bad_value", f"is a {type(given).__name__}; expected text")
    text = given.isoformat() if isinstance(given, date) else _as_text(given)
    if len(text) > _MAX_TEXT:
        raise BadValueError("bad_value", f"has [{len(text)}] characters; expected at most [{_MAX_TEXT}]")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadValueError("bad_value", "is not UTF-8; expected a file in UTF-8: convert it") from error
    if "\x00" in text:
        raise BadValueError("bad_value", "contains U+0000; expected text without it")
    return text


def _exact(given: object, *, rounded: bool) -> Decimal:
    """Return the number that a cell is; a float is one only where the map says how it is rounded."""
    if isinstance(given, float) and not rounded and not given.is_integer():
        text = format(Decimal(repr(given)), "f") if given - given == 0 else "0"
        raise BadValueError(
            "inexact", f"is the float [{given!r}]; expected exact digits: write [{text}], or name places and rounding"
        )
    if isinstance(given, bool) or not isinstance(given, int | float | str | Decimal):
        raise BadValueError("bad_value", f"is a {type(given).__name__}; expected a number")
    text = repr(given) if isinstance(given, float) else str(given)
    try:
        number = Decimal(text) if len(text) <= _MAX_DIGITS and text.isascii() and "_" not in text else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        formula = "; a formula is not worked out" if text[:1] in "=@" else ""
        raise BadValueError("bad_value", f"is [{_short(text)}]; expected a number{formula}")
    return number


def _integer(number: Decimal) -> int:
    if number != number.to_integral_value() or abs(number) > MAX_INTEGER:
        raise BadValueError("bad_value", f"is [{number}]; expected an integer within ±{MAX_INTEGER}")
    return int(number)


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text if number else text.lstrip("-")


def _parsed(given: Any, form: str | None) -> datetime:
    if isinstance(given, datetime):
        return given
    if isinstance(given, date):
        return datetime(given.year, given.month, given.day)  # noqa: DTZ001 - the map's zone follows
    text = str(given).strip()
    try:
        return datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - see above
    except (ValueError, OverflowError) as error:
        expected = f"a time in the form [{form}]" if form else "a time in ISO 8601"
        raise BadValueError("bad_time", f"is [{_short(text)}]; expected {expected}") from error


def _in_zone(at: datetime, zone: ZoneInfo | None) -> datetime:
    if at.tzinfo is not None:
        return at
    if zone is None:
        raise BadValueError("no_zone", f"is [{at.isoformat()}], in no zone; expected one: name zone: in the map")
    return at.replace(tzinfo=zone)


def _short(text: str) -> str:
    return ascii(text[:60])[1:-1] + ("…" if len(text) > 60 else "")
