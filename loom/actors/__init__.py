"""Actors, their commands and turns, and the interventions of people."""

from __future__ import annotations

from loom.actors.actor import Actor
from loom.actors.approvals import Approvals
from loom.actors.command import COMMANDS, Command, Message
from loom.actors.deadlines import DeadlineClock
from loom.actors.dispatch import TellReceipt
from loom.actors.previewing import ChangesPreview
from loom.actors.progress import LeftOut, Progress, Replied, StepBegan, StepEnded, TextDelta
from loom.actors.reference import ActorRef
from loom.actors.retrying import Retry, exponential
from loom.actors.services import ActorOptions, Approver, Services, Sources
from loom.actors.system import ActorSystem
from loom.actors.turns import TurnListing, Turns
from loom.actors.turns_view import TurnsProjection, TurnSummary, TurnsView
from loom.actors.verbs.effect import effect_key

__all__ = [
    "COMMANDS",
    "Actor",
    "ActorOptions",
    "ActorRef",
    "ActorSystem",
    "Approvals",
    "Approver",
    "ChangesPreview",
    "Command",
    "DeadlineClock",
    "LeftOut",
    "Message",
    "Progress",
    "Replied",
    "Retry",
    "Services",
    "Sources",
    "StepBegan",
    "StepEnded",
    "TellReceipt",
    "TextDelta",
    "TurnListing",
    "TurnSummary",
    "Turns",
    "TurnsProjection",
    "TurnsView",
    "effect_key",
    "exponential",
]
