"""Proposed rules: what a person proposes, and another person adopts."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from loom.errors import PolicyNotRegisteredError, PolicyTableError
from loom.explorer.editing import MOST_FIELDS
from loom.explorer.page import Done, Page, View
from loom.explorer.pages.what_if import Shaped, Texts, base_of, question, session_of, table_of_version
from loom.explorer.shaping import Sheet, sheet_of
from loom.explorer.visits import FormFields, Visit, Visitor, form
from loom.explorer.words import PersonInWords, named
from loom.identity import same_person
from loom.policies.difference import table_changes
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.policies.tables import Table
from loom.replay.what_if import TrialResult, WhatIfProcess
from loom.web.guard import HttpRefusal

__all__ = ["one", "propose", "several"]

several = Page(
    "proposals",
    "/proposals",
    title="Proposed rules",
    about="Rules that one person proposes and another person adopts.",
    place=45,
)
one = Page("proposal", "/proposals/{version}", title="Proposed rules")
propose = Page("what-if-propose", "/what-if/propose", title="Propose rules", may="operate")

_TEXTS = TypeAdapter(tuple[str, ...])


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Proposed(_Model):
    """A version that is not in use: who proposed it, when and why."""

    version: str
    policy: str
    by: tuple[PersonInWords, ...]
    reason: str | None
    at: datetime


class ProposalsView(View):
    """The proposed versions, newest first."""

    proposed: tuple[Proposed, ...]


class ProposalView(View):
    """A proposed version, its differences from the one in use, and what it would have decided.

    `own` tells whether who reads it has proposed it, and so may not adopt it.
    """

    proposed: Proposed
    in_use: str | None
    adopted: bool
    own: bool
    changes: tuple[str, ...]
    result: TrialResult | None


class ProposeView(View):
    """What is about to be proposed; `texts` is the edited table for the form."""

    policy: str
    base: str
    changes: tuple[str, ...]
    result: TrialResult
    texts: str
    shape: str
    query: str


class Proposal(FormFields):
    """An edited table that a person proposes, and why."""

    policy: str = Field(min_length=1, max_length=200)
    base: str = Field(min_length=1, max_length=200)
    texts: str = Field(max_length=100_000)
    shape: str = Field(default="", max_length=4_000)
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class Adoption(FormFields):
    """Why a version is adopted."""

    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


@several.shows
async def proposals(visit: Visit) -> ProposalsView:
    """List the versions that people have proposed since the one in use was registered."""
    registry = visit.loom.policies
    found = [each for name in registry.names() for each in _open(registry, name)]
    found.sort(key=lambda each: each.registered_at, reverse=True)
    return ProposalsView(
        as_of=visit.loom.store.acknowledged, proposed=tuple(_proposed(registry, each) for each in found)
    )


@one.shows
async def proposal(visit: Visit, version: str) -> ProposalView:
    """Show a version, and what it would have decided."""
    registry = visit.loom.policies
    found = registry.resolve(version)
    used = registry.adopted(found.name)
    result = None
    table = table_of_version(registry, found)
    before = None if used is None else table_of_version(registry, used)
    if table is not None and before is not None and used != found and before.layout.facts == table.layout.facts:
        process = visit.loom.part(WhatIfProcess)
        result = await process.judge(f"{session_of(visit)}/proposal", before, table)
    return ProposalView(
        as_of=visit.loom.store.acknowledged if result is None else result.position,
        proposed=_proposed(registry, found),
        in_use=None if used is None else used.version,
        adopted=used == found,
        own=any(same_person(visit.by, each) for each in registry.proposers(found.hash)),
        changes=() if used is None else tuple(str(each) for each in registry.diff(used.hash, found.hash).changes),
        result=result,
    )


@one.takes("/proposals/{version}/adopt", may="approve")
async def adopt(visit: Visit, version: str, given: Annotated[Adoption, form(Adoption)]) -> Done:
    """Adopt a version in the name of who is signed in; who proposed it is refused."""
    adopted = await visit.loom.policies.adopt(version, by=visit.by, reason=given.reason)
    return Done(f"{adopted.version} of {adopted.name} decides from now on.", f"/proposals/{adopted.version}")


@propose.shows
async def about_to_propose(visit: Visit, policy: str, base: str, v: Texts = (), shape: Shaped = "") -> ProposeView:
    """Show what is about to be proposed."""
    version, sheet, after = _edited(visit, policy, base, shape, v)
    result = await visit.loom.part(WhatIfProcess).judge(f"{session_of(visit)}/propose", sheet.base, after)
    if result is None:
        raise HttpRefusal(409, "superseded", "a newer question of this session is answered instead")
    return ProposeView(
        as_of=result.position,
        policy=policy,
        base=version.version,
        changes=tuple(str(each) for each in table_changes(sheet.base.document, after.document)),
        result=result,
        texts=json.dumps(v, ensure_ascii=False),
        shape=sheet.text,
        query=question(version, sheet, v),
    )


@propose.takes("/what-if/propose", may="operate")
async def register(visit: Visit, given: Annotated[Proposal, form(Proposal)]) -> Done:
    """Register an edited table as a version that who is signed in proposes."""
    try:
        texts = _TEXTS.validate_json(given.texts)
    except ValidationError as error:
        raise PolicyTableError("the texts of the table cannot be read; open the page again") from error
    _, _, after = _edited(visit, given.policy, given.base, given.shape, texts[: MOST_FIELDS + 1])
    registry = visit.loom.policies
    checked = Table.of(after.written(), source="edited in the explorer")
    version = await registry.register(checked, by=visit.by, reason=given.reason)
    if version == registry.adopted(version.name):
        raise PolicyTableError("these rules are in use already; change something first")
    await registry.propose(version.hash, by=visit.by, reason=given.reason)
    return Done("Proposed. Send this page to the person who is to adopt it.", f"/proposals/{version.version}")


def _edited(
    visit: Visitor, policy: str, base: str, shape: str, texts: tuple[str, ...]
) -> tuple[PolicyVersion, Sheet, Table]:
    registry = visit.loom.policies
    version = base_of(registry, policy, base)
    table = table_of_version(registry, version)
    if table is None:
        raise PolicyNotRegisteredError(f"the rules of [{policy}] are not a table; expected one: edit its code")
    sheet = sheet_of(table, shape)
    found = sheet.edited(texts or tuple(each.text for each in sheet.fields))
    if found.table is None:
        raise PolicyTableError("; ".join(found.problems.values()))
    return version, sheet, found.table


def _open(registry: PolicyRegistry, name: str) -> list[PolicyVersion]:
    used = registry.adopted(name)
    return [
        each
        for each in registry.versions(name)
        if registry.proposers(each.hash) and each != used and (used is None or each.number > used.number)
    ]


def _proposed(registry: PolicyRegistry, version: PolicyVersion) -> Proposed:
    people = tuple(named(each) for each in registry.proposers(version.hash)) or (named(version.identity),)
    return Proposed(
        version=version.version, policy=version.name, by=people, reason=version.reason, at=version.registered_at
    )
