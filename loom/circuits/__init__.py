"""Circuits: registered steps whose failures act, chains of them, and strategies that are corrected."""

from __future__ import annotations

from loom.circuits.actor import CircuitActor
from loom.circuits.autonomy import Counted, Health, StrategyActor, strategy_decline
from loom.circuits.binding import bound_to
from loom.circuits.chain import ChainReply, StepReply
from loom.circuits.circuits import Circuits
from loom.circuits.core import CORE
from loom.circuits.definition import Circuit, CircuitDefinition, FailureMode, Result, circuit
from loom.circuits.escalations import Escalation
from loom.circuits.extension import extension
from loom.circuits.loading import load_circuits
from loom.circuits.reading import CircuitsView

__all__ = [
    "CORE",
    "ChainReply",
    "Circuit",
    "CircuitActor",
    "CircuitDefinition",
    "Circuits",
    "CircuitsView",
    "Counted",
    "Escalation",
    "FailureMode",
    "Health",
    "Result",
    "StepReply",
    "StrategyActor",
    "bound_to",
    "circuit",
    "extension",
    "load_circuits",
    "strategy_decline",
]
