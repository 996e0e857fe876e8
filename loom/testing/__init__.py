"""For the tests of agent code: scenarios, a clock that the test moves, ids and salts that are always the same."""

from __future__ import annotations

from loom.testing.scenario import Happened, Scenario
from loom.testing.sources import FixedClock, fixed_sources

__all__ = ["FixedClock", "Happened", "Scenario", "fixed_sources"]
