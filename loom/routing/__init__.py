"""Routing: an agent is chosen by the baseline, and by history only under rails; every divergence is a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loom.lazy import lazily

if TYPE_CHECKING:
    from loom.routing.actor import Choice, RouterActor
    from loom.routing.baseline import Baseline, Scored, choose_baseline
    from loom.routing.config import CareOptimizationConfig, Mode
    from loom.routing.entries import ExecutionEntry, StopCondition
    from loom.routing.executions import Executed, execute_agent
    from loom.routing.optimizer import OptimizerFacts, OptimizerParams, care_optimizer
    from loom.routing.reading import RoutingStatus
    from loom.routing.record import DecisionRecord
    from loom.routing.replay import RoutingReplay
    from loom.routing.request import Candidate, RoutingRequest
    from loom.routing.router import Router
    from loom.routing.signals import (
        ALLOWED_SIGNALS,
        FORBIDDEN_SIGNALS,
        AgentSignals,
        ForbiddenSignalError,
        SignalKind,
        SignalRangeError,
        SignalReader,
        SignalSource,
    )
    from loom.routing.switch import RearmRefusedError, SelfRearmError
    from loom.routing.wing import extension
    from loom.routing.words import TimelineEntry

__all__ = [
    "ALLOWED_SIGNALS",
    "FORBIDDEN_SIGNALS",
    "AgentSignals",
    "Baseline",
    "Candidate",
    "CareOptimizationConfig",
    "Choice",
    "DecisionRecord",
    "Executed",
    "ExecutionEntry",
    "ForbiddenSignalError",
    "Mode",
    "OptimizerFacts",
    "OptimizerParams",
    "RearmRefusedError",
    "Router",
    "RouterActor",
    "RoutingReplay",
    "RoutingRequest",
    "RoutingStatus",
    "Scored",
    "SelfRearmError",
    "SignalKind",
    "SignalRangeError",
    "SignalReader",
    "SignalSource",
    "StopCondition",
    "TimelineEntry",
    "care_optimizer",
    "choose_baseline",
    "execute_agent",
    "extension",
]

if not TYPE_CHECKING:
    __getattr__ = lazily(
        __name__,
        ".actor .baseline .config .entries .executions .optimizer .reading .record .replay "
        ".request .router .signals .switch .wing .words",
    )
