"""Processes that are killed while requests are sent back, informed and granted: no act is lost, none is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loom import Loom
from tests.actors.kill_worker import note
from tests.actors.sent_back_worker import TURNS, Ask, Asking, answer_all
from tests.actors.test_kill import lines

_KILLS = 3
_ROOT = Path(__file__).parents[2]


def kill_again_and_again(directory: Path) -> None:
    chance = random.Random(7)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    for _ in range(_KILLS):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.actors.sent_back_worker", str(directory)],
            cwd=_ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "open"
            until_act = len(lines(directory, "acts")) + chance.randint(1, 5)
            while len(lines(directory, "acts")) < until_act and process.poll() is None:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.02))  # the moment of the kill is what is random here
            process.send_signal(signal.SIGKILL)


@pytest.mark.slow
async def test_killed_processes_lose_no_act_on_a_request_and_do_none_twice(tmp_path: Path) -> None:
    note(str(tmp_path), "acts", "none none")
    await asyncio.to_thread(kill_again_and_again, tmp_path)
    acts = {(line.split()[1], line.split()[0]) for line in lines(tmp_path, "acts")[1:]}
    assert len({act for _, act in acts}) > 1, "the workers did too little for the test to say anything"
    async with Loom.open(f"sqlite:////{tmp_path}/journal.db", actors=[Asking], by="worker") as loom:
        before = {
            (each.approval_id, event.event) for each in await loom.approvals.list(limit=TURNS) for event in each.events
        }
        assert acts <= before, "an act that was reported is not in the journal"
        await answer_all(loom)
        for number in range(TURNS):
            reply = await loom.actor(Asking, f"{number % 4}").ask(Ask(number=number), id=f"ask-{number}", by="ada")
            assert reply == f"{number} fine"
        for each in await loom.approvals.list(limit=TURNS):
            assert [event.event for event in each.events] == ["requested", "sent_back", "informed", "granted"]
