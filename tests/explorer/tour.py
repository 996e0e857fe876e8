"""All pages that exist, as addresses: found from the application, with what their paths are about filled in."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from loom.explorer.page import all_pages
from tests.explorer.support import Place

__all__ = ["FILLED", "QUERIES", "addresses"]


async def _approvals(place: Place, workspace: str, count: int) -> Sequence[str]:
    return [each.approval_id for each in await place.loom(workspace).approvals.list(limit=count)]


async def _decisions(place: Place, workspace: str, count: int) -> Sequence[str]:
    return [each.decision_id for each in await place.loom(workspace).traces.find(limit=count)]


FILLED: Mapping[str, Callable[[Place, str, int], Awaitable[Sequence[str]]]] = {
    "approval_id": _approvals,
    "decision_id": _decisions,
}
"""What stands for a part of a path; a page with another part says here what it may be."""

QUERIES: Mapping[str, str] = {}
"""The query of a page that shows nothing, or not all, without one, by its name."""


async def addresses(place: Place, workspace: str = "one", *, decisions: int = 1) -> list[str]:
    """Return where all pages are; of a page about one of many, the newest ones."""
    found: list[str] = []
    for page in all_pages():
        parts = re.findall(r"\{(\w+)", page.path)
        assert len(parts) <= 1, "say how the parts of this path belong together"
        filled = [""] if not parts else await FILLED[parts[0]](place, workspace, decisions)
        assert filled, page.name
        found += [re.sub(r"\{[^}]+\}", each, page.path) + QUERIES.get(page.name, "") for each in filled]
    return found
