"""The document of the rollout of routing: its code, its configuration and its printed forms, run as they are there."""

from __future__ import annotations

import logging
import re
import sqlite3
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.routing import (
    ALLOWED_SIGNALS,
    FORBIDDEN_SIGNALS,
    AgentSignals,
    DecisionRecord,
    ForbiddenSignalError,
    RearmRefusedError,
    Router,
    SignalReader,
    care_optimizer,
    choose_baseline,
    record,
)
from loom.routing.optimizer import OptimizerParams
from tests.routing.support import CANDIDATES, REQUEST, Given, decisions, history_for_b, routing

DECISION_TYPE = """
class DecisionType(str, Enum):
    # ... existing ...
    CARE_ROUTING_OPTIMIZED = "care_routing_optimized"  # Phase 5D: Optimization changed routing
"""

DECISION_OUTCOME = """
class DecisionOutcome(str, Enum):
    # ... existing ...
    BASELINE_SELECTED = "baseline_selected"      # Optimization agreed with baseline
    OPTIMIZED_SELECTED = "optimized_selected"    # Optimization changed selection
"""

DECISION_RECORD = """
DecisionRecord(
    decision_type=DecisionType.CARE_ROUTING_OPTIMIZED,
    decision_source=DecisionSource.SYSTEM,
    decision_trigger=DecisionTrigger.AUTONOMOUS,  # Learning-driven
    decision_inputs={
        "baseline_agent": "agent-a",
        "optimized_agent": "agent-b",
        "confidence_score": 0.85,
        "signals_used": ["latency_p50", "success_rate"],
    },
    decision_outcome=DecisionOutcome.OPTIMIZED_SELECTED,
    decision_reason="Optimization selected agent-b (higher success rate, lower latency)",
    run_id=None,  # Pre-run decision
    request_id="<request_id>",
    causal_role=CausalRole.PRE_RUN,  # Always pre-run
    details={
        "baseline_score": 0.72,
        "optimized_score": 0.85,
        "optimization_version": "v1.0",
    }
)
"""

ISOLATION = """
CARE optimization may ONLY read from:
  - contracts.execution_metrics (aggregated)
  - contracts.decision_records (type/outcome only, not inputs/details)

CARE optimization may NEVER read from:
  - policy evaluation results
  - budget enforcement decisions
  - recovery evaluation details
  - run content/payloads
  - safety event logs
"""

EMISSION = """
EMIT CARE_ROUTING_OPTIMIZED decision IF AND ONLY IF:
  - optimization_enabled = true
  - AND optimized_choice != baseline_choice

DO NOT EMIT decision IF:
  - optimization_disabled (baseline path)
  - optimized_choice == baseline_choice (no change)

Silence is allowed ONLY when baseline == optimized.
"""

KILL_SWITCH = """
IF kill_switch activated:
  - Immediately revert to baseline CARE
  - Log kill_switch_activated event
  - No optimization decisions emitted
  - Deterministic behavior restored

Kill-switch takes effect within 1 request cycle.
No gradual rollback. Instant revert.
"""

REPLAY = """
GIVEN: Same request_id, same signals at decision time
WHEN: Replay executed
THEN: Same routing decision must be made

If replay diverges from original decision:
  - HALT optimization
  - Investigate signal drift
  - Do not re-enable until root cause resolved
"""

FEATURE_FLAG = """\
care_optimization:
  enabled: false           # Default OFF
  mode: "shadow"           # shadow | active
  version: "v1.0"          # For replay determinism
  kill_switch: true        # Always available
"""

TIMELINE = """\
[CARE Routing Optimized]
Baseline would have selected: agent-a
Optimization selected: agent-b
Reason: Higher success rate (92% vs 78%), lower p50 latency (120ms vs 340ms)
Confidence: 0.85
Signals: latency_p50, success_rate"""

ALLOWED = (
    "latency_p50",
    "latency_p95",
    "cost_per_run",
    "success_rate",
    "recovery_occurred",
    "agent_availability",
    "context_size_bucket",
)
FORBIDDEN = (
    "policy_outcome",
    "budget_halt_reason",
    "recovery_class",
    "customer_content",
    "safety_events",
    "founder_overrides",
    "failure_details",
    "user_feedback",
)

SEEN = {
    "agent-a": AgentSignals(samples=100, values={"success_rate": 0.78, "latency_p50": 340.0}),
    "agent-b": AgentSignals(samples=100, values={"success_rate": 0.92, "latency_p50": 120.0}),
}
"""What the document's example of a timeline entry was decided on."""


async def decided(loom: Loom) -> Router:
    """Decide the document's example, under weights that a person has adopted for its two signals."""
    router = Router.of(loom)
    router.source.read = Given(SEEN).read  # type: ignore[method-assign]
    weights = OptimizerParams(success_rate=0.42, latency_p50=0.58, cost_per_run=0)
    version = await loom.policies.register(care_optimizer.with_params(weights), by="mira")
    await loom.policies.adopt(version.hash, by="vera", reason="two signals count")
    await router.choose(REQUEST, CANDIDATES, request_id="r-1")
    return router


# --- the decision contract -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "ours"), [(DECISION_TYPE, record.DecisionType), (DECISION_OUTCOME, record.DecisionOutcome)]
)
def test_the_types_of_the_contract_are_those_of_the_document(code: str, ours: type[Enum]) -> None:
    theirs: dict[str, Any] = {"Enum": Enum}
    exec(code, theirs)
    assert {each.name: each.value for each in theirs[ours.__name__]} == {each.name: each.value for each in ours}


async def test_the_record_of_the_document_is_the_record_of_a_real_choice(tmp_path: Path) -> None:
    written: DecisionRecord = eval(DECISION_RECORD, dict(vars(record)))
    async with routing(tmp_path) as loom:
        [made] = await (await decided(loom)).records()
    assert type(made) is type(written)
    for same in ("decision_type", "decision_source", "decision_trigger", "decision_outcome", "run_id", "causal_role"):
        assert getattr(made, same) == getattr(written, same)
    inputs = {
        **made.decision_inputs,
        "confidence_score": round(float(str(made.decision_inputs["confidence_score"])), 2),
    }
    assert inputs == written.decision_inputs
    assert written.details.keys() <= made.details.keys()
    assert made.details["optimization_version"] == "v1.0"
    assert made.request_id == "r-1"
    assert made.decision_reason.startswith("Optimization selected agent-b (higher success rate")
    # The second list of the document's amendments: what else is in the details.
    assert (made.details["decision_source"], made.details["trigger"], made.details["outcome"]) == (
        "system",
        "autonomous",
        "optimized_selected",
    )


async def test_a_record_is_additive_and_refuses_what_is_not_routings(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        [decision] = await decisions((await decided(loom))._host)  # type: ignore[arg-type]
        assert DecisionRecord.of(decision).request_id == "r-1"
        with pytest.raises(ValueError, match="budget_override"):
            DecisionRecord.of(decision.model_copy(update={"decision_type": "budget_override"}))


# --- signals -----------------------------------------------------------------------------------------


def test_the_signals_are_the_seven_and_the_eight_of_the_document() -> None:
    assert tuple(ALLOWED_SIGNALS) == ALLOWED
    assert tuple(FORBIDDEN_SIGNALS) == FORBIDDEN


async def test_execution_metrics_are_a_source_by_that_name_in_sql_and_in_the_config(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        assert isinstance(router.source, SignalReader)
        assert router.source.name == "contracts.execution_metrics"
        assert isinstance(Router(loom, source="contracts.execution_metrics").source, SignalReader)
        only, never = ISOLATION.split("NEVER")
        assert re.findall(r"- ([\w.]+)", only) == ["contracts.execution_metrics", "contracts.decision_records"]
        refused = re.findall(r"- (.+)", never)
        assert len(refused) == 5
        for forbidden in refused:
            with pytest.raises(ForbiddenSignalError, match=re.escape(forbidden)):
                Router(loom, source=forbidden)
        await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (await router.records())[0].details["signals_source"] == "contracts.execution_metrics"
        seen = (await router.signals.read(CANDIDATES))["agent-b"].values
        await loom.reached()
    [views] = (tmp_path / "default").glob("*views*.db")
    connection = sqlite3.connect(f"file:{views}?mode=ro", uri=True)
    [metrics] = connection.execute(
        'SELECT latency_p50, success_rate, cost_per_run FROM "contracts.execution_metrics" WHERE agent = ?',
        ("agent-b",),
    ).fetchall()
    [kept] = connection.execute('SELECT * FROM "contracts.decision_records"').fetchall()
    columns = [row[1] for row in connection.execute("PRAGMA table_info('contracts.decision_records')")]
    connection.close()
    assert metrics == (seen["latency_p50"], seen["success_rate"], seen["cost_per_run"])
    assert columns == ["decision_id", "request_id", "decision_type", "decision_outcome"], "no inputs, no details"
    assert kept[1:] == ("r-1", "care_routing_optimized", "optimized_selected")


async def test_the_views_by_those_names_come_back_with_a_rebuild(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        statement = 'SELECT * FROM "contracts.execution_metrics" ORDER BY agent'
        before = await loom.queries.fetch(statement, names=["routing"])
        await loom.rebuild()
        after = await loom.queries.fetch(statement, names=["routing"])
        assert [tuple(row) for row in before] == [tuple(row) for row in after]
        assert len(before) == 2


def test_a_config_cannot_name_another_source(tmp_path: Path) -> None:
    from loom.config import load_config
    from loom.errors import ConfigError
    from loom.routing import CareOptimizationConfig

    path = tmp_path / "loom.config.yaml"
    path.write_text("careOptimization: {enabled: true, source: safety event logs}\n")
    with pytest.raises(ConfigError, match="source"):
        load_config(path, sections={"care_optimization": CareOptimizationConfig})


# --- stability and rollback --------------------------------------------------------------------------


async def test_the_feature_flag_of_the_document_loads_as_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "loom.config.yaml"
    path.write_text(f"data: data\n{FEATURE_FLAG}")
    async with Loom.open(path, by="mira") as loom:
        status = await Router.of(loom).status()
        assert (status.mode, status.version, status.killed) == ("disabled", "v1.0", False)
    path.write_text(f"data: data\n{FEATURE_FLAG.replace('enabled: false', 'enabled: true')}")
    async with Loom.open(path, by="mira") as loom:
        assert (await Router.of(loom).status()).mode == "shadow"


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("different", [True, False])
async def test_a_decision_is_emitted_exactly_where_the_rule_of_the_document_says(
    tmp_path: Path, *, enabled: bool, different: bool
) -> None:
    emit, silent = EMISSION.split("DO NOT EMIT")
    names = {"optimization_enabled": enabled, "true": True, "optimized_choice": different, "baseline_choice": False}
    emitted = all(
        (names[left] == names[right]) == (sign == "=") for left, sign, right in re.findall(r"(\w+) (!?=) (\w+)", emit)
    )
    assert emitted == (enabled and different), "as it is read here"
    assert "optimization_disabled" in silent
    async with routing(tmp_path, "active" if enabled else "disabled") as loom:
        if different:
            await history_for_b(loom)
        await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert len(await decisions(loom)) == emitted


PHASES: list[tuple[Any, str, int, int]] = [
    ("disabled", "agent-a", 0, 0),
    ("shadow", "agent-a", 0, 1),
    ("active", "agent-b", 1, 0),
    ("stable", "agent-b", 1, 0),
]
"""Phase by phase: the mode, which agent is used, how many decisions are emitted, how many shadow logs."""


@pytest.mark.parametrize(("mode", "agent", "emitted", "logged"), PHASES)
async def test_each_phase_of_the_rollout_uses_and_emits_what_the_document_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: Any, agent: str, emitted: int, logged: int
) -> None:
    caplog.set_level(logging.INFO, logger="loom.routing")
    async with routing(tmp_path, mode) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        await router.settled()
        assert (choice.agent, choice.mode) == (agent, mode)
        assert len(await decisions(loom)) == emitted
        assert sum("care_shadow" in str(each.msg) for each in caplog.records) == logged


async def test_the_kill_switch_logs_its_event_and_restores_the_baseline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [event] = re.findall(r"Log (\w+) event", KILL_SWITCH)
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.kill(by="mira", reason="it looks odd")
        assert event in caplog.text
        for number in range(2):  # from the first request on, and always the same
            assert (await router.choose(REQUEST, CANDIDATES, request_id=f"r-{number}")).agent == "agent-a"
        assert await decisions(loom) == []


async def test_a_replay_is_what_the_requirement_of_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt, investigate, resolved = re.findall(r"  - (.+)", REPLAY)
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        chosen = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        same = await router.replay("r-1")
        assert (same.agent, same.diverged) == (chosen.agent, False)
        with monkeypatch.context() as patch:
            patch.setattr("loom.routing.replay.choose_baseline", another_baseline)
            assert (await router.replay("r-1")).differences, investigate
        assert router.switch.engaged, halt
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-2")).agent == "agent-a"
        with pytest.raises(RearmRefusedError):
            await router.rearm(by="vera", reason="it will be all right")
        await router.rearm(by="vera", reason="looked into", cause="a rule that was changed by hand")
        assert not router.switch.engaged, resolved


def another_baseline(request: Any, candidates: Any) -> Any:
    """Choose as a baseline would whose code was changed."""
    return choose_baseline(request, candidates).model_copy(update={"agent": "agent-b"})


# --- explainability ----------------------------------------------------------------------------------


async def test_the_timeline_entry_of_the_document_is_printed_letter_by_letter(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        router = await decided(loom)
        [entry] = await router.timeline()
        assert entry.text == TIMELINE
        # The four questions of the explainability contract, each out of the record.
        assert (entry.baseline_agent, entry.optimized_agent) == ("agent-a", "agent-b")
        assert "92% vs 78%" in entry.reason
        assert entry.confidence_formula is not None
        assert entry.confidence_formula.startswith(
            "n / (n + 10) * (0.5 + min(lead, 0.5)) = 100 / 110 * (0.5 + 0.434094) = 0.849176"
        )
        replayed = await router.replay("r-1")
        assert (replayed.agent, replayed.diverged) == ("agent-b", False)
