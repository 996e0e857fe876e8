"""What agent code calls: each verb is a step of the turn, fed back where it was recorded, else done and journaled.

A verb is a function of the turn it is called in. Its order of work is the same everywhere: check what was given, begin
the step, take what the journal holds of it, else do it for real and write it, and only then raise or return.
"""

from __future__ import annotations

from loom.actors.verbs.approval import request_approval
from loom.actors.verbs.decision import DecisionDraft, record_decision
from loom.actors.verbs.draw import new_id, now, random
from loom.actors.verbs.effect import perform
from loom.actors.verbs.evaluation import evaluate, parameters
from loom.actors.verbs.lookup import gather_context
from loom.actors.verbs.message import ask, tell
from loom.actors.verbs.precedents import find_precedents
from loom.actors.verbs.record import record

__all__ = [
    "DecisionDraft",
    "ask",
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
    "tell",
]
