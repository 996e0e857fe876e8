"""Classes: cases that are alike, how they were decided, and those first that were decided in more than one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import JsonValue

from loom.explorer.cases import Shape
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit
from loom.explorer.words import value
from loom.precedents import PrecedentSupport

__all__ = ["page"]

page = Page(
    "classes",
    "/classes",
    title="Like cases",
    about="Cases that are alike, and how they were decided. Those that were decided in more than one way come first.",
    place=50,
)

_READ = 300
"""The classes that are read, the largest ones; an outcome is part of a class."""
_SHOWN = 100
_SEPARATED = 10
_ARROW = " → "
"""Between the situation and the outcome, in the words of a class."""


class OutcomeSeen(Shape):
    """One way in which like cases were decided: how many, when last, and the newest one with its whole outcome."""

    words: str
    outcome: dict[str, JsonValue]
    granted: bool | None
    cases: int
    share: float
    begins: float
    """Where its part of the bar begins; both are shares of all cases."""
    last_at: datetime
    decision_id: str


class ClassSeen(Shape):
    """Cases that are alike by a registered rule; the most frequent outcome first."""

    situation: str
    words: str
    cases: int
    others: int
    """Those that were decided otherwise than most."""
    outcomes: tuple[OutcomeSeen, ...]
    separated: str | None
    """What tells the outcomes apart, where that was asked for and something does."""


class ClassesView(View):
    """Contradictions first, those with most other cases before the rest; then by the number of cases."""

    classes: tuple[ClassSeen, ...]
    contradictory: int
    whole: bool
    """Whether these are all classes; there are smaller ones otherwise."""
    explained: bool


@page.shows
async def show(visit: Visit, *, explain: Annotated[bool, Query()] = False) -> ClassesView:
    """Read the largest classes; `explain` also looks for what tells contradictory outcomes apart."""
    loom = visit.loom
    as_of = loom.store.acknowledged
    found = await loom.precedents.classes(limit=_READ)
    separated: dict[str, str] = {}
    if explain:
        for each in (await loom.precedents.contradictions(limit=_SEPARATED)).listed:
            why = "no recorded fact tells them apart" if each.separation is None else each.separation.in_words
            separated[each.situation] = why
    alike: dict[tuple[str, str], list[PrecedentSupport]] = {}
    for one in found:
        alike.setdefault((one.rule, one.situation), []).append(one)
    classes = [_class(same, separated.get(situation)) for (_, situation), same in alike.items()]
    classes.sort(key=lambda each: (not each.others, -each.others, -each.cases, each.words, each.situation))
    return ClassesView(
        as_of=as_of,
        classes=tuple(classes[:_SHOWN]),
        contradictory=sum(bool(each.others) for each in classes),
        whole=len(found) < _READ and len(classes) <= _SHOWN,
        explained=explain,
    )


def _class(same: Sequence[PrecedentSupport], separated: str | None) -> ClassSeen:
    ordered = sorted(same, key=lambda each: (-each.support, each.precedent))
    cases = sum(each.support for each in ordered)
    outcomes, begins = [], 0
    for each in ordered:
        granted = each.outcome.get("granted")
        outcomes.append(
            OutcomeSeen(
                words=each.words.partition(_ARROW)[2] or _said(each.outcome),
                outcome=each.outcome,
                granted=granted if isinstance(granted, bool) else None,
                cases=each.support,
                share=round(each.support / cases, 4),
                begins=round(begins / cases, 4),
                last_at=each.last_at,
                decision_id=each.decision_id,
            )
        )
        begins += each.support
    return ClassSeen(
        situation=ordered[0].situation,
        words=ordered[0].words.partition(_ARROW)[0] or "cases of one kind",
        cases=cases,
        others=cases - ordered[0].support,
        outcomes=tuple(outcomes),
        separated=separated,
    )


def _said(outcome: Mapping[str, JsonValue]) -> str:
    return ", ".join(f"{name} {value(what)}" for name, what in outcome.items()) or "no outcome recorded"
