"""What is printed, as text: see `loom.text`."""

from __future__ import annotations

from loom.text import (
    age,
    as_json,
    compact,
    moment,
    named,
    one_line,
    parse_moment,
    plain,
    safe,
    shortened,
    size,
    who,
)

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
