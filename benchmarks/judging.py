"""Judging recorded decisions again, next to the bare evaluator and the bare reading of the same rows."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from loom import Actor, Command, Loom
from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.journal import Append
from loom.journal.store import draft
from loom.policies import Table
from loom.replay import Selection

__all__ = ["JudgingFigures", "judging"]

TABLE = Table.of(
    {
        "format": "loom.table/1",
        "name": "bench-table",
        "facts": {"industry": {"type": "string"}, "arr_usd": {"type": "integer"}, "percent": {"type": "integer"}},
        "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 50}},
        "rules": [
            {"name": "within", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "small"},
            {
                "name": "large",
                "when": [["arr_usd", ">=", 500_000], ["percent", "<=", 30]],
                "effect": "require_approval",
                "tier": "vp",
                "why": "a large customer",
            },
            {"name": "health", "when": [["industry", "=", "health"]], "effect": "require_approval", "why": "a cause"},
        ],
        "otherwise": {"name": "else", "effect": "deny", "why": "too much"},
    }
)
JOURNAL = "judged/one"


class JudgingFigures(NamedTuple):
    """Decisions per second: judged again from SQLite; the bare evaluator; the same rows read and parsed."""

    judged: float
    evaluated: float
    read: float


class Nothing(Command[None]):
    """A command that nobody sends."""

    pass


class Judged(Actor[None]):
    """The actor whose decisions are judged."""

    actor_type = "judged"
    policy = TABLE

    async def execute(self, command: Nothing) -> None:
        """Do nothing."""


async def judging(path: Path, *, decisions: int) -> JudgingFigures:
    """Lay decisions down and judge them under a version with another limit, three times; the best counts."""
    async with Loom.open(f"sqlite:///{path}", actors=[Judged], by="bench") as loom:
        await _lay_down(loom, decisions)
        version = await loom.policies.register(TABLE.with_params(limit=20), by="bench")
        await loom.rebuild()
        judged = max([await _judge(loom, version.version, decisions) for _ in range(3)])
        facts = [_facts(number) for number in range(decisions)]
    return JudgingFigures(judged, _rate(lambda: [TABLE.verdict(each) for each in facts], decisions), _parse(facts))


def _facts(number: int) -> dict[str, JsonValue]:
    return {"industry": ("health", "retail")[number % 2], "arr_usd": number % 1_000_000, "percent": number % 40}


async def _lay_down(loom: Loom, decisions: int) -> None:
    version = loom.policies.latest("bench-table")
    reference = PolicyReference(name=version.name, version=version.version, hash=version.hash)
    sequence = 0
    while sequence < decisions:
        batch = []
        for number in range(sequence, min(sequence + 500, decisions)):
            facts = _facts(number)
            evaluation = TABLE.evaluate(facts)
            decision = Decision(
                decision_id=f"{number:064x}",
                decision_type="policy_application",
                rationale=evaluation.why,
                policy=reference,
                facts=facts,
                evaluation=evaluation,
                outcome={"granted": evaluation.allowed},
                context={"notes": "x" * 400},
            )
            batch.append(draft(DecisionJournalEntry(decision=decision), policy_hash=version.hash_bytes))
        await loom.store.append(Append(JOURNAL, sequence, batch))
        sequence += len(batch)


async def _judge(loom: Loom, under: str, decisions: int) -> float:
    began = time.perf_counter()
    found = await loom.replay.judge(Selection(), under=under)
    elapsed = time.perf_counter() - began
    assert found.cases == decisions
    assert found.flipped > 0
    return decisions / elapsed


def _rate(work: object, count: int) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return count / (time.perf_counter() - began)


def _parse(facts: list[dict[str, JsonValue]]) -> float:
    texts = [json.dumps(each) for each in facts]
    return _rate(lambda: [json.loads(each) for each in texts], len(texts))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        print(asyncio.run(judging(Path(directory) / "journal.db", decisions=50_000)))
