"""What if: a table that is edited in place, and what recorded decisions would have been under it, while one types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from loom.errors import PolicyNotRegisteredError
from loom.explorer.editing import MOST_FIELDS
from loom.explorer.page import Page, View
from loom.explorer.shaping import Sheet, reshaped, sheet_of
from loom.explorer.table_form import Parameter, Rule, TableForm
from loom.explorer.visits import Visit, Visitor
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.policies.tables import Table
from loom.replay.what_if import TrialResult, WhatIfProcess
from loom.runtime import Loom
from loom.web.guard import HttpRefusal

__all__ = [
    "Shaped",
    "Texts",
    "base_of",
    "page",
    "policies_known",
    "question",
    "session_of",
    "sheet_asked_for",
    "table_of_version",
]

page = Page(
    "what-if",
    "/what-if",
    title="What if",
    about="Change a rule, and see at once which past decisions would have gone another way. Nothing is changed by it.",
    place=40,
)

Texts = Annotated[tuple[str, ...], Query(max_length=MOST_FIELDS)]
"""The texts of a table in the order of the form: the address of the page has them all."""


Shaped = Annotated[str, Query(max_length=4_000)]
"""Which rows the table has: see `loom.explorer.shaping`."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Known(_Model):
    """A policy that there are versions of, whether it can be edited here, and whether decisions were made by it."""

    name: str
    editable: bool
    used: bool


class WhatIfView(View):
    """The table as it is edited, and what it would have decided; `problem` is why it says nothing about the past."""

    policies: tuple[Known, ...]
    policy: str | None
    base: str | None
    """The version that the edits began with."""
    parameters: tuple[Parameter, ...] = ()
    rules: tuple[Rule, ...] = ()
    problem: str | None = None
    result: TrialResult | None = None
    facts: tuple[str, ...] = ()
    """The facts that a condition can be about."""
    shape: str = ""
    query: str = ""
    """The edited table as the query of an address."""


@page.shows
async def what_if(
    visit: Visit,
    v: Texts = (),
    policy: str | None = None,
    base: str | None = None,
    shape: Shaped = "",
) -> WhatIfView:
    """Judge recorded decisions under a table whose texts are given."""
    registry = visit.loom.policies
    as_of = visit.loom.store.acknowledged
    known = await policies_known(visit.loom)
    chosen = policy or next((each.name for each in known if each.editable and each.used), None)
    version = None if chosen is None else base_of(registry, chosen, base)
    table = None if version is None else table_of_version(registry, version)
    if version is None or table is None:
        return WhatIfView(as_of=as_of, policies=known, policy=chosen, base=None)
    sheet = sheet_of(table, shape)
    fields = sheet.fields
    if len(fields) > MOST_FIELDS:
        words = f"This table has {len(fields)} cells; tables of up to {MOST_FIELDS} can be edited here."
        return WhatIfView(as_of=as_of, policies=known, policy=chosen, base=version.version, problem=words)
    texts = v or tuple(each.text for each in fields)
    said = sheet.edited(texts)
    result = None
    if said.table is not None:
        process = visit.loom.part(WhatIfProcess)
        result = await process.judge(f"{session_of(visit)}/{chosen}", table, said.table)
        if result is None:
            raise HttpRefusal(409, "superseded", "a newer edit of this session is judged instead")
    shown = texts if len(texts) == len(fields) else tuple(each.text for each in fields)
    whole = said.problems.get(None)
    form = TableForm(sheet, shown, said.problems, {} if result is None else result.spans)
    return WhatIfView(
        as_of=as_of if result is None else result.position,
        policies=known,
        policy=chosen,
        base=version.version,
        parameters=form.parameters(),
        rules=form.rules(),
        problem=whole or ("Correct the marked cells first." if said.problems else None),
        result=result,
        facts=tuple(table.layout.facts),
        shape=sheet.text,
        query=question(version, sheet, shown),
    )


@page.gives("/what-if/shape")
async def shape_rows(
    visit: Visit, policy: str, base: str, do: Annotated[str, Query(max_length=200)], v: Texts = (), shape: Shaped = ""
) -> Response:
    """Add, remove, copy or move a rule or a condition of the edited table, and show the page with it."""
    version, sheet = sheet_asked_for(visit, policy, base, shape)
    sheet, texts = reshaped(sheet, v, do)
    return RedirectResponse(f"/what-if?{question(version, sheet, texts)}", status_code=303)


def sheet_asked_for(visit: Visitor, policy: str, base: str, shape: str) -> tuple[PolicyVersion, Sheet]:
    """Return the version and the rows that an address names; raise `HttpRefusal` for rules that are no table."""
    version = base_of(visit.loom.policies, policy, base)
    table = table_of_version(visit.loom.policies, version)
    if table is None:
        raise HttpRefusal(404, "not_found", "these rules are not a table")
    return version, sheet_of(table, shape)


def question(version: PolicyVersion, sheet: Sheet, texts: Sequence[str]) -> str:
    """Return the query of an address that names a version, and the rows and texts of a table."""
    shape = [("shape", sheet.text)] if sheet.text else []
    return urlencode([("policy", version.name), ("base", version.version), *shape, *(("v", each) for each in texts)])


async def policies_known(loom: Loom) -> tuple[Known, ...]:
    """Return all policies that have rules: those that can be edited first, of these those that decisions name."""
    found = []
    for name in loom.policies.names():
        version = loom.policies.adopted(name) or loom.policies.latest(name)
        if version.has_rule:
            used = bool(await loom.traces.find(policy=name, limit=1))
            editable = table_of_version(loom.policies, version) is not None
            found.append(Known(name=name, editable=editable, used=used))
    return tuple(sorted(found, key=lambda each: (not each.editable, not each.used, each.name)))


def base_of(registry: PolicyRegistry, policy: str, base: str | None) -> PolicyVersion:
    """Return the version that edits begin with: the one that is named, or the one in use."""
    if base is None:
        return registry.adopted(policy) or registry.latest(policy)
    version = registry.resolve(base)
    if version.name != policy:
        raise PolicyNotRegisteredError(
            f"version [{base}] is of policy [{version.name}]; expected one of [{policy}]: open the page again"
        )
    return version


def table_of_version(registry: PolicyRegistry, version: PolicyVersion) -> Table | None:
    """Return the table that a version is; None if it is a rule in Python, or cannot run here."""
    if not version.has_rule or not registry.runs(version):
        return None
    found = registry.runnable(version)
    return found if isinstance(found, Table) else None


def session_of(visit: Visitor) -> str:
    """Return the name of who asks, for the process that judges: one question at a time."""
    return visit.holder.source if visit.session is None else visit.session.handle
