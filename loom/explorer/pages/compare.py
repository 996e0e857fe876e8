"""Compare: two decisions, two versions of rules or two runs side by side; what is the same is folded away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import Query
from pydantic import JsonValue

from loom.decisions import DecisionSummary
from loom.explorer import words
from loom.explorer.aligning import Part, decisions_aligned, runs_aligned, versions_aligned
from loom.explorer.cases import Shape
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit, Visitor

__all__ = ["page"]

page = Page(
    "compare",
    "/compare",
    title="Compare",
    about="Two decisions, two versions of rules, or two runs, side by side.",
    place=70,
)

_MOST = 500


class Choice(Shape):
    """Something that can be chosen: its id, and what it is."""

    id: str
    words: str


class Pair(Shape):
    """A case that both runs decided, with what each decided."""

    case: str
    one: str
    other: str
    one_id: str
    other_id: str


class CompareView(View):
    """Both sides. `pairs` are the cases that two runs decided otherwise; `alike` counts those that they decided alike.

    `alone` counts the cases that one run only has. Of each run the newest 500 decisions are aligned.
    """

    what: Literal["decisions", "rules", "runs"]
    one: str
    other: str
    links: tuple[str, str] | None = None
    parts: tuple[Part, ...] = ()
    pairs: tuple[Pair, ...] = ()
    alike: int = 0
    alone: int = 0
    cut: bool = False
    choices: tuple[Choice, ...]


@page.shows
async def compare(
    visit: Visit,
    what: Literal["decisions", "rules", "runs"] = "decisions",
    one: Annotated[str, Query(max_length=200)] = "",
    other: Annotated[str, Query(max_length=200)] = "",
) -> CompareView:
    """Align two things of one kind."""
    as_of, one, other = visit.loom.store.acknowledged, one.strip(), other.strip()
    choices = await _choices(visit, what)
    if not one or not other:
        return CompareView(as_of=as_of, what=what, one=one, other=other, choices=choices)
    if what == "runs":
        return await _runs(visit, one, other, choices=choices)
    if what == "rules":
        first, second = (visit.loom.policies.resolve(each) for each in (one, other))
        parts = versions_aligned(first, second)
        return CompareView(
            as_of=as_of, what=what, one=first.version, other=second.version, parts=parts, choices=choices
        )
    traces = [await visit.loom.traces.get(each) for each in (one, other)]
    return CompareView(
        as_of=as_of,
        what=what,
        one=traces[0].decision_id,
        other=traces[1].decision_id,
        links=(f"/decisions/{traces[0].decision_id}", f"/decisions/{traces[1].decision_id}"),
        parts=decisions_aligned(traces[0], traces[1]),
        choices=choices,
    )


async def _runs(visit: Visitor, one: str, other: str, *, choices: tuple[Choice, ...]) -> CompareView:
    loom = visit.loom
    runs = [await loom.runs.get(each) for each in (one, other)]
    decided = [await loom.traces.find(run_id=each.run_id, limit=_MOST) for each in runs]
    sides = [{each.replayed_from or each.decision_id: each for each in found} for found in decided]
    if sides[0].keys().isdisjoint(sides[1]):  # neither replays the other: the cases are aligned by their agents
        sides = [_by_agent(found) for found in decided]
    both = [key for key in sides[0] if key in sides[1]]
    pairs = []
    for key in both:
        first, second = sides[0][key], sides[1][key]
        said = [_said(each.effect, each.outcome) for each in (first, second)]
        if said[0] != said[1]:
            pairs.append(
                Pair(
                    case=first.journal,
                    one=said[0],
                    other=said[1],
                    one_id=first.decision_id,
                    other_id=second.decision_id,
                )
            )
    return CompareView(
        as_of=loom.store.acknowledged,
        what="runs",
        one=runs[0].run_id,
        other=runs[1].run_id,
        parts=runs_aligned(runs[0], runs[1]),
        pairs=tuple(pairs[:100]),
        alike=len(both) - len(pairs),
        alone=len(sides[0]) + len(sides[1]) - 2 * len(both),
        cut=any(len(found) == _MOST for found in decided) or len(pairs) > 100,
        choices=choices,
    )


def _by_agent(found: Sequence[DecisionSummary]) -> dict[str, DecisionSummary]:
    """Return decisions by their agent, their type and their number among those, the oldest first."""
    counts: Counter[str] = Counter()
    sides = {}
    for each in reversed(found):
        key = f"{each.journal} {each.decision_type}"
        counts[key] += 1
        sides[f"{key} {counts[key]}"] = each
    return sides


def _said(effect: str | None, outcome: Mapping[str, JsonValue]) -> str:
    said = ", ".join(f"{name.replace('_', ' ')} {words.value(each)}" for name, each in outcome.items())
    return " · ".join(each for each in (None if effect is None else effect.replace("_", " "), said) if each)


async def _choices(visit: Visitor, what: str) -> tuple[Choice, ...]:
    """Return what can be chosen, the newest first: for the list that the fields offer."""
    loom = visit.loom
    if what == "rules":
        known = [each for name in loom.policies.names() for each in loom.policies.versions(name) if each.has_rule]
        return tuple(Choice(id=each.version, words=f"{each.name} {each.number}") for each in reversed(known))[:50]
    if what == "runs":
        runs = await loom.runs.find(limit=20)
        return tuple(Choice(id=each.run_id, words=f"{each.kind}, {each.note or each.status}") for each in runs)
    found = await loom.traces.find(limit=20)
    return tuple(Choice(id=each.decision_id, words=f"{each.journal}: {each.rationale[:60]}") for each in found)
