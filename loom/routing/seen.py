"""What executions say of agents, compared with the journal: the view says where they are, the entries what they are.

A view that was changed can hide an execution, and not invent one. Nothing is read twice: where an agent has the
executions that it had at the last look, its signals are those of the last look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from loom.projections import Queries
from loom.routing.entries import ExecutionEntry
from loom.routing.views import Measures, measures_of, signals_of

__all__ = ["Executions", "Seen"]

_PLACES = """
SELECT agent, group_concat(position) AS positions FROM care_executions
WHERE agent IN (SELECT value FROM json_each(?)) GROUP BY agent
"""
_MOST_AGENTS = 10_000
"""So many agents are remembered; beyond that all are read again."""


class Seen(NamedTuple):
    """The signals of an agent, and over how many executions."""

    samples: int
    signals: Mapping[str, object]


class _Known(NamedTuple):
    positions: str
    measures: Mapping[int, Measures]
    seen: Seen


class Executions:
    """Reads the executions that the signals of agents are computed from."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._known: dict[str, _Known] = {}

    async def of(self, agents: Sequence[str]) -> dict[str, Seen]:
        """Return what the executions of agents say; an agent without any is not in it."""
        rows = await self._queries.fetch(_PLACES, (json.dumps(list(agents)),), names=("routing",), consistent=False)
        changed = [row for row in rows if self._positions(row["agent"]) != row["positions"]]
        if changed:
            await self._read({row["agent"]: row["positions"] for row in changed})
        found = {row["agent"]: self._known[row["agent"]].seen for row in rows}
        return {agent: seen for agent, seen in found.items() if seen.samples}

    def _positions(self, agent: str) -> str | None:
        known = self._known.get(agent)
        return None if known is None else known.positions

    async def _read(self, places: Mapping[str, str]) -> None:
        if len(self._known) + len(places) > _MOST_AGENTS:
            self._known.clear()
        wanted = {agent: [int(each) for each in positions.split(",")] for agent, positions in places.items()}
        before = {agent: self._known[agent].measures if agent in self._known else {} for agent in wanted}
        missing = {at for agent, positions in wanted.items() for at in positions if at not in before[agent]}
        entries = await self._queries.entries.at(missing)
        for agent, positions in wanted.items():
            measures = {}
            for at in sorted(positions):
                entry = entries[at].entry if at in entries else None
                if at in before[agent]:
                    measures[at] = before[agent][at]
                elif isinstance(entry, ExecutionEntry) and entry.agent == agent:
                    measures[at] = measures_of(entry)
                else:
                    self._queries.differences.add("care_executions", at, f"it is no execution of [{agent:.80}]")
            signals = signals_of(list(measures.values())) if measures else {}
            self._known[agent] = _Known(places[agent], measures, Seen(len(measures), signals))
