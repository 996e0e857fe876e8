"""Who decides: actors, their commands and turns, and what people do about them."""

from __future__ import annotations

from loom.actors.actor import Actor
from loom.actors.approvals import Approvals, DeadlineClock
from loom.actors.command import COMMANDS, Command
from loom.actors.reactors import Reaction, Reactor, Reactors
from loom.actors.reference import ActorRef
from loom.actors.services import ActorOptions, Approver, Services, Sources
from loom.actors.standings import Standing, StandingChangedEntry, Standings
from loom.actors.system import ActorSystem, Told
from loom.actors.turns import TurnListing, Turns
from loom.actors.turns_view import TurnsProjection, TurnSummary, TurnsView

__all__ = [
    "COMMANDS",
    "Actor",
    "ActorOptions",
    "ActorRef",
    "ActorSystem",
    "Approvals",
    "Approver",
    "Command",
    "DeadlineClock",
    "Reaction",
    "Reactor",
    "Reactors",
    "Services",
    "Sources",
    "Standing",
    "StandingChangedEntry",
    "Standings",
    "Told",
    "TurnListing",
    "TurnSummary",
    "Turns",
    "TurnsProjection",
    "TurnsView",
]
