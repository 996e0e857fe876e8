"""The present status of a loom's actors: which are awake and what they do, which are stopped and until when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.actors.cell import Cell
from loom.actors.stopped import StoppedActor
from loom.actors.system import ActorSystem
from loom.errors import ActorNotStoppedError
from loom.telemetry import get_logger

__all__ = ["ActorListing", "ActorState", "list_actors", "restart_actor"]

ActorState: TypeAlias = Literal["stopped", "waiting_for_code", "running", "parked", "idle", "asleep"]
"""The activity of an actor: `parked` where all its turns wait, `asleep` where nothing of it is in memory."""

_ORDER: tuple[ActorState, ...] = ("stopped", "waiting_for_code", "running", "parked", "idle", "asleep")

_log = get_logger("loom.actors")


class ActorListing(BaseModel):
    """The status of an actor in its loom. None of this is in the journal, except for its turns."""

    model_config = ConfigDict(frozen=True)

    journal: str
    state: ActorState
    turns: int
    """The number of its turns without an end, as far as it is known without reading the journal."""
    stuck: int = 0
    """The number of these that wait for a person, or for their code."""
    failures: int = 0
    """The number of turns that failed within `actors.failure_window_s`."""
    stops: int = 0
    """The number of its recent stops, each soon after the one before."""
    since: datetime | None = None
    until: datetime | None = None
    """When it was stopped, and when it resumes by itself; the latter is None where a person has to restart it."""
    why: str | None = None


def list_actors(system: ActorSystem) -> tuple[ActorListing, ...]:
    """Return the actors that are awake, stopped or without code, ordered by state: stopped ones first."""
    found = [_of_cell(cell) for cell in system.cells()]
    found += [_of_stopped(system, journal, each) for journal, each in system.stopped]
    for actor_type, journals in system.without_code().items():
        why = f"no code for [{actor_type}] is here: name its module under modules: in the config"
        found += [ActorListing(journal=each, state="waiting_for_code", turns=1, why=why) for each in journals]
    return tuple(sorted(found, key=lambda each: (_ORDER.index(each.state), each.journal)))


async def restart_actor(system: ActorSystem, journal: str, *, by: str) -> ActorListing:
    """Let a stopped actor take commands again, in the name of a person, and return its new status.

    It changes nothing durable, so nothing is journaled: the log names the person. Raises `ActorNotStoppedError`, or
    the error for which the actor stops again at once.
    """
    stopped = system.stopped.get(journal)
    if stopped is None:
        raise ActorNotStoppedError(
            f"actor [{journal}] is not stopped; expected one that is: see `loom actors`, and `loom turns` for turns"
        )
    if stopped.why.gone:
        raise stopped.why.with_traceback(None)
    _log.warning("actor_restarted", journal=journal, by=by, stops=stopped.stops)
    await system.restart(journal)
    return next(
        (each for each in list_actors(system) if each.journal == journal),
        ActorListing(journal=journal, state="asleep", turns=0),
    )


def _of_cell(cell: Cell) -> ActorListing:
    running = cell.lock.owner is not None
    state: ActorState = "running" if running else "parked" if cell.turns else "idle"
    why = None if not cell.stuck else str(next(iter(cell.stuck.values())))
    return ActorListing(
        journal=cell.journal,
        state=state,
        turns=len(cell.open),
        stuck=len(cell.stuck),
        failures=cell.failures.recent,
        why=why,
    )


def _of_stopped(system: ActorSystem, journal: str, stopped: StoppedActor) -> ActorListing:
    now, elapsed_s = system.services.now(), system.stopped.now()
    since = now - timedelta(seconds=elapsed_s - stopped.since)
    until = None if stopped.until is None else now + timedelta(seconds=stopped.until - elapsed_s)
    return ActorListing(
        journal=journal,
        state="stopped",
        turns=stopped.turns,
        failures=stopped.failures,
        stops=stopped.stops,
        since=since if stopped.stops else None,
        until=until,
        why=str(stopped.why),
    )
