"""Judging over gaps, against judging the same number of decisions whose facts are whole, and the bare read."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from benchmarks.judging import JOURNAL, TABLE, Judged
from loom import Loom
from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.journal import Append
from loom.journal.store import draft
from loom.policies import Table
from loom.replay import Selection

__all__ = ["GapFigures", "gaps", "nearest_s"]

_INDUSTRIES = ("health", "retail", "bank")


class GapFigures(NamedTuple):
    """Decisions per second of one core: over gaps from SQLite, against outcomes too; whole facts; the bare read.

    Time of the processor is taken, that of all threads, as other work on the machine takes none of it.
    """

    over_gaps: float
    against_outcome: float
    whole: float
    bare: float

    @property
    def ratio(self) -> float:
        """Judging over gaps as a share of judging whole facts."""
        return self.over_gaps / self.whole


async def gaps(path: Path, *, decisions: int) -> GapFigures:
    """Lay decisions down twice, with at most two gaps and with none, and judge each three times; the best counts."""
    holed = [_facts(number, gaps=number % 3) for number in range(decisions)]
    rates = {}
    for name, facts in (("holed", holed), ("whole", [_facts(number, gaps=0) for number in range(decisions)])):
        async with Loom.open(f"sqlite:///{path}/{name}.db", actors=[Judged], by="bench") as loom:
            await _lay_down(loom, facts)
            version = (await loom.policies.register(TABLE.with_params(limit=20), by="bench")).version
            await loom.rebuild()
            rates[name] = max([await _judge(loom, version, decisions, over=name == "holed") for _ in range(3)])
            if name == "holed":
                rates["against"] = max([await _against(loom, version, decisions) for _ in range(3)])
    began = time.process_time()
    for each in holed:
        TABLE.partial(each)
    bare = decisions / (time.process_time() - began)
    return GapFigures(rates["holed"], rates["against"], rates["whole"], bare)


def _facts(number: int, *, gaps: int) -> dict[str, JsonValue]:
    draw = random.Random(number)  # noqa: S311 - made-up facts
    facts: dict[str, JsonValue] = {
        "industry": draw.choice(_INDUSTRIES),
        "arr_usd": draw.randrange(1_000_000),
        "percent": draw.randrange(40),
    }
    for name in draw.sample(sorted(facts), gaps):
        del facts[name]
    return facts


async def _lay_down(loom: Loom, facts: list[dict[str, JsonValue]]) -> None:
    version = loom.policies.latest("bench-table")
    for begin in range(0, len(facts), 500):
        batch = []
        for number, each in enumerate(facts[begin : begin + 500], begin):
            said = TABLE.evaluate(each)
            reference = PolicyReference(name=version.name, version=version.version, hash=version.hash, rule=said.rule)
            decision = Decision(
                decision_id=f"{number:064x}",
                decision_type="policy_application",
                rationale=said.why,
                policy=reference,
                facts=each,
                evaluation=said,
                outcome={"granted": number % 2 == 0},
                context={"notes": "x" * 400},
            )
            batch.append(draft(DecisionJournalEntry(decision=decision), policy_hash=version.hash_bytes))
        await loom.store.append(Append(JOURNAL, begin, batch))


async def _judge(loom: Loom, under: str, decisions: int, *, over: bool) -> float:
    began = time.process_time()
    found = await loom.replay.judge(Selection(), under=under, gaps=over)
    elapsed = time.process_time() - began
    assert found.cases == decisions
    assert bool(found.filled) is over
    return decisions / elapsed


async def _against(loom: Loom, under: str, decisions: int) -> float:
    mapping = {"granted:true": "allow", "granted:false": "deny"}
    began = time.process_time()
    found = await loom.replay.judge(Selection(), under=under, against="outcome", mapping=mapping, gaps=True)
    elapsed = time.process_time() - began
    assert found.cases == decisions
    return decisions / elapsed


def nearest_s(*, cases: int) -> list[float]:
    """Return CPU seconds of nearest allowed cases: ten rules over six free facts of at most five classes."""
    draw = random.Random(1)  # noqa: S311 - the same tables every time
    names = [f"f{number}" for number in range(6)]
    rules = [
        {
            "name": f"r{number}",
            "effect": "allow" if number % 2 else "deny",
            "why": "so",
            "when": [[name, draw.choice(["<", ">="]), draw.choice([10, 20, 30, 40])] for name in draw.sample(names, 3)],
        }
        for number in range(10)
    ]
    table = Table.of(
        {
            "format": "loom.table/1",
            "name": "nearest",
            "facts": {name: {"type": "integer"} for name in names},
            "rules": rules,
            "otherwise": {"name": "else", "effect": "deny", "why": "no"},
        }
    )
    taken: list[float] = []
    while len(taken) < cases:
        case: dict[str, JsonValue] = {name: draw.randrange(60) for name in names}
        began = time.process_time()
        found = table.nearest(case, want="allow")
        elapsed = time.process_time() - began
        if found.state == "found":
            taken.append(elapsed)
    return taken


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        figures = asyncio.run(gaps(Path(directory), decisions=20_000))
        print(figures, f"ratio {figures.ratio:.2f}")
