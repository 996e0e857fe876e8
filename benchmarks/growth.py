"""What grows with history: every public query on a short journal and on a long one, in CPU time of the process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import median
from benchmarks.workload import BenchAgent, DecideOnce
from loom import Loom
from loom.errors import LoomError
from loom.journal import Append
from loom.journal.chain import body_digest
from loom.journal.store import Draft

__all__ = ["caught_up", "costs_s", "lay_down"]

_ENTRIES_OF_AN_ACTOR = 50
"""Journals are of one length, so that only the number of them grows."""
_COMMAND = DecideOnce(customer="acme", percent=5)
_PAGE = 20


async def lay_down(path: Path, *, entries: int) -> None:
    """Make a journal as long as is asked for: one real turn, copied under other ids, journals and decision ids."""
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench", resume=False) as loom:
        await loom.actor(BenchAgent, "template").ask(_COMMAND)
        turn = [each async for each in loom.store.read("bench-agent/template")]
        command_id = str(turn[0].command_id)
        [decision_id] = [each.entry.decision.decision_id for each in turn if each.kind == "decision"]  # type: ignore[attr-defined]
        heads: dict[str, int] = {}
        number, actors = 0, entries // _ENTRIES_OF_AN_ACTOR
        while loom.store.acknowledged < entries:
            key = f"k{number % actors}"
            journal = f"bench-agent/{key}"
            other = hashlib.sha256(str(number).encode()).hexdigest()
            renamed = {command_id: other[:36], decision_id: other, '"template"': f'"{key}"'}
            drafts = []
            for each in turn:
                body = each.body or b""
                for before, after in renamed.items():
                    body = body.replace(before.encode(), after.encode())
                digest = body_digest(each.salt or b"", body)
                drafts.append(
                    Draft(each.kind, each.schema_version, other[:36], each.policy_hash, each.salt or b"", body, digest)
                )
            await loom.store.room()
            last = loom.store.submit(Append(journal, heads.get(journal, 0), drafts))
            heads[journal] = heads.get(journal, 0) + len(drafts)
            number += 1
            if number % 1_000 == 0:
                await last
        await caught_up(loom)


async def caught_up(loom: Loom) -> None:
    """Wait until all views hold what is acknowledged, however long that takes."""
    while True:
        try:
            await loom.reached()
        except LoomError:  # it waits for so long, and no longer
            continue
        return


async def costs_s(path: Path) -> dict[str, float]:
    """Return the median CPU seconds of every query, of a turn, of waking an actor, of opening and of closing."""
    found: dict[str, float] = {}
    began = time.process_time()
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench") as loom:
        await caught_up(loom)
        found["open"] = time.process_time() - began
        decisions = await loom.traces.find(limit=_PAGE)
        ids = [each.decision_id for each in decisions]
        for name, query in _queries(loom, ids).items():
            found[name] = await _cost_s(query)
        began = time.process_time()
    found["close"] = time.process_time() - began
    return found


def _queries(loom: Loom, ids: list[str]) -> dict[str, Callable[[int], Awaitable[Any]]]:
    """Return what is asked, by how a person would call it; each takes the number of the try."""
    traces, precedents, turns = loom.traces, loom.precedents, loom.turns
    return {
        "a decision by id": lambda at: traces.get(ids[at % _PAGE]),
        "why": lambda at: traces.explain(ids[at % _PAGE]),
        "the newest decisions": lambda at: traces.find(limit=_PAGE),
        "decisions of one actor": lambda at: traces.find(limit=_PAGE, actor_key="k7"),
        "decisions of a status that none has": lambda at: traces.find(limit=_PAGE, status="failed"),
        "exceptions, of which there are none": lambda at: traces.find(limit=_PAGE, is_exception=True),
        "chain": lambda at: traces.chain(ids[at % _PAGE]),
        "lineage of one": lambda at: traces.lineage(ids[at % _PAGE]),
        "precedents by words": lambda at: precedents.find(text="within", limit=5),
        "precedents by a facet": lambda at: precedents.find(facets={"industry": "healthcare"}, limit=5),
        "memory by words": lambda at: loom.memory.search(text="within", limit=5),
        "turns without an end": lambda at: turns.unfinished(limit=_PAGE),
        "the newest turns": lambda at: turns.list(limit=_PAGE),
        "failed turns, of which there are none": lambda at: turns.list(status="failed", limit=_PAGE),
        "requests that wait": lambda at: loom.approvals.pending(limit=_PAGE),
        "runs": lambda at: loom.runs.find(limit=_PAGE),
        "journals": lambda at: loom.store.journals(limit=100),
        "an actor that wakes, and its turn": lambda at: loom.actor(BenchAgent, f"k{100 + at}").ask(_COMMAND),
        "a turn": lambda at: loom.actor(BenchAgent, "k7").ask(_COMMAND),
    }


async def _cost_s(query: Callable[[int], Awaitable[Any]], *, tries: int = 15) -> float:
    taken = []
    for number in range(tries):
        began = time.process_time()
        await query(number)
        taken.append(time.process_time() - began)
    return median(taken)
