"""For the tests of agent code: scenarios, a clock that the test moves, ids and salts that are always the same."""

from __future__ import annotations

from loom.lazy import renamed
from loom.testing.scenario import Scenario, ScenarioResult
from loom.testing.sources import FixedClock, fixed_sources

__all__ = ["FixedClock", "Scenario", "ScenarioResult", "fixed_sources"]

__getattr__ = renamed(__name__, Happened="ScenarioResult")
