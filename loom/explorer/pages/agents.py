"""Agents: which may act, who took that away or gave it back, and the switch that stops learned routing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from loom.explorer.cases import Shape
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, form
from loom.explorer.words import PersonInWords, named
from loom.identity import Identity
from loom.web.guard import HttpRefusal

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
    """The kill switch of routing: whether it is engaged, by whom and why."""

    engaged: bool
    by: PersonInWords | None
    reason: str | None


class AgentsView(View):
    """Suspended agents come first."""

    agents: tuple[AgentSeen, ...]
    types: tuple[TypeSeen, ...]
    switch: SwitchSeen | None
    """None where no routing runs."""


class Change(FormFields):
    """Whose standing is changed, and why."""

    name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class Throw(FormFields):
    """Why the switch is thrown, or armed again."""

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
        switch=await _switch(visit),
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
    await _routing(visit).kill(by=visit.by, reason=given.reason)
    return Done("The kill switch is engaged: choices are the baseline's", "/agents")


@page.takes("/agents/rearm", may="approve")
async def rearm(visit: Visit, given: Annotated[Throw, form(Throw)]) -> Done:
    """Let routing work again."""
    await _routing(visit).rearm(by=visit.by, reason=given.reason)
    return Done("Routing works again", "/agents")


def _routing(visit: Visit) -> Any:
    """Return the part that routes; pages import no wing. Raise `HttpRefusal` where none runs."""
    part = visit.loom.parts.get("routing")
    if part is None:
        raise HttpRefusal(404, "not_found", "no routing runs here, so that there is no kill switch")
    return part


async def _switch(visit: Visit) -> SwitchSeen | None:
    """Return the kill switch, where there is one."""
    if "routing" not in visit.loom.parts:
        return None
    status = await _routing(visit).status()
    by = status.switch_by and Identity(status.switch_by, status.switch_identity_source, status.switch_via)
    return SwitchSeen(engaged=status.killed, by=named(by) if by else None, reason=status.switch_because)
