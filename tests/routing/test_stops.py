"""The six stop conditions: each engages the kill switch by itself; a cause and a replay that passes re-arm it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from loom import Loom
from loom.errors import AdmissionError, DiskFullError
from loom.journal.entry import KINDS, Entry, UnknownEntry
from loom.journal.store import Append
from loom.routing import (
    ALLOWED_SIGNALS,
    AgentSignals,
    ForbiddenSignalError,
    RearmRefusedError,
    Router,
    RouterActor,
    RoutingReplay,
    StopCondition,
)
from loom.routing.actor import Choice
from loom.routing.entries import (
    ExecutionEntry,
    KillSwitchEngagedEntry,
    KillSwitchRearmedEntry,
    OptimizationSetEntry,
)
from tests.routing.support import CANDIDATES, REQUEST, Given, decisions, history_for_b, routing


async def choose(router: Router, request_id: str) -> Choice:
    choice = await router.choose(REQUEST, CANDIDATES, request_id=request_id)
    await router.settled()
    return choice


async def engaged(loom: Loom) -> list[KillSwitchEngagedEntry]:
    journal = loom.store.read("care/kill-switch")
    return [each.entry async for each in journal if isinstance(each.entry, KillSwitchEngagedEntry)]


async def check_stopped(loom: Loom, condition: StopCondition, request_id: str) -> None:
    """The switch is engaged by the system, says what for, and the next choice is the baseline's."""
    status = await Router.of(loom).status()
    assert (status.killed, status.switch_trigger, status.switch_by) == (True, "system", "loom")
    assert (status.switch_condition, status.switch_request) == (condition, request_id)
    [entry] = await engaged(loom)
    assert (entry.trigger, entry.condition, entry.request_id) == ("system", condition, request_id)
    assert entry.reason
    assert (await choose(Router.of(loom), f"after-{condition}")).agent == "agent-a"


def test_there_are_six() -> None:
    assert len(get_args(StopCondition)) == 6


async def test_stop_1_an_optimised_choice_without_its_durable_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(self: RouterActor, **given: Any) -> str:
        return "0" * 64

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        monkeypatch.setattr(RouterActor, "record_decision", forgets)
        assert (await choose(Router.of(loom), "r-1")).agent == "agent-b"
        assert await decisions(loom) == []
        await check_stopped(loom, "decision_missing", "r-1")


async def test_stop_1_an_answer_that_is_another_than_its_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RouterActor._switch_over

    async def another(self: RouterActor, *given: Any) -> Choice:
        return (await real(self, *given)).model_copy(update={"agent": "agent-c"})

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        monkeypatch.setattr(RouterActor, "_switch_over", another)
        await choose(Router.of(loom), "r-1")
        await check_stopped(loom, "decision_missing", "r-1")


@pytest.mark.parametrize("mode", ["shadow", "active", "stable"])
async def test_stop_2_a_routing_turn_that_wrote_what_is_not_routings_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    real = RouterActor._route

    async def meddles(self: RouterActor, command: Any) -> Choice:
        await self.record(ExecutionEntry(agent="agent-b", succeeded=True, latency_ms=1))
        return await real(self, command)

    async with routing(tmp_path, mode) as loom:
        await history_for_b(loom)
        with monkeypatch.context() as patch:
            patch.setattr(RouterActor, "_route", meddles)
            await choose(Router.of(loom), "r-1")
        await check_stopped(loom, "foreign_entry", "r-1")


async def test_stop_2_a_decision_of_another_type_is_not_routings_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RouterActor._route

    async def decides(self: RouterActor, command: Any) -> Choice:
        await self.record_decision(rationale="while I am at it", decision_type="budget_override")
        return await real(self, command)

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        with monkeypatch.context() as patch:
            patch.setattr(RouterActor, "_route", decides)
            await choose(Router.of(loom), "r-1")
        await check_stopped(loom, "foreign_entry", "r-1")


async def test_stop_3_a_replay_that_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await choose(router, "r-1")
        with monkeypatch.context() as patch:
            patch.setattr("loom.routing.replay.choose_baseline", _other_baseline)
            assert (await router.replay("r-1")).diverged
        await check_stopped(loom, "replay_diverged", "r-1")


def _other_baseline(request: Any, candidates: Any) -> Any:
    from loom.routing import choose_baseline

    return choose_baseline(request, candidates).model_copy(update={"agent": "agent-b"})


LEAK = {"agent-a": AgentSignals(samples=50, values={"success_rate": 0.9, "customer_content": "secret"})}


async def test_stop_4_a_forbidden_signal_is_raised_and_stops(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        router.source.read = Given(LEAK).read  # type: ignore[method-assign]
        with pytest.raises(ForbiddenSignalError, match="customer_content"):
            await choose(router, "r-1")
        await check_stopped(loom, "signal_refused", "r-1")
        [entry] = await engaged(loom)
        assert "customer_content" in entry.reason
        assert "secret" not in entry.reason


async def test_stop_4_a_forbidden_signal_in_shadow_is_journaled_and_the_caller_has_the_baseline(tmp_path: Path) -> None:
    async with routing(tmp_path, "shadow") as loom:
        router = Router.of(loom)
        router.source.read = Given(LEAK).read  # type: ignore[method-assign]
        choice = await choose(router, "r-1")
        assert (choice.agent, choice.selected, choice.mode) == ("agent-a", "baseline_selected", "shadow")
        assert router.shadow.counts["refused"] == 1
        await check_stopped(loom, "signal_refused", "r-1")
        assert await decisions(loom) == []


@pytest.mark.parametrize("mode", ["disabled", "shadow", "active"])
async def test_stop_4_a_source_that_begins_to_ask_for_a_forbidden_signal(tmp_path: Path, mode: Any) -> None:
    async with routing(tmp_path, mode) as loom:
        router = Router.of(loom)
        router.source = Given({})
        router.source.signals = ("safety_events",)
        if mode == "shadow":
            assert (await choose(router, "r-1")).agent == "agent-a"
        else:
            with pytest.raises(ForbiddenSignalError, match="safety_events"):
                await choose(router, "r-1")
        await check_stopped(loom, "signal_refused", "r-1")


OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("latency_p50", -1.0),
    ("latency_p95", math.nan),
    ("latency_p50", True),
    ("cost_per_run", -0.01),
    ("cost_per_run", math.inf),
    ("success_rate", 1.01),
    ("success_rate", -0.1),
    ("success_rate", "0.9"),
    ("success_rate", True),
    ("recovery_occurred", 1.0),
    ("recovery_occurred", "no"),
    ("agent_availability", "gone fishing"),
    ("agent_availability", True),
    ("context_size_bucket", "enormous"),
    ("context_size_bucket", 3.0),
    ("latency_p50", []),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
@pytest.mark.parametrize("mode", ["shadow", "active"])
async def test_stop_4_a_value_out_of_its_signals_range(tmp_path: Path, mode: Any, name: str, value: Any) -> None:
    wrong = {"agent-b": AgentSignals.model_construct(samples=50, values={name: value})}
    async with routing(tmp_path, mode) as loom:
        router = Router.of(loom)
        router.source.read = Given(wrong).read  # type: ignore[method-assign]
        choice = await choose(router, "r-1")
        assert choice.agent == "agent-a"
        assert choice.note == ("signals failed: SignalRangeError" if mode == "active" else None)
        await check_stopped(loom, "signal_refused", "r-1")
        [entry] = await engaged(loom)
        shown = value if isinstance(value, int | float) else type(value).__name__
        assert f"signal [{name}] of agent [agent-b] is [{shown}]" in entry.reason
        assert ALLOWED_SIGNALS[name].values in entry.reason


@pytest.mark.parametrize("samples", [-1, 2.5, True, "many"])
async def test_stop_4_a_number_of_executions_that_is_none(tmp_path: Path, samples: Any) -> None:
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        wrong = {"agent-b": AgentSignals.model_construct(samples=samples, values={})}
        router.source.read = Given(wrong).read  # type: ignore[method-assign]
        await choose(router, "r-1")
        await check_stopped(loom, "signal_refused", "r-1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency_p50", 0),
        ("latency_p95", 1e300),
        ("cost_per_run", 0.0),
        ("success_rate", 0),
        ("success_rate", 1.0),
        ("recovery_occurred", True),
        ("agent_availability", "degraded"),
        ("context_size_bucket", "large"),
        *((name, None) for name in ALLOWED_SIGNALS),
    ],
)
async def test_a_value_within_its_signals_range_stops_nothing(tmp_path: Path, name: str, value: Any) -> None:
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        router.source.read = Given({"agent-b": AgentSignals(samples=5, values={name: value})}).read  # type: ignore[method-assign]
        assert "executions of the baseline" in str((await choose(router, "r-1")).note)
        assert not router.switch.engaged


async def test_stop_5_an_optimised_answer_in_a_turn_that_began_under_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """A switch that holds nobody back."""

        engaged = False

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.kill(by="mira", reason="it looks odd")
        real = RouterActor._look

        async def past_the_switch(self: RouterActor, *given: Any) -> Any:
            kept: Any = self._switch
            broken: Any = Broken()
            self._switch = broken
            try:
                return await real(self, *given)
            finally:
                self._switch = kept

        with monkeypatch.context() as patch:
            patch.setattr(RouterActor, "_look", past_the_switch)
            assert (await choose(router, "r-1")).agent == "agent-b"
        by_person, by_system = await engaged(loom)
        assert (by_person.trigger, by_system.trigger) == ("person", "system")
        assert (by_system.condition, by_system.request_id) == ("switch_failed", "r-1")
        # What a person engaged, a person re-arms; what a stop condition engaged beside it takes more than that.
        with pytest.raises(RearmRefusedError):
            await router.rearm(by="mira", reason="it looks fine")
        await router.rearm(by="mira", reason="it looks fine", cause="a switch that nobody had wired")


async def test_a_turn_that_had_looked_before_the_switch_was_thrown_is_no_failure_of_the_switch(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await choose(router, "r-1")
        await router.kill(by="mira", reason="now")
        await router.settled()
        await router.rearm(by="mira", reason="again")
        assert (await choose(router, "r-2")).agent == "agent-b"
        assert [each.trigger for each in await engaged(loom)] == ["person"]
        assert not router.switch.engaged


@pytest.mark.parametrize("lost", ["confidence_score", "signals", "signals_used", "baseline_agent"])
async def test_stop_6_a_decision_whose_timeline_entry_cannot_be_produced_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    real = RouterActor.record_decision

    async def sloppy(self: RouterActor, **given: Any) -> str:
        context = {name: value for name, value in given["context"].items() if name != lost}
        return await real(self, **{**given, "context": context})

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        with monkeypatch.context() as patch:
            patch.setattr(RouterActor, "record_decision", sloppy)
            await choose(Router.of(loom), "r-1")
        await check_stopped(loom, "not_explainable", "r-1")


async def test_nothing_of_what_routing_does_day_in_day_out_stops_it(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        for number in range(150):  # long enough for a snapshot of the actor
            await router.choose(REQUEST, CANDIDATES, request_id=f"r-{number}")
            if number % 30 == 0:
                await router.set_mode("shadow" if number % 60 else "stable", by="mira")
        await router.settled()
        assert not router.switch.engaged
    async with routing(tmp_path) as loom:
        await Router.of(loom).settled()
        assert not Router.of(loom).switch.engaged


async def test_what_was_not_looked_at_before_a_restart_is_looked_at_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(self: RouterActor, **given: Any) -> str:
        return "0" * 64

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        with monkeypatch.context() as patch:
            patch.setattr(RouterActor, "record_decision", forgets)
            patch.setattr(Router.of(loom)._watch, "look_soon", lambda: None)
            await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
    async with routing(tmp_path) as loom:
        await Router.of(loom).settled()
        await check_stopped(loom, "decision_missing", "r-1")
        await choose(Router.of(loom), "r-2")
        await Router.of(loom).rearm(by="mira", reason="found", cause="a patch that nobody had reviewed", replay="r-2")
    async with routing(tmp_path) as loom:
        await Router.of(loom).settled()
        assert not Router.of(loom).switch.engaged, "what came before the re-arming was looked into"


# --- re-arming -------------------------------------------------------------------------------------


async def test_re_arming_after_a_stop_takes_a_cause_and_a_replay_and_journals_both(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await choose(router, "r-0")
        real = router.source.read
        router.source.read = Given(LEAK).read  # type: ignore[method-assign]
        with pytest.raises(ForbiddenSignalError):
            await choose(router, "r-1")
        router.source.read = real  # type: ignore[method-assign]
        for given in ({}, {"replay": "r-0"}, {"cause": " ", "replay": "r-0"}):
            with pytest.raises((RearmRefusedError, AdmissionError)):
                await router.rearm(by="mira", reason="it will be all right", **given)
        # The request that it stopped for has no answer: another one has to be named.
        with pytest.raises(RearmRefusedError, match=r"request \[r-1\] cannot be replayed"):
            await router.rearm(by="mira", reason="looked into", cause="a column that was joined by mistake")
        with pytest.raises(RearmRefusedError, match="cannot be replayed"):
            await router.rearm(by="mira", reason="looked into", cause="a column", replay="nobody asked")
        assert router.switch.engaged
        await router.rearm(by="mira", reason="looked into", cause="a column that was joined by mistake", replay="r-0")
        assert not (await router.status()).killed
        last = [each.entry async for each in loom.store.read("care/kill-switch")][-1]
        assert isinstance(last, KillSwitchRearmedEntry)
        assert (last.cause, last.replayed) == ("a column that was joined by mistake", "r-0")
        assert (await choose(router, "r-2")).agent == "agent-b"


async def test_a_stop_that_comes_while_somebody_re_arms_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await choose(router, "r-1")
        await router.switch.stop_for("replay_diverged", reason="for the test", request_id="r-1")

        async def meanwhile(*_: Any, **__: Any) -> RoutingReplay:
            from loom.routing.replay import replay_of

            await router.switch.stop_for("signal_refused", reason="another", request_id="r-1")
            return await replay_of(loom, "r-1")

        with monkeypatch.context() as patch:
            patch.setattr("loom.routing.router.replay_of", meanwhile)
            with pytest.raises(RearmRefusedError, match="another"):
                await router.rearm(by="mira", reason="looked into", cause="the first one")
        assert router.switch.engaged
        await router.rearm(by="mira", reason="looked into", cause="both")


async def test_a_stop_holds_through_a_restart_and_by_the_same_condition_it_is_journaled_once(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        await choose(Router.of(loom), "r-1")
        for _ in range(3):
            await Router.of(loom).switch.stop_for("not_explainable", reason="for the test", request_id="r-1")
        assert len(await engaged(loom)) == 1
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        assert router.switch.engaged
        with pytest.raises(RearmRefusedError):
            await router.rearm(by="mira", reason="forgotten")
        await router.rearm(by="mira", reason="looked into", cause="the test")


async def test_a_stop_that_cannot_be_journaled_holds_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: Append) -> Any:
        raise DiskFullError("disk is full; expected room: make some")

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        with monkeypatch.context() as patch:
            patch.setattr(loom.store, "append", refuse)
            await router.switch.stop_for("foreign_entry", reason="for the test", request_id="r-1")
        assert "kill_switch_not_journaled" in caplog.text
        assert (await choose(router, "r-1")).agent == "agent-a"


# --- entries of before -------------------------------------------------------------------------------

BEFORE: Mapping[str, tuple[bytes, type[Entry]]] = {
    "care.kill_switch_engaged": (
        b'{"step":null,"by":"loom","trigger":"system","reason":"replay of r-1 diverged"}',
        KillSwitchEngagedEntry,
    ),
    "care.kill_switch_rearmed": (b'{"step":null,"by":"mira","reason":"mended"}', KillSwitchRearmedEntry),
    "care.optimization_set": (
        b'{"step":["record","care.optimization_set",0],"mode":"active","version":"v1.0","by":"mira","reason":null,'
        b'"source":"person"}',
        OptimizationSetEntry,
    ),
}


@pytest.mark.parametrize("kind", BEFORE)
def test_an_entry_that_an_earlier_loom_wrote_reads_as_before(kind: str) -> None:
    body, cls = BEFORE[kind]
    entry = KINDS.decode(kind, 1, body)
    assert isinstance(entry, cls)
    later = KINDS.decode(kind, cls.schema_version + 1, body[:-1] + b',"more":1}')
    assert isinstance(later, UnknownEntry)
    assert later.problem == "newer_schema"


async def test_a_stop_of_an_earlier_loom_takes_a_cause_and_a_request_that_is_named(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await choose(router, "r-1")
        await router.switch.kill(by="loom", reason="replay of r-1 diverged", trigger="system")
        with pytest.raises(RearmRefusedError, match="no request is named"):
            await router.rearm(by="mira", reason="looked into", cause="the test")
        await router.rearm(by="mira", reason="looked into", cause="the test", replay="r-1")
