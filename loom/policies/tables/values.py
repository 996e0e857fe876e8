"""Values from databases, spreadsheets and Python, converted to the form that a table needs.

Conversion happens before facts are recorded, so the recorded values are those that were judged. Only exact values are
converted. A float in place of a decimal fact is refused, as its intended digits are lost. An invalid value is left as
it is, and the table gives `indeterminate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from loom.errors import AdmissionError
from loom.journal.admission import MAX_INTEGER
from loom.policies.tables.layout import TableLayout, fits

__all__ = ["canonical_facts"]

_LONGEST = 64


def canonical_facts(layout: TableLayout, raw: Mapping[str, object]) -> dict[str, object]:
    """Return facts with every exact value in the form that the table asks for; others, and unknown ones, as they are.

    Integers are `int`, decimals plain text such as `"0.25"`, booleans `bool`. Raises `AdmissionError` for a float where
    the table asks for a decimal, with the text to write instead.
    """
    return {
        name: _canonical(layout.facts[name].type, value, name) if name in layout.facts else value
        for name, value in raw.items()
    }


def _canonical(kind: str, given: object, name: str) -> object:
    value = _python_value(given)
    if kind == "integer":
        return _integer(value)
    if kind == "boolean":
        return bool(value) if type(value) is int and value in (0, 1) else value
    if kind == "decimal":
        return _decimal(value, name)
    return value


def _python_value(given: object) -> Any:
    """Return the Python value that an enum member, or a scalar of numpy's or pandas', holds."""
    if isinstance(given, Enum):
        return given.value
    item = getattr(given, "item", None)
    if callable(item) and getattr(given, "ndim", None) == 0:
        return item()
    return given


def _integer(value: Any) -> Any:
    """Return an integer for an integral number of any type; a text is not converted."""
    finite = value.is_finite() if isinstance(value, Decimal) else isinstance(value, float) and math.isfinite(value)
    return int(value) if finite and abs(value) <= MAX_INTEGER and value == int(value) else value


def _decimal(value: Any, name: str) -> Any:
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f") if math.isfinite(value) else "0"
        raise AdmissionError(
            f"fact [{name}] is the float [{value!r}]; expected a decimal, whose digits are exact: "
            f'write Decimal("{text}") or "{text}", if that is what was meant',
            path=f"$.{name}",
        )
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and not fits("decimal", value):
        value = _exact(value)  # such as `1E+2`, which is how Python writes some decimals
    if isinstance(value, Decimal) and value.is_finite():
        text = format(value, "f")
        return text if fits("decimal", text) else str(value)
    return value


def _exact(text: str) -> Decimal | str:
    try:
        return Decimal(text) if len(text) <= _LONGEST else text
    except InvalidOperation:
        return text
