"""All decisions: narrowed down by what they have in common, by words and by time, and taken along as a file."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from loom.decisions.out import write_rows
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
_IN_FILE = 100_000
_OF_FILE = 500

_FACETS: Mapping[str, tuple[str, str]] = {
    "person": ("person", "Person who decided"),
    "requester": ("asked_by", "Asked by"),
    "decision_type": ("type", "Kind of decision"),
    "effect": ("effect", "What the rule said"),
    "rule": ("rule", "Rule"),
    "policy_version": ("version", "Version of the policy"),
    "is_exception": ("exception", "Exceptions"),
    "precedent_class": ("class", "Like cases"),
    "run_id": ("run", "Run"),
}
"""Each facet: its parameter in the address, and its title."""

_WORDS: Mapping[str, Mapping[str, str]] = {
    "effect": {
        "allow": "allowed",
        "deny": "denied",
        "require_approval": "a person has to agree",
        "indeterminate": "cannot say",
    },
    "is_exception": {"1": "exceptions", "0": "no exceptions"},
}
_FILE = (
    "decision_id",
    "decided_at",
    "result",
    "about",
    "asked_by",
    "decided_by",
    "answers",
    "kind",
    "policy",
    "version",
    "rule",
    "rule_said",
    "exception",
    "rationale",
    "outcome",
    "status",
    "position",
)


def _given(value: object) -> object:
    """Take an empty field of a form as one that was not filled in."""
    return None if value == "" else value


_Text = Annotated[str, Field(max_length=300)]
_Word = Annotated[_Text | None, BeforeValidator(_given)]
_Day = Annotated[date | None, BeforeValidator(_given)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Value(_Shape):
    """A value of a facet, how many decisions have it, and when."""

    value: str
    words: str
    decisions: int
    trend: tuple[int, ...]
    path: str
    """The bars of its chart."""
    link: str
    chosen: bool


class Facet(_Shape):
    """What decisions have in common, with the values that most of them have."""

    title: str
    values: tuple[Value, ...]
    others: int


class Chosen(_Shape):
    """A filter that is in use, and the link without it."""

    title: str
    words: str
    without: str


class Row(_Shape):
    """One decision, as the list shows it."""

    decision_id: str
    result: Literal["granted", "denied", "open", "failed", "abandoned", "decided"]
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


class Asked(_Shape):
    """The filters of the address."""

    person: _Word = None
    asked_by: _Word = None
    type: _Word = None
    effect: _Word = None
    rule: _Word = None
    version: _Word = None
    exception: Annotated[Literal["0", "1"] | None, BeforeValidator(_given)] = None
    class_: _Word = None
    run: _Word = None
    words: _Word = None
    since: _Day = None
    until: _Day = None

    def plain(self) -> dict[str, str]:
        """Return the filters in use, as the address has them."""
        return {name.rstrip("_"): str(value) for name, value in self if value is not None}

    def filters(self) -> dict[str, Any]:
        """Return the filters in use, as browsing takes them; the last day is included."""
        plain = self.plain()
        given: dict[str, Any] = {name: plain[known] for name, (known, _) in _FACETS.items() if known in plain}
        if "is_exception" in given:
            given["is_exception"] = given["is_exception"] == "1"
        if self.since is not None:
            given["since"] = datetime.combine(self.since, datetime.min.time(), UTC)
        if self.until is not None and self.until < date.max:
            given["until"] = datetime.combine(self.until + timedelta(days=1), datetime.min.time(), UTC)
        return {**given, "words": self.words}


def _asked(
    person: _Word = None,
    asked_by: _Word = None,
    type: _Word = None,
    effect: _Word = None,
    rule: _Word = None,
    version: _Word = None,
    exception: Annotated[Literal["0", "1"] | None, BeforeValidator(_given)] = None,
    class_: Annotated[_Text | None, BeforeValidator(_given), Query(alias="class")] = None,
    run: _Word = None,
    words: _Word = None,
    since: _Day = None,
    until: _Day = None,
) -> Asked:
    return Asked(
        person=person,
        asked_by=asked_by,
        type=type,
        effect=effect,
        rule=rule,
        version=version,
        exception=exception,
        class_=class_,
        run=run,
        words=words,
        since=since,
        until=until,
    )


_Asked = Annotated[Asked, Depends(_asked)]
_Position = Annotated[int | None, Query(ge=1, le=2**62)]


@page.shows
async def decisions(visit: Visit, asked: _Asked, after: _Position = None, before: _Position = None) -> DecisionsView:
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
        further=None if found.floor is None else _link({**plain, "before": str(found.floor)}),
        next=None if found.next_after is None else _link({**plain, **at, "after": str(found.next_after)}),
        file=_link(plain, "/decisions.csv"),
    )


@page.gives("/decisions.csv")
async def file(visit: Visit, asked: _Asked) -> Response:
    """Give all decisions that match as a table for a spreadsheet, newest first."""
    browsing = Browsing(visit.loom.queries)
    wanted = asked.filters()
    first = await browsing.page(**wanted, limit=_OF_FILE)  # what is refused is refused before the answer begins
    return StreamingResponse(
        _lines(browsing, wanted, first),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="decisions.csv"'},
    )


async def _lines(browsing: Browsing, wanted: Mapping[str, Any], first: Sequence[BrowsedDecision]) -> AsyncIterator[str]:
    yield ",".join(_FILE) + "\r\n"
    found, written = first, 0
    while found:
        text = io.StringIO()
        written += write_rows(text, map(_line, found), _FILE, form="csv")
        yield text.getvalue()
        if written >= _IN_FILE:
            yield f"cut after {written} decisions: narrow them down by time or person and take the file again\r\n"
            return
        after = found[-1].decision.position
        found = await browsing.page(**wanted, limit=_OF_FILE, after=after)


def _line(each: BrowsedDecision) -> dict[str, Any]:
    decision = each.decision
    return {
        "decision_id": decision.decision_id,
        "decided_at": decision.decided_at,
        "result": _result(each),
        "about": decision.journal,
        "asked_by": each.requester,
        "decided_by": ", ".join(sorted(each.people)),
        "answers": "; ".join(
            f"{one.approver} asked: {one.status} by {one.answered_by} ({one.answered_identity_source or 'unknown'})"
            f"{f' at {one.answered_at.isoformat()}' if one.answered_at else ''}"
            f"{f': {one.comment}' if one.comment else ''}"
            for one in each.approvals
            if one.answered_by is not None
        ),
        "kind": decision.decision_type,
        "policy": decision.policy_name,
        "version": decision.policy_version,
        "rule": decision.rule,
        "rule_said": decision.effect,
        "exception": "yes" if decision.is_exception else "no",
        "rationale": decision.rationale,
        "outcome": decision.outcome,
        "status": decision.status,
        "position": decision.position,
    }


def _row(each: BrowsedDecision) -> Row:
    decision = each.decision
    return Row(
        decision_id=decision.decision_id,
        result=_result(each),
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


def _result(each: BrowsedDecision) -> Literal["granted", "denied", "open", "failed", "abandoned", "decided"]:
    decision = each.decision
    if decision.status != "settled":
        return decision.status
    return decision.verdict or "decided"


def _ordered(found: Browsed) -> list[CountedFacet]:
    known = {each.name: each for each in found.facets}
    return [known[name] for name in _FACETS if known[name].values]


def _facet(counted: CountedFacet, plain: Mapping[str, str]) -> Facet:
    name, title = _FACETS[counted.name]
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
                link=_link(others if plain.get(name) == each.value else {**others, name: each.value}),
                chosen=plain.get(name) == each.value,
            )
            for each in counted.values
        ),
    )


def _chosen(plain: Mapping[str, str]) -> tuple[Chosen, ...]:
    titles = {name: (facet, title) for facet, (name, title) in _FACETS.items()}
    titles |= {"words": ("", "Words"), "since": ("", "From"), "until": ("", "To")}
    return tuple(
        Chosen(
            title=titles[name][1],
            words=_in_words(titles[name][0], value),
            without=_link({key: each for key, each in plain.items() if key != name}),
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


def _link(plain: Mapping[str, str], path: str = "/decisions") -> str:
    return f"{path}?{urlencode(plain)}" if plain else path
