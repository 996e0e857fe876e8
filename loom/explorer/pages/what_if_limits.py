"""All values of one limit compared: how many cases would have been allowed, asked about and refused under each."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from loom.errors import PolicyTableError
from loom.explorer.page import Page, View
from loom.explorer.pages.what_if import Shaped, Texts, question, session_of, sheet_asked_for
from loom.explorer.visits import Visit
from loom.replay.what_if import WhatIfProcess
from loom.web.guard import HttpRefusal

__all__ = ["page"]

page = Page("what-if-limits", "/what-if/limits", title="Compare all values")

_WIDTH, _HEIGHT, _BASE = 640, 220, 190


class Point(BaseModel):
    """One value: the number of cases by effect, and the query that opens "What if" with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str
    now: bool
    allow: int
    ask: int
    deny: int
    none: int
    query: str


class LimitsView(View):
    """The points in the order of their values. `spares` is the value with which a person is asked the least.

    `saves` is how many fewer cases that is, in comparison with the value in the table.
    """

    policy: str
    parameter: str
    points: tuple[Point, ...]
    spares: str | None
    saves: int
    query: str
    bars: tuple[dict[str, Any], ...]
    """The picture: for each point the rectangles, bottom up."""


@page.shows
async def limits(visit: Visit, policy: str, base: str, parameter: str, v: Texts = (), shape: Shaped = "") -> LimitsView:
    """Try the values of a parameter."""
    version, sheet = sheet_asked_for(visit, policy, base, shape)
    fields = sheet.fields
    texts = v or tuple(each.text for each in fields)
    said = sheet.edited(texts)
    if said.table is None:
        raise PolicyTableError("; ".join(said.problems.values()))
    found = await visit.loom.part(WhatIfProcess).sweep(f"{session_of(visit)}/limits", sheet.base, said.table, parameter)
    if found is None:
        raise HttpRefusal(409, "superseded", "a newer question of this session is answered instead")
    number = next(place for place, each in enumerate(fields) if each.path == ("parameters", parameter, "value"))
    present = str(said.table.layout.parameters[parameter].value)
    points = tuple(
        Point(
            value=str(each.value),
            now=str(each.value) == present,
            allow=each.effects.get("allow", 0),
            ask=each.effects.get("require_approval", 0),
            deny=each.effects.get("deny", 0),
            none=each.effects.get("indeterminate", 0),
            query=question(version, sheet, [*texts[:number], str(each.value), *texts[number + 1 :]]),
        )
        for each in found.points
    )
    now = next((each.ask for each in points if each.now), 0)
    best = min(points, key=lambda each: each.ask, default=None)
    return LimitsView(
        as_of=visit.loom.store.acknowledged,
        policy=policy,
        parameter=parameter,
        points=points,
        spares=best.value if best is not None and best.ask < now else None,
        saves=0 if best is None else now - best.ask,
        query=question(version, sheet, texts),
        bars=tuple(_bars(points)),
    )


def _bars(points: tuple[Point, ...]) -> list[dict[str, Any]]:
    most = max((each.allow + each.ask + each.deny + each.none for each in points), default=0) or 1
    step = _WIDTH / max(len(points), 1)
    bars = []
    for place, point in enumerate(points):
        top, parts = float(_BASE), []
        for kind in ("allow", "ask", "deny", "none"):
            height = getattr(point, kind) / most * (_BASE - 10)
            top -= height
            if height:
                parts.append({"kind": kind, "y": round(top, 1), "height": round(height, 1)})
        x, width = round(place * step + 1, 1), round(step - 2, 1)
        bars.append({"x": x, "width": width, "value": point.value, "now": point.now, "parts": parts})
    return bars
