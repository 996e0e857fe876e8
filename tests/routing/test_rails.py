"""Whatever is asked, set, killed, re-armed, restarted or cut off, in whatever order: every rail holds."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Loom
from loom.routing import Choice, Mode, Router
from tests.routing.support import CANDIDATES, REQUEST, candidate, decisions, history_for_b, routing

# History speaks for agent-b; where it is not among the candidates, or is not there, there is nothing to switch to.
WITHOUT_B = (candidate("agent-a"), candidate("agent-b", availability="unavailable"))
CASES = {"diverges": CANDIDATES, "agrees": WITHOUT_B, "nobody": ()}

steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 7), st.sampled_from(sorted(CASES))),
        st.tuples(st.just("ask at once"), st.integers(0, 7), st.integers(2, 6)),
        st.tuples(st.just("mode"), st.sampled_from(["disabled", "shadow", "active", "stable"])),
        st.tuples(st.just("kill")),
        st.tuples(st.just("rearm")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("crash"), st.integers(1, 4)),
        st.tuples(st.just("replay")),
    ),
    max_size=14,
)


class World:
    """The router, and a model of it that is much simpler: what was answered is answered, and the rails."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.life = 0
        self.mode: Mode = "disabled"
        self.killed = False
        self.answers: dict[str, tuple[str, Choice]] = {}
        self.unknown: set[str] = set()
        """Requests whose caller was cut off: their first answer is whatever comes when somebody asks again."""
        self.stack = AsyncExitStack()
        self.loom: Loom

    @property
    def path(self) -> Path:
        return self.root / f"life-{self.life}"

    @property
    def router(self) -> Router:
        return Router.of(self.loom)

    async def begin(self) -> None:
        self.loom = await self.stack.enter_async_context(routing(self.path, "disabled"))

    async def ask(self, number: int, case: str) -> None:
        request_id = f"r-{number}"
        earlier = self.answers.get(request_id)
        case = case if earlier is None else earlier[0]
        if request_id in self.unknown:
            case = "diverges"
        choice = await self.router.choose(REQUEST, CASES[case], request_id=request_id)
        if earlier is not None:
            assert choice == earlier[1], "the same request has the same answer for ever"
            return
        if request_id not in self.unknown:
            optimizes = self.mode in ("active", "stable") and not self.killed and case == "diverges"
            assert choice.agent == {"diverges": "agent-b" if optimizes else "agent-a"}.get(
                case, None if case == "nobody" else "agent-a"
            )
            assert (choice.selected == "optimized_selected") == optimizes
        self.unknown.discard(request_id)
        self.answers[request_id] = (case, choice)

    async def restart(self) -> None:
        await self.router.settled()
        await self.stack.aclose()
        self.stack = AsyncExitStack()
        await self.begin()

    async def crash(self, many: int) -> None:
        """Go on with the files as they are while requests are under way, as after a process that was killed."""
        fresh = [f"r-{number}" for number in range(8, 20) if f"r-{number}" not in self.answers][:many]
        under_way = [
            asyncio.create_task(self.router.choose(REQUEST, CANDIDATES, request_id=request_id)) for request_id in fresh
        ]
        for _ in range(many * 3):
            await asyncio.sleep(0)
        left = self.root / f"life-{self.life + 1}"
        shutil.copytree(self.path, left, ignore=shutil.ignore_patterns("*.lock", "*.sock", "views*"))
        await asyncio.gather(*under_way)
        await self.stack.aclose()
        self.stack, self.life = AsyncExitStack(), self.life + 1
        self.unknown.update(fresh)
        await self.begin()

    async def replay(self) -> None:
        for request_id in self.answers:
            replayed = await self.router.replay(request_id)
            assert not replayed.differences
        assert self.router.switch.engaged == self.killed

    async def check(self) -> None:
        await self.router.settled()
        assert (await self.router.status()).killed == self.killed, "nothing of this meets a stop condition"
        found = Counter(str(each.context["request_id"]) for each in await decisions(self.loom))
        assert not found or max(found.values()) == 1, "one decision for one request"
        optimized = {r for r, (_, choice) in self.answers.items() if choice.selected == "optimized_selected"}
        assert optimized <= found.keys(), "no optimisation is silent"
        assert found.keys() - optimized <= self.unknown, "no decision that nobody was told of"

    async def take(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("ask", number, case):
                await self.ask(number, case)
            case ("ask at once", number, many):
                await asyncio.gather(*(self.ask(number, "diverges") for _ in range(many)))
            case ("mode", mode):
                await self.router.set_mode(mode, by="mira")
                self.mode = mode
            case ("kill",):
                await self.router.kill(by="mira", reason="a rule of the test")
                self.killed = True
            case ("rearm",):
                await self.router.rearm(by="mira", reason="a rule of the test")
                self.killed = False
            case ("restart",):
                await self.restart()
            case ("crash", many):
                await self.crash(many)
            case ("replay",):
                await self.replay()


async def lived(path: Path, taken: list[tuple[Any, ...]]) -> None:
    world = World(path)
    await world.begin()
    try:
        await history_for_b(world.loom)
        for step in taken:
            await world.take(step)
            await world.check()
    finally:
        await world.stack.aclose()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_any_sequence_keeps_every_rail(taken: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(lived(Path(folder), taken))
