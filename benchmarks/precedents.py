"""Looking precedents up among very many decisions: each is in the journal, which every hit is held against.

Index and journal are filled by bare statements, as nobody waits for a million appends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks.measure import Figure, percentile
from loom.journal.sqlite import SqliteStore
from loom.policies.registry import PolicyRegistry
from loom.precedents import Precedents, PrecedentsProjection, index
from loom.projections import Projector, Queries, Views

__all__ = ["figures", "fill", "lookups"]

_BATCH = 20_000
_RULES = ["a" * 64, "b" * 64]
_POLICIES = ["c" * 64, "d" * 64]
_APPEND = """
INSERT INTO entries VALUES (:position, :journal, :sequence, 'decision', 1, :command_id, 1, :recorded_at_us, 0, NULL,
  x'00', :body, x'00', x'00', 1)
"""


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def situation(number: int) -> str:
    """Return the key of one of the made-up situations; low numbers are frequent."""
    return _key("situation", number)


def _rows(first: int, count: int, situations: int) -> Iterator[dict[str, object]]:
    draw = random.Random(first)  # noqa: S311 - the same index every time
    for position in range(first, first + count):
        number = min(int(draw.paretovariate(0.35)), situations)
        granted = draw.random() < 0.7
        yield {
            "position": position,
            "decision_id": _key("decision", position),
            "journal": f"agent/{position % 5_000}",
            "command_id": f"c{position}",
            "decision_type": "exception" if position % 9 == 0 else "policy_application",
            "rule": _RULES[number % 2],
            "situation": situation(number),
            "precedent": _key("precedent", number, granted),
            "outcome": f'{{"granted": {str(granted).lower()}}}',
            "rationale": f"case {number} was decided like others",
            "is_exception": int(position % 9 == 0),
            "recorded_at_us": 1_770_000_000_000_000 + position,
            "policy_name": "discount",
            "policy_version": f"policy_v{position % 2 + 1}_{_POLICIES[position % 2][:8]}",
            "policy_hash": _POLICIES[position % 2],
            "import_id": None,
            "excluded": None,
            "decided_at_us": 1_770_000_000_000_000 + position,
            "effect": None,
            "verdict": None,
        }


def fill(view: sqlite3.Connection, *, first: int, count: int, situations: int) -> None:
    """Add so many decisions to an index, each with three facets and the words of its rationale."""
    rows = list(_rows(first, count, situations))
    view.executemany(index._INSERT, rows)
    view.executemany(index._COUNT_CLASS, rows)
    view.executemany(index._COUNT_POLICY, rows)
    facets = [
        (name, value, row["position"])
        for row in rows
        for name, value in (
            ("industry", f'"{hash_of(row) % 40}"'),
            ("percent", f"{hash_of(row) % 97}"),
            ("big", "true"),
        )
    ]
    view.executemany(index._FACET, facets)
    view.executemany(index.WORDS, [(row["position"], row["rationale"], "two steps") for row in rows])


def append(journal: sqlite3.Connection, *, first: int, count: int, situations: int) -> None:
    """Add the entries of the same decisions to a journal."""
    journal.executemany(
        _APPEND, ({**row, "sequence": _sequence(row), "body": _body(row)} for row in _rows(first, count, situations))
    )


def _sequence(row: dict[str, object]) -> int:
    """Return the place of a decision among those of its actor: every 5,000th is one of the same."""
    position = int(str(row["position"]))
    return position // 5_000 + (position % 5_000 > 0)


def _body(row: dict[str, object]) -> bytes:
    decision = {
        "decision_id": row["decision_id"],
        "decision_type": row["decision_type"],
        "rationale": row["rationale"],
        "reasoning": ["two steps"],
        "inputs": [],
        "policy": {"name": row["policy_name"], "version": row["policy_version"], "hash": row["policy_hash"]},
        "facts": {"industry": hash_of(row) % 40, "percent": hash_of(row) % 97, "notes": "x" * 300},
        "outcome": json.loads(str(row["outcome"])),
        "is_exception": bool(row["is_exception"]),
        "precedent_class": {name: row[name] for name in ("rule", "situation", "precedent")},
    }
    return json.dumps({"step": None, "decision": decision, "enrich": None}).encode()


def hash_of(row: dict[str, object]) -> int:
    """Return a number that is a decision's own, and the same in every process."""
    return int(str(row["decision_id"])[:8], 16)


async def lookups(directory: Path, *, decisions: int, count: int) -> dict[str, list[float]]:
    """Fill an index and return how many seconds each kind of look-up took, so many times each."""
    store = await SqliteStore.open(directory / "journal.db")
    views = Views(store.files.views)
    projector = Projector(store, views, [PrecedentsProjection()])
    await projector.start()
    situations = max(decisions // 20, 10)
    try:
        for first in range(1, decisions + 1, _BATCH):
            size = min(_BATCH, decisions + 1 - first)
            with contextlib.closing(sqlite3.connect(store.files.journal)) as journal, journal:
                append(journal, first=first, count=size, situations=situations)
            await views.write(
                lambda view, first=first, size=size: fill(  # type: ignore[misc]
                    view, first=first, count=size, situations=situations
                )
            )
        await views.write(lambda view: view.execute(index._ADOPT, ("discount", _POLICIES[1])))
        precedents = Precedents(Queries(views, projector), policies=PolicyRegistry(store))
        return await _measured(precedents, decisions, situations, count)
    finally:
        await projector.close()
        await views.close()
        await store.close()


async def _measured(precedents: Precedents, decisions: int, situations: int, count: int) -> dict[str, list[float]]:
    draw = random.Random(7)  # noqa: S311 - the same questions every time
    largest = (await precedents.classes(limit=1))[0]

    def any_situation() -> str:
        return situation(min(int(draw.paretovariate(0.35)), situations))

    def any_decision() -> str:
        return _key("decision", draw.randint(1, decisions))

    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "find, five of a situation": lambda: precedents.find(situation=any_situation(), limit=5),
        "find, as an actor asks": lambda: precedents.find(
            situation=any_situation(), exclude_turn=("agent/7", "c7"), limit=5
        ),
        "find, of a type in a situation": lambda: precedents.find(
            situation=any_situation(), decision_type="exception", limit=5
        ),
        "of, the class of a decision": lambda: precedents.of(any_decision()),
        "members, twenty of the largest class": lambda: precedents.members(
            largest.precedent, limit=20, after=draw.randint(1, decisions)
        ),
        "classes, the twenty largest": lambda: precedents.classes(limit=20),
        "classes, the twenty largest of a rule": lambda: precedents.classes(rule=_RULES[0], limit=20),
    }
    took: dict[str, list[float]] = {}
    for name, ask in questions.items():
        for _ in range(20):
            await ask()
        took[name] = []
        for _ in range(count):
            began = time.perf_counter()
            await ask()
            took[name].append(time.perf_counter() - began)
    return took


def figures(directory: Path, scale: float) -> Iterator[Figure]:
    """Return the figures of an index of a million decisions; a smaller one with a smaller `scale`."""
    decisions = int(1_000_000 * scale)
    began = time.perf_counter()
    took = asyncio.run(lookups(directory, decisions=decisions, count=2_000))
    yield Figure("decisions in the precedent index", decisions, "decisions")
    yield Figure("… filled and asked in", time.perf_counter() - began, "s")
    for name, seconds in took.items():
        tail = percentile(seconds, 0.99)
        yield Figure(f"{name}, p50", percentile(seconds, 0.5) * 1e3, "ms")
        yield Figure(f"{name}, p99", tail * 1e3, "ms", aim="< 1", met=tail < 1e-3)
