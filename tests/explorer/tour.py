"""All pages that exist, as addresses: found from the application, with what they are about filled in."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

from loom.explorer.editing import fields_of
from loom.explorer.page import all_pages
from loom.explorer.pages.what_if import table_of_version
from tests.explorer.support import Place

__all__ = ["FILLED", "QUERIES", "addresses"]


async def _approvals(place: Place, workspace: str, count: int) -> Sequence[str]:
    return [each.approval_id for each in await place.loom(workspace).approvals.list(limit=count)]


async def _decisions(place: Place, workspace: str, count: int) -> Sequence[str]:
    return [each.decision_id for each in await place.loom(workspace).traces.find(limit=count)]


async def _versions(place: Place, workspace: str, count: int) -> Sequence[str]:
    registry = place.loom(workspace).policies
    return [each.version for name in ("discount", "hostile") for each in registry.versions(name)][:count]


async def _table(place: Place, workspace: str) -> str:
    registry = place.loom(workspace).policies
    name = next(each for each in registry.names() if each in ("discount", "hostile"))
    version = registry.latest(name)
    table = table_of_version(registry, version)
    assert table is not None
    return urlencode([("policy", name), ("base", version.version), *(("v", each.text) for each in fields_of(table))])


async def _parameter(place: Place, workspace: str) -> str:
    return await _table(place, workspace) + "&parameter=ceiling"


async def _decision(place: Place, workspace: str) -> str:
    [decision] = await place.loom(workspace).traces.find(limit=1)
    return f"decision={decision.decision_id}"


async def _two(place: Place, workspace: str) -> str:
    found = await place.loom(workspace).traces.find(limit=2)
    return f"one={found[0].decision_id}&other={found[-1].decision_id}"


async def _then(place: Place, workspace: str) -> str:
    [decision] = await place.loom(workspace).traces.find(limit=1)
    return urlencode({"decision": decision.decision_id, "actor": decision.journal})


async def _statement(place: Place, workspace: str) -> str:
    del place, workspace  # the views of every workspace have it
    return urlencode({"q": "SELECT rationale, outcome, decision_id FROM trace_decisions ORDER BY position"})


async def _actors(place: Place, workspace: str, count: int) -> Sequence[str]:
    found = {each.journal: None for each in await place.loom(workspace).traces.find(limit=count)}
    return [quote(each) for each in found]


async def _looks(place: Place, workspace: str, count: int) -> Sequence[str]:
    oversight = place.loom(workspace).oversight
    await oversight.sample(1.0, by="vera")
    return [each.look_id for each in await oversight.looks(limit=count)]


async def _situations(place: Place, workspace: str, count: int) -> Sequence[str]:
    found = await place.loom(workspace).contradictions.list(status=None, limit=count)
    return [each.situation for each in found.listed]


async def _explained(place: Place, workspace: str) -> str:
    del place, workspace
    return "explain=true"


async def _times(place: Place, workspace: str) -> str:
    del place, workspace
    return "since=2020-01-01&middle=2020-02-01&until=2100-01-01"


FILLED: Mapping[str, Callable[[Place, str, int], Awaitable[Sequence[str]]]] = {
    "approval_id": _approvals,
    "decision_id": _decisions,
    "look_id": _looks,
    "situation": _situations,
    "version": _versions,
    "journal": _actors,
}
"""What stands for the parts of a path, joined by slashes; a page with others says here what they may be."""

QUERIES: Mapping[str, Callable[[Place, str], Awaitable[str]]] = {
    "classes": _explained,
    "compare": _two,
    "drift": _times,
    "sql": _statement,
    "then-and-now": _then,
    "what-if": _table,
    "what-if-limits": _parameter,
    "what-if-nearest": _decision,
    "what-if-propose": _table,
}
"""The query of a page that shows nothing, or not all, without one, by its name."""


async def addresses(place: Place, workspace: str = "one", *, decisions: int = 1) -> list[str]:
    """Return where all pages are; of a page about one of many, the newest ones."""
    found: list[str] = []
    for page in all_pages():
        parts = "/".join(re.findall(r"\{(\w+)", page.path))
        filled = await FILLED[parts](place, workspace, decisions) if parts else [""]
        assert filled, page.name
        query = f"?{await QUERIES[page.name](place, workspace)}" if page.name in QUERIES else ""
        before, _, after = page.path.partition("{")
        after = after.rpartition("}")[2]
        found += [f"{before}{each}{after}{query}" for each in filled]
    return found
