"""Operations on oversight: figures of people's answers, and blind second looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

from pydantic import BaseModel, Field, JsonValue

from loom.extension import Named
from loom.operations.arguments import Arguments
from loom.people.oversight import MOST, Oversight

__all__ = ["oversight_operations"]

Work: TypeAlias = Callable[[Any], Awaitable[JsonValue]]


def oversight_operations(oversight: Oversight) -> Mapping[str, tuple[type[BaseModel], Work]]:
    """Return the operations by name: what each is given, and what it does."""
    return {
        "oversight.answer": (AnswerLook, partial(answer_look, oversight)),
        "oversight.looks": (ListLooks, partial(list_looks, oversight)),
        "oversight.report": (ReportOversight, partial(report_oversight, oversight)),
        "oversight.sample": (DrawLooks, partial(draw_looks, oversight)),
    }


class ReportOversight(Arguments):
    """Since when, and how many of the last settled requests."""

    since: datetime | None = None
    limit: int = Field(MOST, ge=1, le=MOST)


class DrawLooks(Arguments):
    """Which share of the answers is drawn, and who draws."""

    share: float = Field(gt=0, le=1)
    by: Named


class ListLooks(Arguments):
    """How many of the open ones; or the id of one."""

    id: str | None = None
    limit: int = Field(50, ge=1, le=1_000)


class AnswerLook(Arguments):
    """Which case is answered how, and by whom."""

    id: str
    granted: bool
    by: Named
    comment: str | None = None


async def report_oversight(oversight: Oversight, given: ReportOversight) -> JsonValue:
    """Return the figures."""
    plain: JsonValue = (await oversight.report(since=given.since, limit=given.limit)).model_dump(mode="json")
    return plain


async def draw_looks(oversight: Oversight, given: DrawLooks) -> JsonValue:
    """Draw cases for a second look."""
    plain: JsonValue = (await oversight.sample(given.share, by=given.by)).model_dump(mode="json")
    return plain


async def list_looks(oversight: Oversight, given: ListLooks) -> JsonValue:
    """Return the cases that wait, without their outcomes."""
    found = await oversight.looks(limit=given.limit) if given.id is None else (await oversight.look(given.id),)
    plain: JsonValue = [each.model_dump(mode="json") for each in found]
    return plain


async def answer_look(oversight: Oversight, given: AnswerLook) -> JsonValue:
    """Answer a case a second time."""
    look = await oversight.answer(given.id, granted=given.granted, by=given.by, comment=given.comment)
    assert look.answered is not None  # noqa: S101 - it has just been
    return {"look_id": look.look_id, "granted": look.answered.granted, "agrees": look.answered.agrees}
