"""Reading back: a journal of many entries rebuilt into a state, and into views."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from benchmarks import raw
from benchmarks.workload import BenchAgent, DecideOnce
from loom import Loom
from loom.journal import KINDS, Append, Draft, Recorded

__all__ = ["lay_down", "projections_per_second", "rebuild_per_second", "validate_json_per_second"]

JOURNAL = "bench-agent/long"


async def lay_down(path: Path, *, entries: int) -> None:
    """Write a journal of so many entries of one actor: real turns, repeated under other command ids."""
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench") as loom:
        await loom.actor(BenchAgent, "long").ask(DecideOnce(customer="acme", percent=5))
        turn = [recorded async for recorded in loom.store.read(JOURNAL)]
        sequence = len(turn)
        while sequence < entries:
            await loom.store.room()
            again = [_draft(recorded, f"{recorded.command_id}-{sequence}") for recorded in turn]
            future = loom.store.submit(Append(JOURNAL, sequence, again))
            sequence += len(again)
        await future
        await loom.reached()


def _draft(recorded: Recorded, command_id: str) -> Draft:
    assert recorded.salt is not None
    assert recorded.body is not None
    return Draft(
        recorded.kind,
        recorded.schema_version,
        command_id,
        recorded.policy_hash,
        recorded.salt,
        recorded.body,
        recorded.body_digest,
    )


async def rebuild_per_second(path: Path) -> float:
    """Return entries per second when every entry of the journal is read, decoded and handed on in order."""
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench", resume=False) as loom:
        gc.collect()
        began = time.perf_counter()
        count = 0
        async for recorded in loom.store.read(JOURNAL):
            _ = recorded.entry
            count += 1
        return count / (time.perf_counter() - began)


async def projections_per_second(path: Path) -> float:
    """Return entries per second when all views are rebuilt from nothing."""
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench", resume=False) as loom:
        gc.collect()
        began = time.perf_counter()
        await loom.rebuild()
        return loom.store.acknowledged / (time.perf_counter() - began)


async def validate_json_per_second(path: Path) -> float:
    """Return how fast pydantic alone decodes the same bodies, rows already in memory."""
    rows: list[tuple[type, bytes]] = []
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench", resume=False) as loom:
        async for recorded in loom.store.read(JOURNAL, until=20_000):
            cls = KINDS.get(recorded.kind)
            if cls is not None and recorded.body is not None:
                rows.append((cls, recorded.body))
    return raw.validate_json_per_second(rows)
