"""Operations on actors: what a running loom knows of them, and restarting one that was stopped."""

from __future__ import annotations

from pydantic import JsonValue

from loom.actors.listing import list_actors, restart_actor
from loom.actors.system import ActorSystem
from loom.extension import Named
from loom.identity import parse_journal_name
from loom.operations.arguments import Arguments, Nothing

__all__ = ["RestartActor", "actor_restarted", "actors_listed"]


class RestartActor(Arguments):
    """Which stopped actor takes commands again, in whose name."""

    journal: str
    by: Named


async def actors_listed(system: ActorSystem, _: Nothing) -> JsonValue:
    """Return the actors that are awake, stopped or have unfinished turns."""
    return [each.model_dump(mode="json") for each in list_actors(system)]


async def actor_restarted(system: ActorSystem, given: RestartActor) -> JsonValue:
    """Restart an actor, and return its status then."""
    parse_journal_name(given.journal)
    return (await restart_actor(system, given.journal, by=given.by.name)).model_dump(mode="json")
