"""The rollout of routing: one story for each line of its matrix, and one for each of its invariants."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Decision, DecisionJournalEntry, Loom
from loom.enrichment import DecisionTracesConfig, ScriptedCritic
from loom.routing import (
    ALLOWED_SIGNALS,
    FORBIDDEN_SIGNALS,
    AgentSignals,
    ExecutionEntry,
    ForbiddenSignalError,
    Router,
    SignalReader,
)
from tests.enrichment.agents import opinion
from tests.routing.support import (
    CANDIDATES,
    REQUEST,
    Given,
    config,
    decisions,
    executions,
    history_for_b,
    observe,
    router_of,
    routing,
)


async def test_g5d_01_disabled_uses_the_baseline_and_decides_nothing(tmp_path: Path) -> None:
    async with routing(tmp_path, "disabled") as loom:
        await history_for_b(loom)
        choice = await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (choice.agent, choice.selected, choice.mode) == ("agent-a", "baseline_selected", "disabled")
        entries = [each async for each in loom.store.read("router/care") if each.command_id == "r-1"]
        assert [each.kind for each in entries] == ["command_received", "turn_completed"], "nothing was looked at"
        assert await decisions(loom) == []


async def test_g5d_02_the_same_choice_is_silent(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await observe(
            loom,
            *executions("agent-a", count=30, latency_ms=100),
            *executions("agent-b", count=30, latency_ms=900, failed=10),
        )
        choice = await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (choice.agent, choice.selected) == ("agent-a", "baseline_selected")
        assert choice.note == "history speaks for agent-a, too"
        assert await decisions(loom) == []


async def test_g5d_03_a_different_choice_is_used_and_decided(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        choice = await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (choice.agent, choice.selected) == ("agent-b", "optimized_selected")
        [decision] = await decisions(loom)
        assert decision.decision_id == choice.decision_id
        assert decision.decision_type == "care_routing_optimized"
        assert decision.outcome == {"selected": "optimized_selected", "agent": "agent-b"}
        context: Any = decision.context
        assert (context["decision_source"], context["decision_trigger"]) == ("system", "autonomous")
        assert (context["causal_role"], context["request_id"], decision.run_id) == ("pre_run", "r-1", None)
        assert (context["baseline_agent"], context["optimized_agent"]) == ("agent-a", "agent-b")
        assert context["confidence_score"] == choice.confidence == decision.confidence
        assert context["signals"]["success_rate"] == {"baseline": 0.78, "optimized": 0.92}
        assert context["signals"]["latency_p50"] == {"baseline": 340.0, "optimized": 120.0}
        details = context["details"]
        assert details["optimized_score"] - details["baseline_score"] >= 0.15
        assert details["optimization_version"] == "v1.0"
        assert (details["decision_source"], details["trigger"]) == ("system", "autonomous")
        assert (details["outcome"], details["mode"]) == ("optimized_selected", "active")
        assert set(details["scores"]) == {"agent-a", "agent-b"}
        assert details["candidates"] == {"agent-a": 0.9, "agent-b": 0.9}


async def test_g5d_04_shadow_compares_and_uses_the_baseline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="loom.routing")
    async with routing(tmp_path, "shadow") as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        await router.settled()
        assert (choice.agent, choice.selected, choice.mode) == ("agent-a", "baseline_selected", "shadow")
        assert dict(router.shadow.counts) == {"diverged": 1}
        said: list[Any] = [each.msg for each in caplog.records if "care_shadow" in str(each.msg)]
        [told] = said
        assert told["baseline"] == "agent-a"
        assert told["optimized"] == "agent-b"
        assert told["request"] == "r-1"
        assert await decisions(loom) == []


async def test_g5d_05_the_kill_switch_reverts_at_once(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-b"
        await router.kill(by="mira", reason="it looks odd")
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-2")
        assert (choice.agent, choice.note) == ("agent-a", "the kill switch is engaged")
        assert len(await decisions(loom)) == 1
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        assert router.switch.engaged, "a restart does not re-arm it"
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-3")).agent == "agent-a"
        await router.rearm(by="jonas", reason="the cause was a stale cache")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-4")).agent == "agent-b"


async def test_g5d_06_a_replay_with_the_same_signals_gives_the_same(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        await observe(loom, *executions("agent-b", count=100, latency_ms=5_000, failed=90))  # later: not what was seen
        replayed = await router.replay("r-1")
        assert (replayed.agent, replayed.differences, replayed.diverged) == ("agent-b", (), False)
        assert not router.switch.engaged


async def test_g5d_07_a_replay_with_other_signals_gives_another_choice(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        worse = {
            agent: AgentSignals(samples=50, values={"success_rate": rate, "latency_p50": 200.0})
            for agent, rate in (("agent-a", 0.95), ("agent-b", 0.2))
        }
        replayed = await router.replay("r-1", signals=worse)
        assert replayed.agent == "agent-a"
        assert replayed.differences == ("chosen was [agent-b], now [agent-a]",)
        assert not replayed.diverged, "it was asked what would be, not what was"
        assert not router.switch.engaged


async def test_g5d_08_the_timeline_explains_the_choice(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        [entry] = await router.timeline()
        assert entry.text == (
            "[CARE Routing Optimized]\n"
            "Baseline would have selected: agent-a\n"
            "Optimization selected: agent-b\n"
            "Reason: Higher success rate (92% vs 78%), lower p50 latency (120ms vs 340ms)\n"
            f"Confidence: {choice.confidence:.2f}\n"
            "Signals: cost_per_run, latency_p50, success_rate"
        )
        assert entry.selected == "optimized_selected"
        facts: Any = (await decisions(loom))[0].facts
        details: Any = (await decisions(loom))[0].context["details"]
        lead = details["optimized_score"] - details["baseline_score"]
        executions = min(each["samples"] for each in facts["candidates"])
        assert entry.confidence == pytest.approx(executions / (executions + 10) * (0.5 + min(lead, 0.5)), abs=1e-6)
        assert f"= {executions} / {executions + 10} * (0.5 + {lead:g}) = {entry.confidence:g}," in entry.explained
        assert (await decisions(loom))[0].rationale == (
            "Optimization selected agent-b (higher success rate (92% vs 78%), lower p50 latency (120ms vs 340ms))"
        )


async def test_the_timeline_lists_only_signals_of_which_something_was_known(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        read = {
            agent: AgentSignals(samples=50, values={"success_rate": rate, "latency_p50": latency, "cost_per_run": None})
            for agent, rate, latency in (("agent-a", 0.7, None), ("agent-b", 0.95, 100.0))
        }
        router.source.read = Given(read).read  # type: ignore[method-assign]
        await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        [entry] = await router.timeline()
        assert entry.signals == ("latency_p50", "success_rate")
        assert entry.text.endswith("Signals: latency_p50, success_rate")
        context: Any = (await decisions(loom))[0].context
        assert set(context["signals"]) == set(context["signals_used"]) == {"latency_p50", "success_rate"}


async def test_phase_3_stable_is_a_mode_of_its_own_that_uses_history_and_says_so(tmp_path: Path) -> None:
    async with routing(tmp_path, "stable") as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (choice.agent, choice.selected, choice.mode) == ("agent-b", "optimized_selected", "stable")
        [decision] = await decisions(loom)
        details: Any = decision.context["details"]
        assert details["mode"] == "stable"
        same = await router.choose(REQUEST, CANDIDATES[1:], request_id="r-2")
        assert (same.agent, same.mode) == ("agent-b", "stable")
        assert len(await decisions(loom)) == 1, "agreement is silent"
        assert not (await router.replay("r-1")).diverged
        await router.kill(by="mira", reason="to see")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-3")).agent == "agent-a"
    async with routing(tmp_path, "stable") as loom:
        assert (await Router.of(loom).status()).mode == "stable"


@pytest.mark.parametrize("mode", ["disabled", "shadow", "active"])
async def test_g5d_09_a_forbidden_signal_is_a_hard_error(tmp_path: Path, mode: Any) -> None:
    async with routing(tmp_path, mode) as loom:
        reader = Router.of(loom).signals
        for forbidden in (*FORBIDDEN_SIGNALS, "mood"):
            with pytest.raises(ForbiddenSignalError):
                await reader.read([], [forbidden])  # nobody to read about: it is refused before that is noticed
            with pytest.raises(ForbiddenSignalError):
                SignalReader(loom.queries, ["latency_p50", forbidden])
            with pytest.raises(ForbiddenSignalError):
                Router(loom, source=Given({}, signals=[forbidden]))
    async with routing(tmp_path / "leaky", "active") as loom:
        leaky = AgentSignals(samples=50, values={"success_rate": 0.9, "customer_content": "secret"})
        router = Router.of(loom)
        router.source.read = Given({"agent-a": leaky}).read  # type: ignore[method-assign]
        with pytest.raises(ForbiddenSignalError, match="customer_content"):
            await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert await decisions(loom) == []


class Ask(Command[bool]):
    percent: int


class Desk(Actor[None]):
    """A neighbour of routing, with a policy, an approval, and an execution that was a recovery."""

    async def execute(self, command: Ask) -> bool:
        found: int = await self.gather_context(system="crm", entity="limit", query="acme", fetcher=lambda: 10)
        granted = command.percent <= found
        if not granted:
            granted = (await self.request_approval(approver="vp", reason="over the limit")).granted
        await self.record(ExecutionEntry(agent="agent-a", succeeded=granted, latency_ms=1, recovered=True))
        await self.record_decision(rationale="by the limit", outcome={"granted": granted}, is_exception=True)
        return granted


async def test_g5d_10_policy_budget_and_recovery_are_as_without_it(tmp_path: Path) -> None:
    async def told(mode: Any) -> list[Any]:
        traces = DecisionTracesConfig.model_validate(
            {"llm_enrichment": {"mode": "always"}, "budgets": {"max_enrichments_per_day": 2}}
        )
        settings = config(tmp_path / mode, mode)
        settings = settings.model_copy(update={"sections": {**settings.sections, "decision_traces": traces}})
        async with Loom.open(settings, critic=ScriptedCritic(opinion), by="mira") as loom:
            await history_for_b(loom)
            seen: list[Any] = []
            for number, percent in enumerate((5, 20, 30)):
                await Router.of(loom).choose(REQUEST, CANDIDATES, request_id=f"r-{number}")
                asked = asyncio.create_task(loom.actor(Desk, "one").ask(Ask(percent=percent), id=f"c-{number}"))
                if percent > 10:
                    while not (pending := await loom.approvals.pending()):
                        await asyncio.sleep(0.01)
                    await loom.approvals.grant(pending[0].approval_id, by="vp")
                seen.append(await asked)
                assert loom.enricher is not None
                await loom.enricher.idle()
            desk = [each async for each in loom.store.read("desk/one")]
            seen += [(each.kind, each.command_id, each.policy_hash) for each in desk]
            for each in await loom.traces.find(actor_type="desk"):
                trace = await loom.traces.get(each.decision_id)
                said = [enrichment.status for enrichment in trace.enrichments]
                seen.append((trace.decision.outcome, trace.decision.policy, trace.decision.is_exception, said))
            return [*seen, loom.budget.left()["calls"]]

    off = await told("disabled")
    assert off == await told("active") == await told("shadow")
    assert [each[3] for each in off if isinstance(each, tuple) and len(each) == 4].count(["enriched"]) == 2


async def test_g5d_11_confidence_below_the_threshold_stays_with_the_baseline(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom, count=9)
        choice = await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert choice.agent == "agent-a"
        assert choice.confidence is not None
        assert choice.confidence < 0.5
        assert choice.note is not None
        assert choice.note.startswith("confidence is")
        assert await decisions(loom) == []


async def test_g5d_12_without_history_it_is_the_baseline(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        choice = await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (choice.agent, choice.selected) == ("agent-a", "baseline_selected")
        assert choice.note == "fewer than 3 executions of the baseline or of every other agent"
        assert await decisions(loom) == []


# --- invariants ----------------------------------------------------------------------------------


async def test_g5d_inv_01_no_optimization_is_silent(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)

        async def choose(number: int) -> tuple[str, str | None]:
            choice = await router.choose(REQUEST, CANDIDATES, request_id=f"r-{number}")
            if choice.agent != choice.baseline.agent:
                # Before the caller has its answer the decision is durable: the store has it, not only a view.
                stored = [
                    each.entry.decision
                    async for each in loom.store.read("router/care")
                    if isinstance(each.entry, DecisionJournalEntry) and each.command_id == f"r-{number}"
                ]
                assert [each.decision_id for each in stored] == [choice.decision_id]
            return choice.request_id, choice.decision_id

        chosen = await asyncio.gather(*(choose(number) for number in range(40)))
        found = await decisions(loom)
        assert {each.decision_id for each in found} == {decision_id for _, decision_id in chosen}
        assert len(found) == 40


async def test_g5d_inv_02_forbidden_signals_are_blocked(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        read = await Router.of(loom).signals.read(CANDIDATES)
        assert set(read["agent-a"].values) == set(ALLOWED_SIGNALS)
        assert len(ALLOWED_SIGNALS) == 7
        assert len(FORBIDDEN_SIGNALS) == 8
        for name in FORBIDDEN_SIGNALS:
            with pytest.raises(ForbiddenSignalError, match=name):
                await Router.of(loom).signals.read(CANDIDATES, [name])
        # There is no content to be had where it reads: the table has measures alone.
        rows = await loom.queries.fetch("SELECT * FROM care_signals", names=["routing"])
        assert set(json.loads(rows[0]["signals"])) <= set(ALLOWED_SIGNALS)


async def test_g5d_inv_03_the_kill_switch_works_within_one_cycle(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        under_way = [
            asyncio.create_task(router.choose(REQUEST, CANDIDATES, request_id=f"before-{number}"))
            for number in range(50)
        ]
        await under_way[0]
        await router.kill(by="mira", reason="now")
        after = await asyncio.gather(
            *(router.choose(REQUEST, CANDIDATES, request_id=f"after-{number}") for number in range(50))
        )
        assert {each.agent for each in after} == {"agent-a"}
        before = await asyncio.gather(*under_way)
        assert len(await decisions(loom)) == sum(each.agent == "agent-b" for each in before)


async def test_g5d_inv_04_the_same_snapshot_gives_the_same_routing(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        ids = []
        for number in range(12):
            await observe(
                loom,
                *executions("agent-a", count=3, latency_ms=400 - number, failed=number % 3),
                *executions("agent-b", count=3, latency_ms=100 + number),
            )
            ids.append((await router.choose(REQUEST, CANDIDATES, request_id=f"r-{number}")).request_id)
        assert len({(await router.replay(each)).recorded.agent for each in ids}) == 2, "both agents were chosen"
        for each in ids:
            replayed = await router.replay(each)
            assert replayed.agent == replayed.recorded.agent
            assert not replayed.differences


async def test_g5d_inv_05_nothing_of_the_spine_has_changed_shape(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        choice = await (await router_of(loom)).choose(REQUEST, CANDIDATES, request_id="r-1")
    place = tmp_path / "default"
    async with Loom.open(f"sqlite:///{place / 'journal.db'}", by="mira") as plain:
        assert not plain.parts, "this loom knows nothing of routing"
        trace = await plain.traces.get(str(choice.decision_id))
        assert trace.decision.origin == "original"
        assert trace.decision.model_dump().keys() == Decision.model_fields.keys() - {
            "decided_at",
            "refers",
            "sealed_class",
        }
        kinds = {each.kind async for each in plain.store.read("router/care")}
        kinds |= {each.kind async for each in plain.store.read("care/kill-switch")}
        own = {kind for kind in kinds if kind.startswith("care.")}
        assert own == {"care.optimization_set"}
        assert kinds - own == {"command_received", "context_gathered", "evaluated", "decision", "turn_completed"}


async def test_g5d_inv_06_shadow_decides_nothing(tmp_path: Path) -> None:
    async with routing(tmp_path, "shadow") as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        choices = [await router.choose(REQUEST, CANDIDATES, request_id=f"r-{number}") for number in range(20)]
        await router.settled()
        assert {each.agent for each in choices} == {"agent-a"}
        assert dict(router.shadow.counts) == {"diverged": 20}
        entries = [each.kind async for each in loom.store.read("router/care")]
        assert set(entries) == {"command_received", "turn_completed", "care.optimization_set"}
        assert await decisions(loom) == []
        router.source.read = Given(RuntimeError("gone")).read  # type: ignore[method-assign]
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-x")).agent == "agent-a"
        await router.settled()
        assert router.shadow.counts["failed"] == 1
