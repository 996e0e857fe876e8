"""Text for people: journaled text made harmless; times, ages, sizes and values on one line."""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom.identity import Identity

__all__ = [
    "age",
    "as_json",
    "compact",
    "moment",
    "named",
    "one_line",
    "parse_moment",
    "plain",
    "safe",
    "shortened",
    "size",
    "who",
]

_SHORT = 12
_ZERO_WIDTH_JOINER = "\u200d"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def safe(text: str) -> str:
    """Return text in which nothing can steer a terminal or change the order in which it is read; lines stay lines."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe(character) for character in text)


def one_line(text: str, longest: int = 400) -> str:
    """Return text on one line and harmless, cut where it is too long."""
    shown = safe(" ".join(text[: 4 * longest].split()))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def compact(value: Any, longest: int = 400) -> str:
    """Return a JSON value on one line: an object as name=value, text as it is, and what is sealed as `[sealed]`."""
    if isinstance(value, dict | list):
        from loom.sealing.markers import worded

        value = worded(value)
    if isinstance(value, dict):
        return one_line(", ".join(f"{name}={_inner(item)}" for name, item in value.items()) or "{}", longest)
    return one_line(value if isinstance(value, str) else _inner(value), longest)


def named(said: Mapping[str, Any], field: str = "by") -> Identity | None:
    """Return the person that plain JSON names in a field, and where the name comes from; None without one."""
    from loom.identity import Identity  # not for `--help`

    prefix = field.removesuffix("by")
    source, via = (said.get(f"{prefix}{name}", said.get(name)) for name in ("identity_source", "via"))
    return Identity(str(said[field]), source, via) if said.get(field) else None


def who(identity: Identity | None, longest: int = 20) -> str:
    """Return a person for a narrow column: a name that is cut where it is too long, and how it was established."""
    if identity is None:
        return "-"
    return f"{one_line(identity.name, longest)} {identity.brief[len(identity.name) + 1 :]}"


def shortened(ids: Iterable[str]) -> dict[str, str]:
    """Return ids in the short form that people type, each long enough to tell it from the others."""
    ordered = sorted(set(ids))
    short: dict[str, str] = {}
    for before, each, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        alike = max(_common(each, other) for other in (before, after))
        short[each] = each[: max(_SHORT, alike + 1)]
    return short


def moment(at: datetime | str) -> str:
    """Return a moment to the second, in UTC."""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def age(seconds: float) -> str:
    """Return how long something took or waits, in the units a person would use."""
    if seconds < 0:
        return f"-{age(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min"
    if seconds < 129_600:
        return f"{int(seconds // 3_600)} h {int(seconds % 3_600 // 60)} min"
    return f"{int(seconds // 86_400)} d {int(seconds % 86_400 // 3_600)} h"


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Return the moment that a person means: `2h` or `3d` ago, a date, or a date with a time (UTC unless it says)."""
    amount, unit = text[:-1], text[-1:]
    if unit in _UNITS and amount.isdigit() and len(amount) < 7:
        return now - timedelta(seconds=int(amount) * _UNITS[unit])
    when = datetime.fromisoformat(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """Return JSON as programs read it, in which nothing can steer the terminal that it may be printed on."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=str)
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    # Unprintable characters occur only inside strings, where an escape means the same.
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )


def plain(state: Any) -> Any:
    """Return a state as JSON shows it; values that JSON cannot express are shown as Python does."""
    from pydantic_core import to_jsonable_python

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a value that is of another type, as one that is sealed
        return to_jsonable_python(state, fallback=repr)


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _inner(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else json.dumps(value, ensure_ascii=False, default=str)


def _safe(character: str) -> str:
    if character in ("\n", _ZERO_WIDTH_JOINER) or character.isprintable():
        return character
    if character == "\t" or unicodedata.category(character) == "Zs":
        return " "
    return f"\\u{ord(character):04x}"
