"""The verbs of agent code: each is a step of the turn, read from the journal if recorded, else run and journaled.

A verb is a function of the turn in which it is called. Its order of work is the same everywhere: check the arguments,
begin the step, use the recorded result if there is one, else run the step and write the result, then raise or return.
"""

from __future__ import annotations

from loom.actors.verbs.adjusting import request_approval
from loom.actors.verbs.decision import DecisionDraft, record_decision
from loom.actors.verbs.draw import new_id, now, random
from loom.actors.verbs.effect import effect_key, perform
from loom.actors.verbs.evaluation import evaluate, parameters
from loom.actors.verbs.lookup import gather_context
from loom.actors.verbs.message import ask, tell
from loom.actors.verbs.precedents import find_precedents
from loom.actors.verbs.record import record
from loom.actors.verbs.version import version
from loom.actors.verbs.wait import sleep
from loom.actors.verbs.wait_for import wait_for

__all__ = [
    "DecisionDraft",
    "ask",
    "effect_key",
    "evaluate",
    "find_precedents",
    "gather_context",
    "new_id",
    "now",
    "parameters",
    "perform",
    "random",
    "record",
    "record_decision",
    "request_approval",
    "sleep",
    "tell",
    "version",
    "wait_for",
]
