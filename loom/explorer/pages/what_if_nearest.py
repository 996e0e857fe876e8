"""What would have been enough: the smallest change of a refused case that the same rules would have allowed."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.explorer.page import Page, View
from loom.explorer.pages.what_if import table_of_version
from loom.explorer.visits import Visit

__all__ = ["page"]

page = Page("what-if-nearest", "/what-if/nearest", title="What would have been enough")

_BOUNDS = {"above": "more than ", "below": "less than ", None: ""}


class Change(BaseModel):
    """One fact that would have to be another: `new` may be a bound in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fact: str
    old: JsonValue
    new: str


class NearestView(View):
    """The case, the rules that decided it, and the changes with which they would have allowed it.

    `state` is that of `loom.policies.tables.Nearest`, or `no_table`: the rules are not a table, or are not there.
    """

    decision_id: str
    journal: str
    version: str | None
    facts: dict[str, JsonValue]
    state: str
    changes: tuple[Change, ...]
    rule: str | None
    problem: str


@page.shows
async def nearest(visit: Visit, decision: str) -> NearestView:
    """Find the nearest case that the version that decided would have allowed."""
    trace = await visit.loom.traces.get(decision)
    registry = visit.loom.policies
    facts = dict(trace.decision.facts or {})
    version = None if trace.decision.policy is None else registry.resolve(trace.decision.policy.hash)
    table = None if version is None else table_of_version(registry, version)
    found = None if table is None else await asyncio.to_thread(table.nearest, facts)
    return NearestView(
        as_of=visit.loom.store.acknowledged,
        decision_id=trace.decision.decision_id,
        journal=trace.journal,
        version=None if version is None else version.version,
        facts=facts,
        state="no_table" if found is None else found.state,
        changes=()
        if found is None
        else tuple(
            Change(fact=each.fact, old=each.old, new=f"{_BOUNDS[each.bound]}{_text(each.new)}")
            for each in found.changes
        ),
        rule=None if found is None else found.rule,
        problem="" if found is None else found.problem,
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
