"""The strategies of a client and segment: what is folded of them, and how circuits read which one is in use."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections import OrderedDict
from dataclasses import dataclass

from pydantic import BaseModel, Field

from loom.circuits.decline import KEPT_CYCLES
from loom.circuits.entries import CorrectionEntry, CycleCountedEntry, StrategyRegisteredEntry
from loom.identity import journal_name
from loom.journal.entry import Entry
from loom.journal.store import JournalReader

__all__ = ["DEFAULT_STRATEGY", "STRATEGY", "Strategies", "Strategy", "StrategyState"]

STRATEGY = "strategy"
"""The actor type of a client and segment."""

DEFAULT_STRATEGY = "strategy-default"
"""What is in use until a strategy is named; it is never rotated to."""

_MOST_KNOWN = 1_000


class Strategy(BaseModel):
    """A strategy, with its own figures: the engagement of its last cycles, and how many it has had."""

    success_rate: float
    active: bool
    history: list[float] = Field(default_factory=list)
    cycle_count: int = 0


class StrategyState(BaseModel):
    """The strategies of a client and segment, and how the one in use does."""

    strategies: dict[str, Strategy] = Field(default_factory=dict)
    current: str = DEFAULT_STRATEGY
    cycle_count: int = 0
    """Under whichever strategy."""
    decline_cycles: int = 0
    frozen_baseline: float | None = None
    """What cycles are held against while the strategy declines."""
    measured: float = 1.0
    """How sure the metrics of the declining cycles are, at the least."""

    @classmethod
    def initial(cls) -> StrategyState:
        """Return the state of a client of whom nothing is known yet: one strategy, the default one."""
        return cls(strategies={DEFAULT_STRATEGY: Strategy(success_rate=0.0, active=True)})

    def baseline(self, cycles: int) -> float | None:
        """Return what the next cycle is held against: frozen, or the mean of the last cycles of the strategy."""
        if self.frozen_baseline is not None:
            return self.frozen_baseline
        before = self.strategies[self.current].history[-cycles:]
        return round(math.fsum(before) / len(before), 6) if before else None

    def best_other(self) -> str | None:
        """Return the active strategy with the best success rate that is not in use; None where there is none."""
        others = sorted(
            (-each.success_rate, name)
            for name, each in self.strategies.items()
            if each.active and name not in (self.current, DEFAULT_STRATEGY)
        )
        return others[0][1] if others else None

    def fold(self, entry: Entry) -> None:
        """Take in a strategy, a cycle or a correction."""
        if isinstance(entry, StrategyRegisteredEntry):
            self._register(entry)
        elif isinstance(entry, CycleCountedEntry):
            strategy = self.strategies[entry.strategy_id]
            strategy.history.append(entry.engagement)
            del strategy.history[:-KEPT_CYCLES]
            strategy.cycle_count += 1
            self.cycle_count, self.decline_cycles = entry.cycle, entry.decline_cycles
            self.frozen_baseline = entry.frozen_baseline
            self.measured = min(self.measured, entry.measured) if entry.declining else 1.0
        elif isinstance(entry, CorrectionEntry):
            self.decline_cycles = entry.decline_cycles
            if entry.new_strategy_id is not None:
                self.current, self.frozen_baseline, self.measured = entry.new_strategy_id, None, 1.0

    def _register(self, entry: StrategyRegisteredEntry) -> None:
        known = self.strategies.get(entry.strategy_id, Strategy(success_rate=0.0, active=True))
        self.strategies[entry.strategy_id] = known.model_copy(
            update={"success_rate": entry.success_rate, "active": entry.active}
        )
        if len(self.strategies) == 2 and self.cycle_count == 0 and self.current == DEFAULT_STRATEGY:
            self.current = entry.strategy_id  # the first that is named is the one in use


class Strategies:
    """Which strategies clients have, out of the journals themselves: a view could be made to say something else."""

    def __init__(self, store: JournalReader) -> None:
        self._store = store
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def of(self, client_id: str, segment: str) -> StrategyState | None:
        """Return the strategies of a client and segment; None where nothing is known of them, or no longer."""
        name = journal_name(STRATEGY, f"{client_id}:{segment}")
        async with self._one_at_a_time:
            known = self._known.setdefault((client_id, segment), _Known())
            self._known.move_to_end((client_id, segment))
            async for recorded in self._store.read(name, after=known.sequence):
                known.is_whole = known.is_whole and recorded.body is not None
                known.state.fold(recorded.entry)
                known.sequence = recorded.sequence
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
            return known.state.model_copy(deep=True) if known.sequence and known.is_whole else None


@dataclass(slots=True)
class _Known:
    """How far a journal was read, and what it came to."""

    sequence: int = 0
    is_whole: bool = True
    state: StrategyState = dataclasses.field(default_factory=StrategyState.initial)
