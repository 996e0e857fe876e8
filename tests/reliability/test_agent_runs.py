"""R43: agents of pydantic-ai that are killed at random, with the capability and, as the control, without."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from tests.reliability.agent_runs import CAP_CALLS, TURNS
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.journals import check_verified, rows_of

KILLS = 200
LIVES = 10
"""How often one journal is killed before the next one is begun."""
CONTROLS = 5


@pytest.fixture(scope="module")
def desks() -> Iterator[Zygote]:
    with Zygote(module="tests.reliability.agent_runs") as forking:
        yield forking


class Desk:
    """One journal, and the world outside of it."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.data, self.outside, self.durable = directory / "data", directory / "outside", durable
        self.journal = self.data / "default" / "journal.db"
        directory.mkdir()
        self.kept: set[tuple[str, int]] = set()
        """The requests of models whose entries were durable when a process had died."""
        self.repeated: list[tuple[str, int]] = []
        self._seen = 0

    def live(self, desks: Zygote, *, dies_after: int = 0, alarm_ms: float = 0.0) -> bool:
        """Have a process run, and note what it repeated; return whether it was killed."""
        given = {"path": str(self.data), "outside": str(self.outside), "durable": self.durable}
        with desks.fork("run_until_killed", **given, dies_after=dies_after, alarm_ms=alarm_ms) as child:
            child.output.read()
            code = child.wait()
        assert code in (0, -9, -14), f"the process ended with {code}"
        lines = self.lines()
        self.repeated += [call for call in _calls(lines[self._seen :]) if call in self.kept]
        self._seen = len(lines)
        self.kept = self._on_record()
        return code < 0

    def lines(self) -> list[list[str]]:
        text = self.outside.read_text(encoding="utf-8") if self.outside.exists() else ""
        return [line.split() for line in text.splitlines()]

    def _on_record(self) -> set[tuple[str, int]]:
        if not self.journal.exists():
            return set()
        asked = Counter[str]()
        for each in rows_of(self.journal):
            if each.kind == "model_called" and json.loads(each.body)["failure"] is None:
                asked[str(each.command_id).removeprefix("m-")] += 1
        return {(number, said) for number, times in asked.items() for said in range(times)}

    def check(self, tally: Tally) -> None:
        """Look at the end whether everything that was approved was done, once, and nothing was repeated."""
        check_verified(tally, self.journal, self.journal.parent.parent.parent.name)
        tally.check(not self.repeated, f"requests of models made again: {self.repeated[:5]}")
        paid, sent = Counter[str](), Counter[str]()
        keys: dict[str, set[str]] = {}
        for kind, number, *rest in self.lines():
            if kind == "refund":
                keys.setdefault(number, set()).add(rest[0])
            sent[number] += kind == "ship"
            paid[number] += kind == "refund"
        granted = {
            str(each.command_id).removeprefix("m-")
            for each in rows_of(self.journal)
            if each.kind == "approval_answered" and json.loads(each.body)["granted"]
        }
        tally.check(granted == keys.keys(), f"approved {granted ^ keys.keys()} and not paid, or the other way round")
        tally.check(all(len(each) == 1 for each in keys.values()), f"a payment has two keys: {keys}")
        tally.check(not any(times > 1 for times in sent.values()), f"sent twice: {sent.most_common(3)}")
        days = Counter(line[3] for line in self.lines() if line[0] == "model")
        tally.check(all(calls <= CAP_CALLS for calls in days.values()), f"the budget was exceeded: {days}")
        ended = {each.command_id for each in rows_of(self.journal) if each.kind in _ENDS}
        tally.check(len(ended) == TURNS, f"{TURNS - len(ended)} turns have no end")
        tally.heard["paid"] += len(keys)
        tally.heard["paid again under the same key"] += sum(paid.values()) - len(keys)
        tally.heard["over the budget, refused"] += sum(each.kind == "turn_failed" for each in rows_of(self.journal))


_ENDS = ("turn_completed", "turn_failed", "turn_abandoned")


def _calls(lines: list[list[str]]) -> list[tuple[str, int]]:
    return [(line[1], int(line[2])) for line in lines if line[0] == "model"]


def killed_again_and_again(desk: Desk, desks: Zygote, draw: random.Random) -> int:
    """Kill processes after a line of the world outside, or at any moment, and let a last one come to its end."""
    killed = 0
    for life in range(LIVES):
        if life % 2:
            killed += desk.live(desks, alarm_ms=draw.uniform(60, 600))
        else:
            killed += desk.live(desks, dies_after=draw.randint(1, 12))
    desk.live(desks)
    return killed


@pytest.mark.timeout(1_500)
@pytest.mark.seconds(240)
@row("R43")
def test_agents_that_are_killed_repeat_no_request_on_record_and_miss_nothing_that_was_approved(
    tmp_path: Path, tally: Tally, desks: Zygote
) -> None:
    killed, number = 0, 0
    while killed < KILLS:
        desk = Desk(tmp_path / str(number), durable=True)
        killed += killed_again_and_again(desk, desks, tally.dice)
        desk.check(tally)
        number += 1
    tally.tried(killed)
    found = 0
    for each in range(CONTROLS):
        bare = Desk(tmp_path / f"bare-{each}", durable=False)
        killed_again_and_again(bare, desks, tally.dice)
        calls = Counter(_calls(bare.lines()))
        found += any(times > 1 for times in calls.values())
    tally.control(trials=CONTROLS, found=found)
    tally.note(f"{killed} processes killed in {number} journals")
