"""The parameters that routes share, and pages of what they list."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, TypeVar

from fastapi import Query

from loom.web.shapes import Page

__all__ = ["After", "Id", "Limit", "Moved", "Word", "page"]

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1_000)]
After = Annotated[int | None, Query(ge=1, le=2**53, description="The position last seen: the page goes on there.")]
Moved = Annotated[int | None, Query(ge=0, le=2**53, description="The position after which it begins; 0 is the first.")]
Id = Annotated[str, Query(max_length=200)]
Word = Annotated[str | None, Query(max_length=64)]


def page(shape: type[Page[T]], items: Sequence[T], limit: int, *, by: str = "position") -> Page[T]:
    """Return a page; where it is full, the next one begins after the last item's value of `by`."""
    return shape(items=list(items), next_after=attrgetter(by)(items[-1]) if len(items) == limit else None)
