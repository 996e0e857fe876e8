"""Oversight: whether people look at what they answer, and second looks at decided cases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from loom.explorer.cases import Shape
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, form
from loom.explorer.words import source
from loom.people.oversight_figures import PersonOversight, RoleOversight
from loom.people.oversight_rule import OversightFacts

__all__ = ["page"]

page = Page(
    "oversight",
    "/oversight",
    title="Oversight",
    about="How people answer: how many requests, how fast, and what came of it.",
    place=80,
)

_STANDS_OUT = {
    "quick_grants": "grants too quickly",
    "second_looks_disagree": "second looks disagree",
    "never_denies": "never denies",
}
_LOOKS = 50
_REQUESTS = 1_000
"""The last ones, which are read at once when the page is opened first."""


class Figures(Shape):
    """The figures of a person, or of a role; shares are 0..1, times in seconds."""

    answers: int
    median_s: float | None
    share_under_5_s: float | None
    denied_share: float | None
    changed: int
    wrong_later: int
    otherwise_later: int
    in_bursts: int
    looked_again: int
    disagreed: int


class PersonSeen(Shape):
    """One person, and in a few words what stands out."""

    name: str
    checked: str
    """How the name was established."""
    roles: tuple[str, ...]
    stands_out: str | None
    why: str | None
    figures: Figures
    last_at: datetime | None


class RoleSeen(Shape):
    """One role."""

    name: str
    persons: int
    expired: int
    figures: Figures


class CaseSeen(Shape):
    """A decided case that waits for a second look, without its outcome."""

    look_id: str
    reason: str
    role: str
    drawn_at: datetime


class OversightView(View):
    """Who answers how; those who stand out come first."""

    answers: int
    whole: bool
    people: tuple[PersonSeen, ...]
    roles: tuple[RoleSeen, ...]
    looks: tuple[CaseSeen, ...]
    looks_open: int
    looks_answered: int
    looks_agree: int
    judged_version: str


class Sample(FormFields):
    """Which share of the answers is drawn, in percent."""

    percent: float = Field(gt=0, le=100)


@page.shows
async def show(visit: Visit) -> OversightView:
    """Read the figures."""
    report = await visit.loom.oversight.report(limit=_REQUESTS)
    roles: dict[str, list[str]] = {}
    for each in report.by_role:
        roles.setdefault(each.person, []).append(each.role or "")
    return OversightView(
        as_of=report.position,
        answers=report.answers,
        whole=report.whole,
        people=tuple(_person(each, tuple(roles.get(each.person, ()))) for each in report.people),
        roles=tuple(
            RoleSeen(name=each.role, persons=each.persons, expired=each.expired, figures=_figures(each))
            for each in report.roles
        ),
        looks=tuple(
            CaseSeen(look_id=each.look_id, reason=each.reason, role=each.role, drawn_at=each.drawn_at)
            for each in await visit.loom.oversight.looks(limit=_LOOKS)
        ),
        looks_open=report.looks_open,
        looks_answered=report.looks_answered,
        looks_agree=report.looks_agree,
        judged_version=report.judged_version,
    )


@page.takes("/oversight/sample", may="operate")
async def sample(visit: Visit, given: Annotated[Sample, form(Sample)]) -> Done:
    """Draw cases for a second look."""
    drawn = await visit.loom.oversight.sample(given.percent / 100, by=visit.by)
    cases = "case" if drawn.new == 1 else "cases"
    return Done(f"{drawn.new} {cases} drawn, of {drawn.answers} answers", "/oversight")


def _person(each: PersonOversight, roles: tuple[str, ...]) -> PersonSeen:
    said = each.stands_out
    stands_out = said is not None and said.needs_approval
    return PersonSeen(
        name=each.person,
        checked=", ".join(source(kind) for kind in each.sources),
        roles=roles,
        stands_out=_STANDS_OUT.get(said.rule, said.rule) if said is not None and stands_out else None,
        why=_why(each.facts, said.rule) if said is not None and stands_out else None,
        figures=_figures(each),
        last_at=each.last_at,
    )


def _why(facts: OversightFacts | None, rule: str) -> str | None:
    """Return what stands out as a sentence; its exact words are in the report."""
    if facts is None:
        return None
    if rule == "quick_grants":
        return (
            f"{facts.quick} of the last {facts.answers} answers are grants that had only a few seconds. "
            "Of people who take their time, chance does that to fewer than one in fifty"
        )
    if rule == "second_looks_disagree":
        return f"{facts.disagreed} of {facts.looked_again} second looks came to another answer"
    return (
        f"None of the last {facts.answers} answers is a denial; others in the same roles would have denied "
        f"at least {facts.expected_denials:.0f}"
    )


def _figures(each: PersonOversight | RoleOversight) -> Figures:
    return Figures(**{name: getattr(each, name) for name in Figures.model_fields})
