"""Lists, filters, windows and facet counts among very many decisions, most of them from before: how long each takes.

`python -m benchmarks.listing [DECISIONS]`
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.growth import caught_up
from benchmarks.measure import Figure, percentile
from loom import Loom
from loom.actors import Sources
from loom.decisions import (
    Decision,
    DecisionJournalEntry,
    DecisionObservedEntry,
    ObservedSource,
    PolicyReference,
    observed_decision_id,
)
from loom.journal import Append, Draft, draft
from loom.policies.evaluation import Evaluation
from loom.precedents import Bin, EquivalenceRule, FromContext
from loom.testing import FixedClock

__all__ = ["costs_s", "figures", "lay_down"]

BEGIN = datetime(2010, 1, 1, 9, tzinfo=UTC)
OPENED = datetime(2020, 1, 1, 9, tzinfo=UTC)
TOWNS = ["Kiel", "Ulm", "Jena", "Bonn", "Trier", "Fulda", "Gotha", "Hamm"]
RULE = EquivalenceRule(
    "bench",
    outcome=["granted"],
    attributes=["town", FromContext("channel"), Bin("amount", at=[10_000, 50_000, 200_000]), "branch"],
)
POLICY = PolicyReference(name="bench", version="policy_v1_aaaaaaaa", hash="a" * 64, rule="r")
_BATCH = 500
_OBSERVED = 0.7
"""The share of decisions that were made before, in ten years; the others were made in the year after."""
_ACTOR = {"actor_type": "loan", "actor_key": "7"}
_TYPE = {"decision_type": "loan"}
_AIM_S = 0.05
_PAGE = 20


async def lay_down(path: Path, *, decisions: int) -> None:
    """Write ten years of observed decisions in the order of their time, and a year of others; fold the views."""
    clock = FixedClock(OPENED)
    async with Loom.open(f"sqlite:///{path}", by="bench", sources=Sources(clock=clock), resume=False) as loom:
        await loom.precedents.register(RULE, by="bench")
        observed = int(decisions * _OBSERVED)
        run = await loom.runs.start(kind="import", by="bench")
        await _append(loom, (_observed(number, observed, run.run_id, loom) for number in range(observed)))
        await loom.runs.end(run.run_id, by="bench", importing=True)
        step = timedelta(days=365) / (decisions - observed)
        await _append(loom, (_made(number) for number in range(decisions - observed)), each=lambda: clock.advance(step))
        await caught_up(loom)


async def _append(loom: Loom, made: Iterator[tuple[str, Draft]], *, each: Callable[[], Any] = lambda: None) -> None:
    """Append drafts, so many of a journal at once."""
    heads: dict[str, int] = {}
    waiting: dict[str, list[Draft]] = {}
    for journal, one in made:
        drafts = waiting.setdefault(journal, [])
        drafts.append(one)
        each()
        if len(drafts) == _BATCH:
            await loom.store.append(Append(journal, heads.get(journal, 0), waiting.pop(journal)))
            heads[journal] = heads.get(journal, 0) + _BATCH
    for journal, drafts in waiting.items():
        await loom.store.append(Append(journal, heads.get(journal, 0), drafts))


def _about(draw: random.Random) -> dict[str, Any]:
    facts = {
        "town": draw.choice(TOWNS),
        "amount": draw.randrange(500_000),
        "branch": f"b{draw.randrange(200)}",
        "customer": f"c{draw.randrange(100_000)}",
    }
    return {
        "facts": facts,
        "context": {"channel": draw.choice(["desk", "phone", "web"])},
        "rationale": "as always",
        "outcome": {"granted": facts["amount"] < 300_000},
    }


def _observed(number: int, count: int, run_id: str, loom: Loom) -> tuple[str, Draft]:
    draw = random.Random(number)  # noqa: S311 - the same decisions every time
    journal, own_id = f"loan/{number // _BATCH % 40}", str(number)
    named = {"workspace": loom.store.workspace, "journal": journal, "source": "bank", "own_id": own_id}
    decision = Decision(
        decision_id=observed_decision_id(**named),
        decision_type=draw.choice(["loan", "mortgage"]),
        origin="observed",
        run_id=run_id,
        decided_at=BEGIN + timedelta(days=3_650) * (number / count),
        **_about(draw),
    )
    source = ObservedSource(name="bank", own_id=own_id, digest="d" * 64, row=number + 1, row_digest=f"{number:064x}")
    entry = DecisionObservedEntry(
        decision=decision, source=source, decided_by=draw.choice(["ann", "bo"]), via=source.via
    )
    return journal, draft(entry, command_id=f"bank:{own_id}")


def _made(number: int) -> tuple[str, Draft]:
    draw = random.Random(-number - 1)  # noqa: S311 - the same decisions every time
    about = _about(draw)
    decision = Decision(
        decision_id=f"{number:064x}",
        decision_type=draw.choice(["loan", "limit"]),
        policy=POLICY,
        evaluation=Evaluation(effect="allow" if about["outcome"]["granted"] else "deny", rule="r", why="so"),
        is_exception=number % 500 == 0,
        **about,
    )
    return f"agent/{number // _BATCH % 100}", draft(DecisionJournalEntry(decision=decision), policy_hash=b"\xaa" * 32)


def _questions(loom: Loom, draw: random.Random) -> dict[str, Callable[[], Awaitable[Any]]]:
    find, facets = loom.traces.find, loom.precedents.facets

    def window(days: int, *, whole: bool = True) -> dict[str, Any]:
        since = BEGIN + timedelta(days=draw.randrange(3_650 - days), hours=0 if whole else draw.randrange(24))
        since = since.replace(hour=0) if whole else since
        return {"since": since, "until": since + timedelta(days=days)}

    recorded = {"since": OPENED + timedelta(days=100), "until": OPENED + timedelta(days=101), "by_time": "recorded"}
    lists: dict[str, dict[str, Any]] = {
        "the newest": {},
        "of one actor": _ACTOR,
        "of a type": _TYPE,
        "of a policy": {"policy": "bench"},
        "exceptions": {"is_exception": True},
        "observed": {"origin": "observed"},
        "open, of which there are none": {"status": "open"},
        "of a status that none has": {"status": "failed"},
        "recorded on a day": recorded,
    }
    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        f"a list: {name}": lambda given=given: find(limit=_PAGE, **given) for name, given in lists.items()
    }
    asked |= {
        f"a list: decided in {name}": lambda days=days, more=more: find(limit=_PAGE, **window(days), **more)
        for name, days, more in (
            ("a day", 1, {}),
            ("a month", 30, {}),
            ("a year", 365, {}),
            ("a month, of a type", 30, _TYPE),
            ("a month, of one actor", 30, _ACTOR),
        )
    }
    asked |= {
        "facets: eight values, ever": lambda: facets("town"),
        "facets: parts of a number, ever": lambda: facets("amount"),
        "facets: two hundred values, ever": lambda: facets("branch"),
        "facets: two hundred values, of a type, ever": lambda: facets("branch", decision_type="loan"),
        "facets: eight values, a year of whole days": lambda: facets("town", **window(365)),
        "facets: eight values, a year with ends that are read": lambda: facets("town", **window(365, whole=False)),
        "facets: two hundred values, a month": lambda: facets("branch", **window(30)),
    }
    return asked


async def costs_s(path: Path, *, tries: int) -> dict[str, list[float]]:
    """Return how many seconds each question took, so many times."""
    async with Loom.open(f"sqlite:///{path}", by="bench", resume=False) as loom:
        await caught_up(loom)
        found: dict[str, list[float]] = {}
        for name, ask in _questions(loom, random.Random(3)).items():  # noqa: S311 - the same questions every time
            await ask()
            found[name] = []
            for _ in range(tries):
                began = time.perf_counter()
                await ask()
                found[name].append(time.perf_counter() - began)
        return found


def figures(directory: Path, scale: float) -> Iterator[Figure]:
    """Lay a million decisions down, and yield how long each question takes."""
    decisions = max(int(1_000_000 * scale), 10_000)
    path = directory / "journal.db"
    began = time.perf_counter()
    asyncio.run(lay_down(path, decisions=decisions))
    yield Figure("decisions that are listed and counted", decisions, "decisions")
    yield Figure("… written and in the views in", time.perf_counter() - began, "s")
    for name, taken in asyncio.run(costs_s(path, tries=40)).items():
        yield Figure(f"{name}, p50", percentile(taken, 0.5) * 1e3, "ms")
        slow = percentile(taken, 0.95)
        yield Figure(f"{name}, p95", slow * 1e3, "ms", aim="< 50", met=slow < _AIM_S)


def main() -> None:
    """Print the figures."""
    decisions = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        for each in figures(Path(directory), decisions / 1_000_000):
            sys.stdout.write(f"{each.name}: {each.value:,.3g} {each.unit}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
