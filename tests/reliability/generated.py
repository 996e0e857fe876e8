"""Values and texts that a seeded generator makes up by the hundred thousand: likely ones, wrong ones, hostile ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["broken_text", "json_text", "odd_value", "plain_value"]

TEXTS = (
    "",
    "a",
    "ä",
    "\u2028",
    "\U0001f527",
    "é",
    "e\u0301",
    "\ufeff",
    "\uffff",
    "\U0010ffff",
    "x" * 300,
    '"',
    "\\",
    "/",
    "\b\f\n\r\t",
    "\x7f",
    "\x01",
    "$float",
    "$",
    "key",
    "journal",
    "é€😀",
    "\ud7ff",
    "\ue000",
    "NaN",
    "Infinity",
)
BAD_TEXTS = ("\x00", "a\x00b", "\ud800", "\udfff", "x\udc00")
INTEGERS = (0, 1, -1, 2**31, 2**53 - 1, -(2**53) + 1, 10**15)
BAD_INTEGERS = (2**53, -(2**53), 2**63, 2**64, 10**40, -(10**400))
FLOATS = (0.0, -0.0, 0.1, 1.0, 1e-7, 1e21, 5e-324, 1.7976931348623157e308, 2.5775166004351e16, 2.0**53, -1e-300)
BAD_FLOATS = (float("nan"), float("inf"), float("-inf"))
TOKENS = (
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "null",
    "true",
    "NaN",
    "-Infinity",
    "1e400",
    "-0",
    "01",
    "1.",
    "\\u0000",
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    "\x00",
    "\xff",
    "9007199254740993",
    "1" * 5_000,
    '"a":1,"a":2',
    "\ufeff",
    " ",
    "\n",
)


class Thing:
    """What JSON cannot say."""


def plain_value(dice: random.Random, depth: int = 3) -> Any:
    """Return a value that may be journaled."""
    kind = dice.randrange(8 if depth else 6)
    if kind == 0:
        return dice.choice((None, True, False))
    if kind == 1:
        return dice.choice(INTEGERS) if dice.random() < 0.3 else dice.randrange(-(2**53) + 1, 2**53)
    if kind == 2:
        return dice.choice(FLOATS) if dice.random() < 0.5 else dice.random() * 10.0 ** dice.randrange(-30, 30)
    if kind in (3, 4, 5):
        return dice.choice(TEXTS)
    if kind == 6:
        return [plain_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(TEXTS): plain_value(dice, depth - 1) for _ in range(dice.randrange(4))}


def odd_value(dice: random.Random, depth: int = 2) -> Any:
    """Return a value that most likely may not be journaled."""
    odd: tuple[Callable[[], Any], ...] = (
        lambda: dice.choice(BAD_TEXTS),
        lambda: dice.choice(BAD_INTEGERS),
        lambda: dice.choice(BAD_FLOATS),
        Thing,
        lambda: {1: "a"},
        lambda: {None: 1},
        lambda: {dice.choice(BAD_TEXTS): 1},
        lambda: b"\xff\x00",
        lambda: nested(dice.randrange(1, 60)),
        lambda: {1, 2},
        lambda: range(3),
        lambda: plain_value(dice, depth),
        lambda: 1j,
        lambda: Exception("x"),
    )
    value = dice.choice(odd)()
    return value if dice.random() < 0.5 else {"inside": [value, plain_value(dice, 1)]}


def nested(depth: int) -> Any:
    """Return lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def json_text(dice: random.Random) -> bytes:
    """Return the JSON of a plain value, written in one of the ways in which it may be written."""
    return json.dumps(
        plain_value(dice),
        ensure_ascii=dice.random() < 0.5,
        separators=(",", ":") if dice.random() < 0.7 else (", ", ": "),
    ).encode("utf-8", "surrogatepass")


def broken_text(dice: random.Random) -> bytes:
    """Return bytes that are no JSON, nearly JSON, or JSON of a kind that is refused."""
    if dice.random() < 0.02:
        return dice.choice((b"[", b'{"a":', b"[[")) * dice.randrange(1, 50_000)
    if dice.random() < 0.4:
        return "".join(dice.choices(TOKENS, k=dice.randrange(1, 8))).encode("utf-8", "surrogatepass")
    text = bytearray(json_text(dice))
    for _ in range(dice.randrange(1, 4)):
        if text and dice.random() < 0.5:
            text[dice.randrange(len(text))] = dice.randrange(256)
        else:
            at = dice.randrange(len(text) + 1)
            text[at:at] = dice.choice(TOKENS)[:40].encode("utf-8", "surrogatepass")
    return bytes(text)
