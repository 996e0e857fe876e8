"""Real processes, killed at random moments of their turns: no reply that was given is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from loom.actors.entries import EffectPerformedEntry
from loom.decisions.entries import ContextGatheredEntry
from loom.journal import Recorded
from loom.runtime import Loom
from tests.actors.kill_worker import ACTORS, Granting, Work, Worker

_KILLS = 8
_SEED = 20_260_101
_ROOT = Path(__file__).parents[2]


def start(directory: Path, first: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.actors.kill_worker", str(directory), str(first)],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "open"
    return process


def lines(directory: Path, file: str) -> list[str]:
    path = directory / file
    return path.read_text().splitlines() if path.exists() else []


def kill_again_and_again(directory: Path) -> None:
    chance = random.Random(_SEED)
    for _ in range(_KILLS):
        replies = [int(line.split()[0]) for line in lines(directory, "replies")]
        process = start(directory, max(replies, default=0))
        until = len(lines(directory, "effects")) + chance.randint(0, 20)
        while len(lines(directory, "effects")) < until and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.02))  # the moment of the kill is what is random here
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def results(recorded: list[Recorded]) -> set[str]:
    """Return the effects whose results are in the journal."""
    found = set()
    for each in recorded:
        if isinstance(each.entry, ContextGatheredEntry):
            found.add(f"look {str(each.command_id).removeprefix('work-')} {each.entry.query}")
        elif isinstance(each.entry, EffectPerformedEntry):
            found.add(f"do {each.entry.key}")
    return found


@pytest.mark.slow
async def test_processes_that_are_killed_lose_no_reply_and_do_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORK_DIRECTORY", str(tmp_path))
    await asyncio.to_thread(kill_again_and_again, tmp_path)
    replies = dict(line.split(" ", 1) for line in lines(tmp_path, "replies"))
    before = Counter(lines(tmp_path, "effects"))
    granting = Granting()
    loom = Loom.open(f"sqlite:////{tmp_path}/journal.db", actors=[Worker], by="worker", approver=granting, resume=False)
    async with loom:
        survived = results([each async for each in loom.store.read_all()])
        received = [each async for each in loom.store.read_all() if each.kind == "command_received"]
        for request in await loom.approvals.pending(limit=1_000):
            await loom.approvals.grant(request.approval_id, by="alice")
    assert len(received) > 20, "the workers did too little for the test to say anything"
    granting = Granting()
    loom = Loom.open(f"sqlite:////{tmp_path}/journal.db", actors=[Worker], by="worker", approver=granting)
    granting.loom = loom
    async with loom:
        async with asyncio.timeout(60):
            for each in received:
                number = int(str(each.command_id).removeprefix("work-"))
                reply = await loom.actor(Worker, f"{number % ACTORS}").ask(Work(number=number), id=f"work-{number}")
                assert reply == f"{number} ['a', 'b']"
                assert replies.get(str(number), reply) == reply
        recorded = [each async for each in loom.store.read_all()]
    ends = Counter(each.command_id for each in recorded if each.kind == "turn_completed")
    assert ends == Counter(each.command_id for each in received)  # each command once, and each to its end
    assert {f"work-{number}" for number in replies} <= set(ends)
    again = Counter(lines(tmp_path, "effects")) - before
    assert not survived & set(again), "what was in the journal was done again"
    steps = Counter((each.journal, each.command_id, each.kind, each.entry.step) for each in recorded if each.entry.step)
    assert set(steps.values()) == {1}
