"""All decisions: narrowed down by what they have in common, by words and by time, and taken along as a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import Query
from fastapi.responses import Response, StreamingResponse

from loom.explorer.cases import Shape
from loom.explorer.decisions_file import PAGE, Result, in_file, result_of
from loom.explorer.narrowing import FACETS, Filters, link_to
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit
from loom.precedents.browsed import Browsed, BrowsedDecision, CountedFacet
from loom.precedents.browsing import Browsing
from loom.reports.charts import sparkline
from loom.text import one_line

__all__ = ["page"]

page = Page(
    "decisions",
    "/decisions",
    title="Decisions",
    about="Everything that was decided here, by agents and by people, newest first.",
    place=20,
)

_AT_ONCE = 25

_WORDS: Mapping[str, Mapping[str, str]] = {
    "effect": {
        "allow": "allowed",
        "deny": "denied",
        "require_approval": "a person has to agree",
        "indeterminate": "cannot say",
    },
    "is_exception": {"1": "exceptions", "0": "no exceptions"},
}


class Value(Shape):
    """A value of a facet, how many decisions have it, and when."""

    value: str
    words: str
    decisions: int
    trend: tuple[int, ...]
    path: str
    """The bars of its chart."""
    link: str
    chosen: bool


class Facet(Shape):
    """What decisions have in common, with the values that most of them have."""

    title: str
    values: tuple[Value, ...]
    others: int


class Chosen(Shape):
    """A filter that is in use, and the link without it."""

    title: str
    words: str
    without: str


class Row(Shape):
    """One decision, as the list shows it."""

    decision_id: str
    result: Result
    said: str
    """Why, as the agent gave it."""
    at: datetime
    kind: str
    about: str
    asked_by: str | None
    decided_by: tuple[str, ...]
    rule: str | None
    version: str | None
    exception: bool
    against_rule: bool


class DecisionsView(View):
    """Decisions that match, and how many there are of what."""

    total: int
    more: bool
    """Whether more match than `total`: then the counts are of the newest."""
    first_at: datetime | None
    last_at: datetime | None
    rows: tuple[Row, ...]
    facets: tuple[Facet, ...]
    chosen: tuple[Chosen, ...]
    asked: dict[str, str]
    """The filters that are in use, by parameter."""
    examined: int | None
    """How many were looked through, where that was not all; then `further` looks at the next ones."""
    further: str | None
    next: str | None
    file: str


_Position = Annotated[int | None, Query(ge=1, le=2**62)]


@page.shows
async def decisions(visit: Visit, asked: Filters, after: _Position = None, before: _Position = None) -> DecisionsView:
    """Find decisions, and count them."""
    browsing = Browsing(visit.loom.queries)
    as_of = visit.loom.store.acknowledged
    found = await browsing.find(**asked.filters(), limit=_AT_ONCE, after=after, before=before)
    plain = asked.plain()
    at = {} if before is None else {"before": str(before)}
    return DecisionsView(
        as_of=as_of,
        total=found.total,
        more=found.more,
        first_at=found.first_at,
        last_at=found.last_at,
        rows=tuple(map(_row, found.decisions)),
        facets=tuple(_facet(each, plain) for each in _ordered(found)),
        chosen=_chosen(plain),
        asked=plain,
        examined=None if found.floor is None else browsing.examined,
        further=None if found.floor is None else link_to({**plain, "before": str(found.floor)}),
        next=None if found.next_after is None else link_to({**plain, **at, "after": str(found.next_after)}),
        file=link_to(plain, "/decisions.csv"),
    )


@page.gives("/decisions.csv")
async def file(visit: Visit, asked: Filters) -> Response:
    """Give all decisions that match as a table for a spreadsheet, newest first."""
    browsing = Browsing(visit.loom.queries)
    wanted = asked.filters()
    first = await browsing.page(**wanted, limit=PAGE)  # what is refused is refused before the answer begins
    return StreamingResponse(
        in_file(browsing, wanted, first),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="decisions.csv"'},
    )


def _row(each: BrowsedDecision) -> Row:
    decision = each.decision
    return Row(
        decision_id=decision.decision_id,
        result=result_of(each),
        said=one_line(decision.rationale, 240),
        at=decision.decided_at,
        kind=_named(decision.decision_type),
        about=decision.journal,
        asked_by=each.requester,
        decided_by=tuple(sorted(each.people)),
        rule=decision.rule,
        version=decision.policy_version,
        exception=decision.is_exception,
        against_rule=decision.departure is not None,
    )


def _ordered(found: Browsed) -> list[CountedFacet]:
    known = {each.name: each for each in found.facets}
    return [known[name] for name in FACETS if known[name].values]


def _facet(counted: CountedFacet, plain: Mapping[str, str]) -> Facet:
    name, title = FACETS[counted.name]
    others = {key: value for key, value in plain.items() if key != name}
    return Facet(
        title=title,
        others=counted.others,
        values=tuple(
            Value(
                value=each.value,
                words=_in_words(counted.name, each.value),
                decisions=each.decisions,
                trend=each.trend,
                path=sparkline(each.trend),
                link=link_to(others if plain.get(name) == each.value else {**others, name: each.value}),
                chosen=plain.get(name) == each.value,
            )
            for each in counted.values
        ),
    )


def _chosen(plain: Mapping[str, str]) -> tuple[Chosen, ...]:
    titles = {name: (facet, title) for facet, (name, title) in FACETS.items()}
    titles |= {"words": ("", "Words"), "since": ("", "From"), "until": ("", "To")}
    return tuple(
        Chosen(
            title=titles[name][1],
            words=_in_words(titles[name][0], value),
            without=link_to({key: each for key, each in plain.items() if key != name}),
        )
        for name, value in plain.items()
    )


def _in_words(facet: str, value: str) -> str:
    if facet == "precedent_class":
        return f"cases like {value[:8]}"
    known = _WORDS.get(facet, {}).get(value)
    return known or (_named(value) if facet in ("decision_type", "rule") else one_line(value, 60))


def _named(value: str) -> str:
    return one_line(value.replace("_", " ").replace("-", " "), 60)
