"""What it would save to refer to facts and evaluation too, and what it would cost to judge from two bodies.

A decision keeps both inline: it is judged, searched and confirmed by its one body. Here the same turns are laid down
twice, with facts and evaluation in the decision and without, and read back as judging reads: bodies held against their
digests, facts and evaluation taken out.

    python -m benchmarks.joins
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.decisions import Decision, DecisionJournalEntry, EvaluatedEntry
from loom.decisions.decision import PolicyReference, References
from loom.journal import Append, Recorded, draft
from loom.journal.chain import body_digest
from loom.journal.entry import StepReference
from loom.journal.sqlite import SqliteStore
from loom.policies.evaluation import Evaluation, RuleMiss

__all__ = ["JoinFigures", "joins"]

_JOURNAL = "bench-agent/one"
_PAGE = 500
_EVALUATION = Evaluation(
    effect="allow",
    rule="within-limit",
    why="5 % is within 10 %",
    why_not=(RuleMiss(rule="over-limit", why="[within-limit] holds and comes first"),),
)
_POLICY = PolicyReference(name="bench", version="policy_v1_07a808de", hash="07a808de" * 8, rule="within-limit")


class JoinFigures(NamedTuple):
    """Bytes of a decision's body, and microseconds to read what it is judged by, from one body and from two."""

    inline_bytes: float
    referring_bytes: float
    inline_us: float
    referring_us: float


async def joins(directory: Path, *, decisions: int, rounds: int = 5) -> JoinFigures:
    """Lay the same turns down in both forms, and read them back in turn; medians count."""
    inline, referring = [await _lay_down(directory / name, decisions, inline=name == "inline") for name in _FORMS]
    positions = list(range(2, 2 * decisions + 1, 2))
    took: dict[str, list[float]] = {"inline": [], "referring": []}
    for _ in range(rounds):
        took["inline"].append(await _timed(lambda: _read_inline(inline, positions)))
        took["referring"].append(await _timed(lambda: _read_joined(referring, positions)))
    sizes = [statistics.mean([len(each.body or b"") for each in await _some(store)]) for store in (inline, referring)]
    for store in (inline, referring):
        await store.close()
    one, two = (statistics.median(took[name]) / decisions * 1e6 for name in _FORMS)
    return JoinFigures(sizes[0], sizes[1], one, two)


_FORMS = ("inline", "referring")


async def _lay_down(directory: Path, decisions: int, *, inline: bool) -> SqliteStore:
    directory.mkdir()
    store = await SqliteStore.open(directory / "journal.db")
    sequence = 0
    while sequence < 2 * decisions:
        drafts = []
        for number in range(sequence, min(sequence + 1_000, 2 * decisions), 2):
            facts: dict[str, JsonValue] = {"industry": "healthcare", "arr_usd": 500_000, "percent": number % 10}
            evaluated = draft(EvaluatedEntry(facts=facts, evaluation=_EVALUATION))
            said: dict[str, Any] = {"facts": facts, "evaluation": _EVALUATION}
            if not inline:
                said = {"refers": References(inputs=(StepReference(number + 1, evaluated.body_digest.hex()),))}
            decision = Decision(
                decision_id=f"{number:064x}",
                decision_type="policy_application",
                rationale="5 % is within 10 %",
                policy=_POLICY,
                outcome={"granted": True},
                context={"actor_type": "bench-agent", "actor_key": "one"},
                **said,
            )
            drafts += [evaluated, draft(DecisionJournalEntry(decision=decision))]
        await store.append(Append(_JOURNAL, sequence, drafts))
        sequence += len(drafts)
    return store


async def _some(store: SqliteStore) -> Sequence[Recorded]:
    return [each async for each in store.read_all(until=1_000) if each.kind == DecisionJournalEntry.kind]


async def _timed(work: Callable[[], Coroutine[Any, Any, int]]) -> float:
    began = time.process_time()
    assert await work() > 0
    return time.process_time() - began


async def _read_inline(store: SqliteStore, positions: Sequence[int]) -> int:
    seen = 0
    for first in range(0, len(positions), _PAGE):
        for recorded in (await store.at(positions[first : first + _PAGE])).values():
            said = _sound(recorded)["decision"]
            seen += said["evaluation"]["effect"] == "allow" and said["facts"]["percent"] >= 0
    return seen


async def _read_joined(store: SqliteStore, positions: Sequence[int]) -> int:
    seen = 0
    for first in range(0, len(positions), _PAGE):
        page = await store.at(positions[first : first + _PAGE])
        found = [(each, _sound(each)["decision"]) for each in page.values()]
        places = [(each.journal, said["refers"]["inputs"][0]) for each, said in found]
        steps = await store.steps({(journal, sequence) for journal, (sequence, _) in places})
        for journal, (sequence, digest) in places:
            step = steps[journal, sequence]
            assert step.body_digest.hex() == digest
            said = _sound(step)
            seen += said["evaluation"]["effect"] == "allow" and said["facts"]["percent"] >= 0
    return seen


def _sound(recorded: Recorded) -> Any:
    assert recorded.salt is not None
    assert recorded.body is not None
    assert body_digest(recorded.salt, recorded.body) == recorded.body_digest
    return json.loads(recorded.body)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as scratch:
        print(asyncio.run(joins(Path(scratch), decisions=20_000)))
