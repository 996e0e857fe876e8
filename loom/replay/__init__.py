"""Replay: fold states from journals, drive recorded turns again, judge decisions under another policy version."""

from __future__ import annotations

from loom.lazy import renamed
from loom.replay.against import AgainstCase, Cell, OutcomeJudgement
from loom.replay.audit import Audit, AuditFinding
from loom.replay.checking import TurnCheck
from loom.replay.judging import Case, Judgement, Transition
from loom.replay.replay import Replay
from loom.replay.rerun import Rerun, RerunCase
from loom.replay.scenario import Scenario
from loom.replay.selection import Selection
from loom.replay.state import StateAfter
from loom.replay.turn_verification import TurnVerification

__all__ = [
    "AgainstCase",
    "Audit",
    "AuditFinding",
    "Case",
    "Cell",
    "Judgement",
    "OutcomeJudgement",
    "Replay",
    "Rerun",
    "RerunCase",
    "Scenario",
    "Selection",
    "StateAfter",
    "Transition",
    "TurnCheck",
    "TurnVerification",
]

__getattr__ = renamed(__name__, Rehearsal="TurnVerification")
