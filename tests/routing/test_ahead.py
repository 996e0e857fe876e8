"""Signals are read before the turn: then request, look-up and decision are one append."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from loom.routing import AgentSignals, Candidate, Mode, Router
from tests.actors.test_appends import appends_of
from tests.routing.support import CANDIDATES, REQUEST, Given, history_for_b, routing

TURN = ["command_received", "context_gathered", "evaluated", "decision", "turn_completed"]


async def test_request_and_decision_are_one_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.choose(REQUEST, CANDIDATES, request_id="before")
        appends = appends_of(loom, monkeypatch)
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert choice.agent == "agent-b"
        assert appends == [TURN]


SIGNALS = {
    agent: AgentSignals(samples=100, values={"success_rate": rate, "latency_p50": 100})
    for agent, rate in (("agent-a", 0.2), ("agent-b", 0.9))
}
MODES: tuple[tuple[Mode, int], ...] = (("disabled", 0), ("active", 3), ("disabled", 0))


async def test_signals_are_read_once_for_a_choice_and_not_at_all_where_nothing_may_change_it(tmp_path: Path) -> None:
    source = Given(SIGNALS)
    async with routing(tmp_path, "disabled") as loom:
        router = Router.of(loom)
        router.source.read = source.read  # type: ignore[method-assign]
        for at, (mode, reads) in enumerate(MODES):
            await router.set_mode(mode, by="mira")
            source.asked = 0
            agents = [(await router.choose(REQUEST, CANDIDATES, request_id=f"{at}-{each}")).agent for each in range(3)]
            assert (source.asked, set(agents)) == (reads, {"agent-b" if reads else "agent-a"})
        await router.set_mode("active", by="mira")
        await router.choose(REQUEST, CANDIDATES, request_id="r")
        await router.kill(by="mira", reason="test")
        source.asked = 0
        await router.choose(REQUEST, CANDIDATES, request_id="s")
        assert source.asked == 0


async def test_what_fails_ahead_of_the_turn_is_journaled_by_the_turn(tmp_path: Path) -> None:
    source = Given(SIGNALS)
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        router.source.read = source.read  # type: ignore[method-assign]
        await router.choose(REQUEST, CANDIDATES, request_id="before")
        source.values = OSError("unreachable")
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (choice.agent, choice.note) == ("agent-a", "signals failed: OSError")
        turn = [each async for each in loom.store.read("router/care") if each.command_id == "r-1"]
        assert [each.kind for each in turn] == ["command_received", "context_gathered", "turn_completed"]
        assert "unreachable" in str(turn[1].entry)


async def test_a_source_that_hangs_gives_the_baseline_within_the_time_of_the_caller(tmp_path: Path) -> None:
    source = Given(SIGNALS)
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        router.source.read = source.read  # type: ignore[method-assign]
        await router.choose(REQUEST, CANDIDATES, request_id="before")

        async def hangs(_: Sequence[Candidate]) -> Mapping[str, AgentSignals]:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        router.source.read = hangs  # type: ignore[method-assign,assignment]
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1", timeout_s=0.05)
        assert (choice.agent, choice.selected) == ("agent-a", "baseline_selected")
        await router.settled()
