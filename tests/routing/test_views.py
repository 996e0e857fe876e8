"""The views of routing are a cache: signals are those of the executions in the journal, whoever edits the views."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.routing import Router, SelfRearmError
from loom.routing.actor import ROUTER_KEY
from tests.projections.tampering import tamper
from tests.routing.support import CANDIDATES, REQUEST, executions, history_for_b, observe, routing


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE care_executions SET succeeded = 1, latency_ms = 1.0",
        "UPDATE care_signals SET signals = replace(signals, '340', '1'), samples = 1000",
        "INSERT INTO care_executions SELECT 'agent-a', position + 1000000, 1, 1.0, 1, 0, NULL FROM care_executions",
        "INSERT INTO care_executions SELECT 'agent-a', position, 1, 1.0, 1, 0, NULL FROM care_executions "
        "WHERE agent = 'agent-b'",
    ],
)
async def test_signals_that_the_views_invent_are_not_seen(tmp_path: Path, statement: str) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        before = await Router.of(loom).signals.read(CANDIDATES)
        [views] = (tmp_path / "default").glob("*views*.db")
        assert tamper(views, statement) > 0

        assert await Router.of(loom).signals.read(CANDIDATES) == before


async def test_what_the_views_hide_is_missing_and_nothing_else_changes(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        [views] = (tmp_path / "default").glob("*views*.db")
        tamper(views, "DELETE FROM care_executions WHERE agent = 'agent-b'")

        read = await Router.of(loom).signals.read(CANDIDATES)

        assert (read["agent-a"].samples, read["agent-b"].samples) == (50, 0)


async def test_signals_follow_new_executions_at_once(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        first = await Router.of(loom).signals.read(CANDIDATES)
        await observe(loom, *executions("agent-a", count=60, latency_ms=80))

        second = await Router.of(loom).signals.read(CANDIDATES)

        assert (first["agent-a"].samples, second["agent-a"].samples) == (50, 100)
        assert second["agent-a"].values["latency_p50"] == 80
        assert second["agent-b"] == first["agent-b"]


async def test_an_agent_that_the_views_hide_may_not_rearm_either(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.choose(REQUEST, CANDIDATES, request_id="one")
        await router.kill(by="mira", reason="a look into it")
        [views] = (tmp_path / "default").glob("*views*.db")
        tamper(views, "DELETE FROM care_signals")

        for name in ("agent-b", ROUTER_KEY):
            with pytest.raises(SelfRearmError):
                await router.rearm(by=name, reason="all is well")
        assert router.switch.engaged
