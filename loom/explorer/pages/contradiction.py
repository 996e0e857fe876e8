"""One kind of cases that was decided in more than one way, and the form in which a person says what stands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from loom.explorer.cases import Shape
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, form
from loom.explorer.words import PersonInWords, named
from loom.precedents import Contradiction

__all__ = ["page"]

page = Page("contradiction", "/classes/{situation}", title="Decided in more than one way")


class Way(Shape):
    """One way in which these cases were decided; `precedent` is its key, `examples` are the newest decisions."""

    precedent: str
    words: str
    cases: int
    first_at: datetime
    last_at: datetime
    examples: tuple[str, ...]
    stands: bool


class Settled(Shape):
    """What a person said last: which way stands, and why. `holds` is False if a later decision went against it."""

    words: str
    reason: str
    by: PersonInWords
    at: datetime
    holds: bool


class ContradictionView(View):
    """The ways, the most frequent one first, and what tells them apart, where a recorded fact does."""

    situation: str
    words: str
    cases: int
    looked_at: int
    ways: tuple[Way, ...]
    separated: str | None
    settled: Settled | None


class Resolving(FormFields):
    """Which way stands, and why."""

    stands: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


@page.shows
async def show(visit: Visit, situation: str) -> ContradictionView:
    """Read a contradiction by its situation."""
    as_of = visit.loom.store.acknowledged
    found = await visit.loom.contradictions.get(situation)
    settled = _settled(found)
    stands = None if found.resolution is None or found.status == "open" else found.resolution.stands
    return ContradictionView(
        as_of=as_of,
        situation=found.situation,
        words=found.words,
        cases=found.cases,
        looked_at=found.looked_at,
        ways=tuple(
            Way(
                precedent=each.precedent,
                words=each.words,
                cases=each.cases,
                first_at=each.first_at,
                last_at=each.last_at,
                examples=each.examples,
                stands=each.precedent == stands,
            )
            for each in found.outcomes
        ),
        separated=None if found.separation is None else found.separation.in_words,
        settled=settled,
    )


@page.takes("/classes/{situation}/resolve", may="approve")
async def resolve(visit: Visit, situation: str, given: Annotated[Resolving, form(Resolving)]) -> Done:
    """Say which way stands, in the name of who is signed in. What was decided stays as it is."""
    found = await visit.loom.contradictions.resolve(situation, stands=given.stands, by=visit.by, reason=given.reason)
    words = "" if found.resolution is None else found.resolution.words
    return Done(f"From now on this stands: {words}", f"/classes/{found.situation}")


def _settled(found: Contradiction) -> Settled | None:
    said = found.resolution
    if said is None:
        return None
    return Settled(
        words=said.words,
        reason=said.reason,
        by=named(said.identity),
        at=said.resolved_at,
        holds=found.status == "resolved",
    )
