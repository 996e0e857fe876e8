"""R44: notices of a loom that is killed at any moment: none is lost, and each subject's come in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom import Loom
from loom.notices.extension import NoticeSender
from loom.notices.notice import Notices
from tests.notices.receiver import Received, Receiver, configured, receiving
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.notifying import Asks

KILLS = int(os.environ.get("LOOM_NOTICE_KILLS", "30"))
LIVES = 20
"""How often one journal is killed before the next one is begun."""


@pytest.fixture(scope="module")
def forking() -> Iterator[Zygote]:
    with Zygote(module="tests.reliability.notifying") as zygote:
        yield zygote


@contextlib.contextmanager
def apart(refuses: float, seed: int) -> Iterator[Receiver]:
    """Yield a receiver that runs in a thread of its own, and refuses a share of what comes."""
    dice, began, ended = random.Random(seed), threading.Event(), asyncio.Event()
    held: list[Receiver] = []
    refused: dict[int, int] = {}

    def answers(got: Received) -> int:
        return refused.setdefault(id(got), 503 if dice.random() < refuses else 204)

    async def serve() -> None:
        async with receiving(answers) as receiver:
            held.append(receiver)
            held_loop.append(asyncio.get_running_loop())
            began.set()
            await ended.wait()

    held_loop: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert began.wait(10)
    try:
        yield held[0]
    finally:
        held_loop[0].call_soon_threadsafe(ended.set)
        thread.join(timeout=10)


async def expected(config: Path) -> tuple[dict[str, list[str]], int]:
    """Deliver what is left; return by subject the ids of all notices that the journal gives, in order.

    Turns that were cut short go on meanwhile and ask for more: what they write after that is not waited for.
    """
    async with Loom.open(config, actors=[Asks], by="robin") as loom:
        sender = loom.part(NoticeSender)
        until = loom.store.acknowledged
        await sender.settled(until, timeout_s=60)
        make = Notices(loom.workspace, more={})
        found: dict[str, list[str]] = {}
        first = None
        async for recorded in loom.store.read_all(until=until):
            if recorded.kind == "notices_reached" and first is None:
                first = recorded.plain["position"] if recorded.plain else 0
            if (notice := make.of(recorded)) is not None and first is not None:
                found.setdefault(notice.subject, []).append(notice.notice_id)
        return found, len(sender.register.dead)


def kill_all(tmp_path: Path, forking: Zygote, tally: Tally, *, kills: int, careless: bool) -> int:
    """Kill senders at moments of their own; return how many notices were lost, and check their order."""
    dice, lost, done = tally.dice, 0, 0
    while done < kills:
        directory = tmp_path / f"{done}-{careless}"
        directory.mkdir()
        with apart(refuses=0.1, seed=done) as receiver:
            config = configured(directory, receiver.url, attempts=100, watch_every_s=3_600)
            for _ in range(min(LIVES, kills - done)):
                done += 1
                with forking.fork("send_until_killed", config=str(config), keys=3, careless=careless) as child:
                    assert child.line().strip() == "open"
                    for _ in range(dice.randrange(0, 4)):
                        child.line()
                    threading.Event().wait(dice.random() * 0.02)
                    code = child.kill()
                    tally.check(code == -signal.SIGKILL, f"the sender ended by itself [{code}]")
                    list(child.rest())
                if not careless:
                    tally.tried()
            wanted, dead = asyncio.run(expected(config))
            taken: dict[str, list[str]] = {}
            for each in receiver.taken:
                taken.setdefault(each.event["subject"], []).append(each.id)
            missing = {subject for subject, ids in wanted.items() if set(ids) - set(taken.get(subject, ()))}
            lost += len(missing) + dead
            if not careless:
                tally.check(not missing, f"lost {sorted(missing)[:3]} of {len(wanted)}")
                out_of_order = [subject for subject, ids in wanted.items() if taken.get(subject, [])[: len(ids)] != ids]
                tally.check(not out_of_order, f"out of order {out_of_order[:3]}")
                tally.check(len(wanted) > 0, "nothing was to be notified")
    return lost


@pytest.mark.seconds(60)
@pytest.mark.timeout(3_600)
@row("R44")
def test_a_sender_that_is_killed_at_any_moment_loses_no_notice(tmp_path: Path, tally: Tally, forking: Zygote) -> None:
    tally.check(kill_all(tmp_path, forking, tally, kills=KILLS, careless=False) == 0, "notices were lost")


@pytest.mark.seconds(20)
@pytest.mark.timeout(600)
@row("R44")
def test_a_sender_that_moves_on_before_it_sends_loses_some(tmp_path: Path, tally: Tally, forking: Zygote) -> None:
    lost = kill_all(tmp_path, forking, tally, kills=10, careless=True)
    tally.control(trials=1, found=lost > 0)
