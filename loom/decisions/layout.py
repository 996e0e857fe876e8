"""Text and layout of an explanation: lines in two columns, values and times in readable form.

Journaled text is untrusted: control characters for a terminal are shown as escapes.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.sealing.markers import placeholder_of, worded

__all__ = [
    "ExplanationLine",
    "Tone",
    "after_failures",
    "flat",
    "harmless",
    "in_words",
    "labelled",
    "laid_out",
    "moment",
    "tone_of",
    "took",
]

Tone: TypeAlias = Literal["plain", "strong", "good", "bad", "quiet"]
"""The tone of a line; a renderer may give it a colour."""

_SHOWN = 400
_MARGIN = "  "
_ZERO_WIDTH_JOINER = "\u200d"


class ExplanationLine(BaseModel):
    """A short label and its text. A line without a label continues the line above."""

    model_config = ConfigDict(frozen=True)

    label: str = ""
    text: str
    tone: Tone = "plain"


def labelled(label: str, text: str, tone: Tone = "plain") -> ExplanationLine:
    """Return a line without control characters for a terminal."""
    return ExplanationLine(label=harmless(label.replace("\n", " ")), text=harmless(text), tone=tone)


def laid_out(line: ExplanationLine, column: int, width: int) -> Iterator[str]:
    """Yield a line in two columns, wrapped within the second. A label that is too long gets its own line."""
    indent = _MARGIN + " " * (column + len(_MARGIN) if column else 0)
    head = f"{_MARGIN}{line.label:<{column}}{_MARGIN}" if column else _MARGIN
    if len(line.label) > column:
        yield from textwrap.wrap(line.label, width, initial_indent=_MARGIN, subsequent_indent=_MARGIN)
        head = indent
    for paragraph in line.text.split("\n"):
        yield from textwrap.wrap(
            paragraph, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
        ) or [head.rstrip()]
        head = indent


def flat(facts: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    """Yield facts by name; those within an object as `object.name`."""
    for name, value in facts.items():
        if isinstance(value, dict) and value and placeholder_of(value) is None:
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            yield name, value


def in_words(value: JsonValue) -> str:
    """Return a value in readable form. A long one is cut, with its length."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "nothing"
    value = worded(value)
    text = value if isinstance(value, str) and value.strip() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def harmless(text: str) -> str:
    """Return text without characters that control a terminal or change the direction of text."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe(character) for character in text)


def _safe(character: str) -> str:
    if character in ("\n", _ZERO_WIDTH_JOINER) or character.isprintable():
        return character
    if character == "\t" or unicodedata.category(character) == "Zs":
        return " "
    return f"\\u{ord(character):04x}"


def moment(at: datetime) -> str:
    """Return a moment to the second, with the name of its zone."""
    return f"{at:%Y-%m-%d %H:%M:%S} {at.tzname() or ''}".rstrip()


def took(seconds: float) -> str:
    """Return a duration in the unit that people would use."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, hours, days = round(seconds / 60), int(seconds // 3600), int(seconds // 86_400)
    if minutes < 90:
        return f"{minutes} min"
    if hours < 36:
        return f"{hours} h {int(seconds % 3600 // 60)} min"
    return f"{days} d {int(seconds % 86_400 // 3600)} h"


def after_failures(failed: Sequence[str]) -> list[str]:
    """Return what came before the last attempt, by the types of the errors; nothing where there was one attempt."""
    if not failed:
        return []
    types = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in Counter(failed).items())
    return [f"after {len(failed)} failed attempt{'s' if len(failed) > 1 else ''}: {types}"]


def tone_of(answer: str) -> Tone:
    """Return the tone of `granted` and `denied`."""
    return "good" if answer == "granted" else "bad"
