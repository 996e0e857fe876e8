"""Costs: what calls of language models cost, by agent, by model and by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Query

from loom.explorer.cases import Shape
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit

__all__ = ["page"]

page = Page("costs", "/costs", title="Costs", about="What calls of language models cost.", place=86)

Group = Literal["actor", "model", "day"]
_MOST = 100


class LineSeen(Shape):
    """What one agent, model or day cost. `share` is that of the dearest one, for its bar."""

    name: str
    calls: int
    failed: int
    unknown: int
    tokens: int
    cost_usd: float
    share: float


class CostsView(View):
    """The costs of the last days, dearest first, or day by day."""

    days: int
    by: Group
    lines: tuple[LineSeen, ...]
    total_usd: float
    calls: int
    unknown: int
    titles: Mapping[str, str]


@page.shows
async def show(
    visit: Visit, days: Annotated[int, Query(ge=1, le=366)] = 30, by: Annotated[Group, Query()] = "actor"
) -> CostsView:
    """Sum the calls of the last days."""
    loom = visit.loom
    as_of = loom.store.acknowledged
    found = await loom.costs.by(by, since=loom.now() - timedelta(days=days))
    highest = max((each.cost_usd for each in found), default=0.0) or 1.0
    return CostsView(
        as_of=as_of,
        days=days,
        by=by,
        lines=tuple(
            LineSeen(
                name=each.name,
                calls=each.calls,
                failed=each.failed,
                unknown=each.unknown,
                tokens=each.input_tokens + each.output_tokens,
                cost_usd=each.cost_usd,
                share=round(each.cost_usd / highest, 4),
            )
            for each in found[:_MOST]
        ),
        total_usd=sum(each.cost_usd for each in found),
        calls=sum(each.calls for each in found),
        unknown=sum(each.unknown for each in found),
        titles={"actor": "Agent", "model": "Model", "day": "Day"},
    )
