"""R37: the kill switch under a hundred callers, processes killed amid choices, shadow, and forbidden signals."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom.routing import ALLOWED_SIGNALS, FORBIDDEN_SIGNALS, ForbiddenSignalError, Router
from tests.reliability.board import SEED, Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.journals import check_verified
from tests.reliability.routers import CALLERS
from tests.routing.support import CANDIDATES, REQUEST, decisions, history_for_b, routing

LIVES = 12
NAMES = 2_000


@pytest.fixture(scope="session")
def routers() -> Iterator[Zygote]:
    with Zygote(module="tests.reliability.routers") as forking:
        yield forking


async def _begin(path: Path) -> None:
    async with routing(path, "active") as loom:
        await history_for_b(loom)


async def _read(path: Path) -> tuple[dict[str, str], dict[str, str | None]]:
    """Return the decisions by request, and what every request is answered with when it is asked again."""
    async with routing(path, "active") as loom:
        router = Router.of(loom)
        found = Counter(str(each.context["request_id"]) for each in await decisions(loom))
        assert not found or max(found.values()) == 1, "one decision for one request"
        by_request = {str(each.context["request_id"]): str(each.outcome["agent"]) for each in await decisions(loom)}
        turns = await loom.turns.list(journal="router/care", limit=100_000)
        asked = [each.summary.command_id for each in turns if each.summary.command_type == "Route"]
        again = {each: (await router.choose(REQUEST, CANDIDATES, request_id=each)).agent for each in asked}
        return by_request, again


@pytest.mark.seconds(40)
@row("R37")
def test_a_kill_holds_for_every_turn_that_starts_after_it_and_no_choice_is_silent(
    tmp_path: Path, tally: Tally, routers: Zygote
) -> None:
    draw = random.Random(SEED)
    asyncio.run(_begin(tmp_path))
    told: dict[str, tuple[str, str]] = {}
    killed = 0
    for life in range(LIVES):
        dies_after = draw.randint(1, CALLERS - 1) if life % 2 else 0
        given = {"path": str(tmp_path), "first": life * CALLERS, "dies_after": dies_after}
        with routers.fork(
            "choose_until_killed", **given, kill_after=draw.randint(1, 60), seed=draw.randint(0, 2**31)
        ) as child:
            lines = [json.loads(line) for line in child.output.read().splitlines()]
            killed += child.wait() == -signal.SIGKILL
        for request_id, agent, selected, under_kill in lines:
            told[request_id] = (agent, selected)
            tally.tried()
            tally.check(not under_kill or selected == "baseline_selected", f"{request_id} after the kill: {selected}")
    by_request, again = asyncio.run(_read(tmp_path))
    for request_id, (agent, selected) in told.items():
        tally.tried()
        decided = by_request.get(request_id)
        tally.check((selected == "optimized_selected") == (decided is not None), f"{request_id}: {selected}, {decided}")
        tally.check(again[request_id] == agent, f"{request_id} was {agent}, is {again[request_id]}")
    check_verified(tally, tmp_path / "default" / "journal.db", "routers that were killed")
    tally.note(f"{len(told):,} callers answered, {killed} of {LIVES} processes killed amid them")
    assert killed >= LIVES // 3
    assert {selected for _, selected in told.values()} == {"baseline_selected", "optimized_selected"}


@row("R37")
async def test_shadow_leaves_no_decision_whatever_comes(tmp_path: Path, tally: Tally) -> None:
    async with routing(tmp_path, "shadow") as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        asked = [router.choose(REQUEST, CANDIDATES, request_id=f"r-{number}") for number in range(300)]
        for choice in await asyncio.gather(*asked):
            tally.tried()
            tally.check(choice.agent == "agent-a", choice)
        await router.settled()
        kinds = Counter([each.kind async for each in loom.store.read("router/care")])
        assert kinds["decision"] == 0
        assert sum(router.shadow.counts.values()) == 300


@row("R37")
async def test_every_name_but_the_seven_raises(tmp_path: Path, tally: Tally) -> None:
    draw = random.Random(SEED)
    made = {"".join(draw.choices("abcdefghijklmnopqrstuvwxyz_", k=draw.randint(1, 24))) for _ in range(NAMES)}
    made |= {f"{name}{end}" for name in ALLOWED_SIGNALS for end in (" ", "\n", "_", "0")}
    made |= {name.upper() for name in ALLOWED_SIGNALS} | {"", *FORBIDDEN_SIGNALS}
    async with routing(tmp_path, "disabled") as loom:
        reader = Router.of(loom).signals
        for name in sorted(made - ALLOWED_SIGNALS.keys()):
            tally.tried()
            try:
                await reader.read([], [name])
            except ForbiddenSignalError:
                continue
            tally.fail(name)
