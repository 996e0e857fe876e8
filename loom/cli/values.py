"""Values that are given on the command line by name."""

from __future__ import annotations

import json
from typing import Any

import typer

__all__ = ["named_values"]


def named_values(given: list[str], *, option: str) -> dict[str, Any]:
    """Return what `name=value` options say; a value is JSON where it can be, and else text."""
    values: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise typer.BadParameter(
                f"[{each}] has no name and value; expected [name=value], as in industry=healthcare: write it so",
                param_hint=option,
            )
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
