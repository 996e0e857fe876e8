"""Values that are given on the command line: by name, and moments."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import typer

from loom.text import parse_moment

__all__ = ["moment_of", "named_values", "text_values"]


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


def text_values(given: list[str], *, option: str) -> dict[str, str]:
    """Return what `name=value` options say, values as they were written."""
    named_values(given, option=option)  # refuses those without a name
    return dict(each.split("=", 1) for each in given)


def moment_of(text: str, option: str, now: datetime) -> datetime:
    """Return the moment that an option says; see `parse_moment`."""
    try:
        return parse_moment(text, now=now)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"[{text}] is no point in time; expected [2h, 3d, 2026-01-31 or 2026-01-31T12:00]: use one of these",
            param_hint=option,
        ) from error
