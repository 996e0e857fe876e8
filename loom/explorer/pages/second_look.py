"""A second look: one decided case as it was asked, without its outcome, and another person's answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from loom.explorer.cases import RuleSeen, rules_of
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, form
from loom.explorer.words import PersonInWords, named

__all__ = ["page"]

page = Page("second-look", "/oversight/{look_id}", title="A second look")


class SecondLookView(View):
    """The case: neither how it was answered, nor by whom, nor what came of it."""

    look_id: str
    reason: str
    role: str
    by: PersonInWords | None
    facts: dict[str, JsonValue]
    rules: tuple[RuleSeen, ...]
    action: str | None
    arguments: dict[str, JsonValue]


class SecondAnswer(FormFields):
    """How the person would have answered, and why."""

    answer: Literal["grant", "deny"]
    comment: str = Field(default="", max_length=10_000)


@page.shows
async def show(visit: Visit, look_id: str) -> SecondLookView:
    """Read the case."""
    as_of = visit.loom.store.acknowledged
    case = await visit.loom.oversight.look(look_id)
    return SecondLookView(
        as_of=as_of,
        look_id=case.look_id,
        reason=case.reason,
        role=case.role,
        by=None if case.requester is None else named(case.requester),
        facts=case.facts or {},
        rules=rules_of(case.evaluation, case.facts or {}),
        action=case.action,
        arguments=case.arguments or {},
    )


@page.takes("/oversight/{look_id}/answer", may="approve")
async def answer(visit: Visit, look_id: str, given: Annotated[SecondAnswer, form(SecondAnswer)]) -> Done:
    """Keep the second answer; it changes nothing of the case."""
    look = await visit.loom.oversight.answer(
        look_id, granted=given.answer == "grant", by=visit.by, comment=given.comment.strip() or None
    )
    agrees = look.answered is not None and look.answered.agrees
    return Done(f"Thank you. Your answer {'agrees with' if agrees else 'differs from'} the first one", "/oversight")
