"""Circuits: registered steps whose failures act, chains of them, and strategies that are corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loom.lazy import lazily

if TYPE_CHECKING:
    from loom.circuits.actor import CircuitActor
    from loom.circuits.autonomy import Counted, Health, StrategyActor, strategy_decline
    from loom.circuits.binding import bound_to
    from loom.circuits.chain import ChainReply, StepReply
    from loom.circuits.circuits import Circuits
    from loom.circuits.core import CORE
    from loom.circuits.definition import Circuit, CircuitDefinition, FailureMode, Result, circuit
    from loom.circuits.errors import CircuitDependencyError
    from loom.circuits.escalations import Escalation
    from loom.circuits.loading import load_circuits
    from loom.circuits.reading import CircuitsView
    from loom.circuits.wing import extension

__all__ = [
    "CORE",
    "ChainReply",
    "Circuit",
    "CircuitActor",
    "CircuitDefinition",
    "CircuitDependencyError",
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

if not TYPE_CHECKING:
    __getattr__ = lazily(
        __name__,
        ".actor .autonomy .binding .chain .circuits .core .definition .errors .escalations .loading .reading .wing",
    )
