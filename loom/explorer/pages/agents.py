"""Agents: which may act, who took that away or gave it back, and the switches that stop what was learned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from loom.explorer.cases import Shape
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, form
from loom.explorer.words import PersonInWords, named
from loom.identity import Identity
from loom.web.switched import Switched, switch_of, switches_of

__all__ = ["page"]

page = Page(
    "agents",
    "/agents",
    title="Agents",
    about="Which agents may act. A suspended agent may propose nothing until a person reinstates it.",
    place=82,
)


class AgentSeen(Shape):
    """An agent whose standing was changed at least once: as it is now, and who changed it last."""

    name: str
    standing: str
    since: datetime | None
    by: PersonInWords
    reason: str | None


class TypeSeen(Shape):
    """A kind of agent whose code is loaded here, and what its code says of it."""

    name: str
    about: str


class SwitchSeen(Shape):
    """The kill switch of an extension: whether it is engaged, by whom and why."""

    name: str
    engaged: bool
    by: PersonInWords | None
    reason: str | None


class AgentsView(View):
    """Suspended agents come first."""

    agents: tuple[AgentSeen, ...]
    types: tuple[TypeSeen, ...]
    switches: tuple[SwitchSeen, ...]


class Change(FormFields):
    """Whose standing is changed, and why."""

    name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class Throw(FormFields):
    """Which switch is thrown, or armed again, and why."""

    name: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


@page.shows
async def show(visit: Visit) -> AgentsView:
    """Read the standings."""
    loom = visit.loom
    as_of = loom.store.acknowledged
    found = [
        AgentSeen(
            name=each.subject,
            standing=each.standing,
            since=each.since,
            by=named(each.identity, "loom itself"),
            reason=each.reason,
        )
        for each in loom.standings.all()
    ]
    order = {"SUSPENDED": 0, "ACTIVE": 1, "RETIRED": 2}
    classes = sorted(loom.actors.classes.all(), key=lambda each: each.actor_type)
    return AgentsView(
        as_of=as_of,
        agents=tuple(sorted(found, key=lambda each: (order[each.standing], each.name))),
        types=tuple(
            TypeSeen(name=each.actor_type, about=(each.__doc__ or "").strip().split("\n")[0]) for each in classes
        ),
        switches=tuple([await _switch(name, part) for name, part in switches_of(loom).items()]),
    )


@page.takes("/agents/suspend", may="operate")
async def suspend(visit: Visit, given: Annotated[Change, form(Change)]) -> Done:
    """Suspend an agent."""
    await visit.loom.standings.suspend(given.name.strip(), by=visit.by, reason=given.reason)
    return Done(f"{given.name.strip()} is suspended", "/agents")


@page.takes("/agents/reinstate", may="approve")
async def reinstate(visit: Visit, given: Annotated[Change, form(Change)]) -> Done:
    """Reinstate a suspended agent."""
    await visit.loom.standings.reinstate(given.name, by=visit.by, reason=given.reason)
    return Done(f"{given.name} may act again", "/agents")


@page.takes("/agents/kill", may="operate")
async def kill(visit: Visit, given: Annotated[Throw, form(Throw)]) -> Done:
    """Engage the kill switch."""
    await switch_of(visit.loom, given.name).kill(by=visit.by, reason=given.reason)
    return Done(f"The kill switch of {given.name} is engaged: choices are the baseline's", "/agents")


@page.takes("/agents/rearm", may="approve")
async def rearm(visit: Visit, given: Annotated[Throw, form(Throw)]) -> Done:
    """Let what was stopped work again."""
    await switch_of(visit.loom, given.name).rearm(by=visit.by, reason=given.reason)
    return Done(f"{given.name.capitalize()} works again", "/agents")


async def _switch(name: str, part: Switched) -> SwitchSeen:
    status = await part.status()
    by: str | None = getattr(status, "switch_by", None)
    who = by and Identity(by, status.switch_identity_source, status.switch_via)
    return SwitchSeen(
        name=name,
        engaged=bool(status.killed),
        by=named(who) if who else None,
        reason=getattr(status, "switch_because", None),
    )
