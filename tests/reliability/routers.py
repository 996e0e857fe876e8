"""What the children of the zygote do with a router: choose at once, and say what each caller was told, until killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

from loom.routing import Router
from tests.routing.support import CANDIDATES, REQUEST, routing

CALLERS = 100


def choose_until_killed(path: str, first: int, dies_after: int, kill_after: int, seed: int) -> None:
    """A hundred callers choose at once; the switch is thrown amid them, and the process dies somewhere."""
    asyncio.run(_choose(Path(path), first, dies_after, kill_after, random.Random(seed)))


async def _choose(path: Path, first: int, dies_after: int, kill_after: int, draw: random.Random) -> None:
    told = 0
    killed_returned = False
    async with routing(path, "active") as loom:
        router = Router.of(loom)
        if router.switch.engaged:
            await router.rearm(by="mira", reason="another round")

        async def caller(number: int) -> None:
            nonlocal told
            for _ in range(draw.randint(0, 20)):
                await asyncio.sleep(0)
            under_kill = killed_returned
            choice = await router.choose(REQUEST, CANDIDATES, request_id=f"r-{first + number}")
            line = json.dumps([choice.request_id, choice.agent, choice.selected, under_kill])
            os.write(1, f"{line}\n".encode())  # the caller has it now, whatever becomes of us
            told += 1
            if told == dies_after:
                os.kill(os.getpid(), signal.SIGKILL)

        async def killer() -> None:
            nonlocal killed_returned
            while told < kill_after:
                await asyncio.sleep(0)
            await router.kill(by="mira", reason="amid a hundred")
            killed_returned = True

        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(caller(number))
            if kill_after:
                group.create_task(killer())
            group.create_task(late(router, lambda: killed_returned or not kill_after, first))


async def late(router: Router, after_kill: Callable[[], bool], first: int) -> None:
    """Ask once more as soon as the switch was thrown: as many again, which all start after that returned."""
    while not after_kill():
        await asyncio.sleep(0)
    choices = await asyncio.gather(
        *(router.choose(REQUEST, CANDIDATES, request_id=f"late-{first + number}") for number in range(CALLERS))
    )
    killed = router.switch.engaged
    for choice in choices:
        os.write(1, f"{json.dumps([choice.request_id, choice.agent, choice.selected, killed])}\n".encode())
