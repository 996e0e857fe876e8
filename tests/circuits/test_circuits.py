"""Circuits: declared inputs, failures that act, chains that say where each input came from."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loom import Actor, Command, Loom
from loom.circuits import (
    CORE,
    CircuitDefinition,
    CircuitDependencyError,
    Circuits,
    Result,
    bound_to,
    circuit,
    load_circuits,
)
from loom.circuits.entries import CircuitEnteredEntry, CircuitFailedEntry, SubstitutedEntry
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    CommandConflictError,
    ConfigError,
    InvalidNameError,
    StandingError,
)
from tests.circuits.support import failing, wired

CHAIN: list[tuple[str, dict[str, Any]]] = [
    ("CX01_INTENT_DETECTION", {"business_profile": "SaaS B2B"}),
    ("CX02_AUDIENCE_CLASSIFICATION", {"location": "US", "industry": "Tech"}),
    ("CX04_CONTENT_STRATEGY_SELECTION", {}),
]


async def entries(loom: Loom, kind: type[Any], client: str = "client-123") -> list[Any]:
    return [each.entry async for each in loom.store.read(f"circuits/{client}") if isinstance(each.entry, kind)]


# --- the core, and chains --------------------------------------------------------------------------


async def test_a_chain_of_three_runs_on_what_its_callers_give(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        reply = await Circuits.of(loom).run("client-123", CHAIN)
        assert reply.success
        assert reply.final_output == {
            "detected_intent": "lead_generation",
            "audience_segment": "enterprise",
            "content_strategy_id": "strategy-lead-generation-enterprise",
        }
        assert reply.total_decision_path[:2] == ("ENTER:CX01_INTENT_DETECTION", "SUCCESS:CX01_INTENT_DETECTION")
        assert reply.confidence == min(each.confidence for each in reply.results)
        entered = await entries(loom, CircuitEnteredEntry)
        assert [each.provenance for each in entered] == [
            {"business_profile": "explicit"},
            {
                "detected_intent": "CX01_INTENT_DETECTION.detected_intent",
                "location": "explicit",
                "industry": "explicit",
            },
            {
                "intent": "CX01_INTENT_DETECTION.detected_intent",
                "segment": "CX02_AUDIENCE_CLASSIFICATION.audience_segment",
                "client_id": "request",
            },
        ]


async def test_a_steps_own_input_wins_over_what_an_earlier_one_found(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        steps = [CHAIN[0], CHAIN[1], ("CX04_CONTENT_STRATEGY_SELECTION", {"segment": "mine"})]
        reply = await Circuits.of(loom).run("client-123", steps)
        assert reply.final_output["content_strategy_id"] == "strategy-lead-generation-mine"
        assert reply.results[2].provenance["segment"] == "explicit"


async def test_every_core_circuit_runs_alone_on_what_it_declares(tmp_path: Path) -> None:
    given_inputs: dict[str, dict[str, Any]] = {
        "CX01": {"business_profile": "x", "campaign_goal": "Lead generation"},
        "CX02": {"detected_intent": "x", "location": "US", "industry": "Tech"},
        "CX03": {"audience_segment": "enterprise"},
        "CX04": {"intent": "a", "segment": "b"},
        "CX05": {"draft_content": "hello", "brand_rules": {"banned": ["cheap"]}},
        "CX06": {"content_strategy_id": "s", "approved_content": "hello"},
        "CX07": {"final_asset": "x", "platform_metrics": {"clicks": 5, "impressions": 100}},
        "CX08": {"engagement_score": 0.4, "baseline": 0.68},
    }
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.add_strategy("client-123", "enterprise", "strategy-456", success_rate=0.7, by="mira")
        assert [each.circuit_id[:4] for each in circuits.definitions()] == sorted(given_inputs)
        for each in circuits.definitions():
            reply = await circuits.run("client-123", [(each.circuit_id, given_inputs[each.circuit_id[:4]])])
            assert reply.success, reply
            assert not reply.results[0].substituted
        assert reply.final_output == {"correction_needed": True}
        detected = await circuits.run("c", [("CX01_INTENT_DETECTION", given_inputs["CX01"])])
        assert detected.final_output == {"detected_intent": "lead_generation"}


async def test_what_ran_is_a_policy_version_and_every_execution_is_a_decision(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        reply = await Circuits.of(loom).run("client-123", [CHAIN[0]])
        [found] = await loom.traces.find(decision_type="circuit_execution")
        decision = (await loom.traces.get(found.decision_id)).decision
        assert decision.under.name == "circuit-cx01-intent-detection"
        assert decision.under.rule == "act"
        assert decision.context["execution_id"] == reply.execution_id
        document: Any = loom.policies.resolve(decision.under.hash).document
        assert document["parameters"]["failure_mode"]["value"] == "fallback_to_last_successful"
        [entered] = await entries(loom, CircuitEnteredEntry)
        assert entered.version == decision.under.hash


async def test_an_unknown_circuit_and_a_missing_input_are_named_and_audited(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        unknown = await circuits.run("client-123", [("CX77_NONE", {})])
        assert unknown.results[0].code == "unknown_circuit"
        assert unknown.results[0].decision_trace == ("ENTER:CX77_NONE", "FAILED:CX77_NONE:unknown_circuit")
        missing = await circuits.run("client-123", [("CX02_AUDIENCE_CLASSIFICATION", {"location": "US"})])
        assert missing.results[0].error == (
            "input [detected_intent, industry] of [CX02_AUDIENCE_CLASSIFICATION] is missing"
        )
        assert [each.code for each in await entries(loom, CircuitFailedEntry)] == ["unknown_circuit", "missing_input"]
        audit = await circuits.view.audit(client_id="client-123")
        assert [each["error"] is not None for each in audit["execution_history"]] == [True, True]
        assert audit["metrics"]["error_count"] == 2


async def test_a_chain_stops_at_the_first_failure_that_is_not_absorbed(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        broken: tuple[str, dict[str, Any]] = ("CX08_SELF_CORRECTION", {"engagement_score": "what", "baseline": 1})
        steps = [CHAIN[0], broken, CHAIN[1]]
        reply = await Circuits.of(loom).run("client-123", steps)
        assert (reply.success, len(reply.results)) == (False, 2)
        assert reply.final_output == {"detected_intent": "lead_generation"}, "results so far are returned"
        assert reply.total_decision_path[-1] == "FAILED:CX08_SELF_CORRECTION:escalate_to_admin"


async def test_the_same_execution_id_runs_once(tmp_path: Path) -> None:
    calls = []

    @circuit(
        "CX10_COUNT", category="test", inputs=(), outputs=("n",), failure_mode="mark_as_neutral", success_metric="n"
    )
    def count(_: Mapping[str, Any]) -> dict[str, Any]:
        """Count."""
        calls.append(1)
        return {"n": len(calls)}

    async with wired(tmp_path, count) as loom:
        circuits = Circuits.of(loom)
        first = await circuits.run("c", [("CX10_COUNT", {})], execution_id="e-1")
        assert await circuits.run("c", [("CX10_COUNT", {})], execution_id="e-1") == first
        with pytest.raises(CommandConflictError):
            await circuits.run("c", [("CX10_COUNT", {"x": 1})], execution_id="e-1")
    async with wired(tmp_path, count) as loom:
        assert await Circuits.of(loom).run("c", [("CX10_COUNT", {})], execution_id="e-1") == first
    assert len(calls) == 1


# --- failure modes, one by one ---------------------------------------------------------------------


async def one(loom: Loom, **inputs: Any) -> Any:
    return (await Circuits.of(loom).run("client-123", [("CX09_MINE", inputs)])).results[0]


async def test_fallback_to_last_successful_says_what_was_last_said(tmp_path: Path) -> None:
    mine = failing("fallback_to_last_successful", fail=lambda inputs: inputs["word"] == "bad")
    async with wired(tmp_path, mine) as loom:
        assert not (await one(loom, word="bad")).success, "there is nothing to fall back to"
        assert (await one(loom, word="good")).data == {"said": "fine good"}
        fallen = await one(loom, word="bad")
        assert (fallen.success, fallen.substituted, fallen.data, fallen.confidence) == (
            True,
            True,
            {"said": "fine good"},
            0.7,
        )
    async with wired(tmp_path, mine) as loom:
        assert (await one(loom, word="bad")).data == {"said": "fine good"}, "also after a restart"
        [first, *_] = await entries(loom, SubstitutedEntry)
        assert first.failure_mode == "fallback_to_last_successful"
        assert "RuntimeError: no luck" in first.reason


async def test_default_to_primary_says_the_default(tmp_path: Path) -> None:
    async with wired(tmp_path, failing("default_to_primary", defaults={"said": "primary"})) as loom:
        found = await one(loom, word="x")
        assert (found.data, found.confidence) == ({"said": "primary"}, 0.6)
    async with wired(tmp_path / "none", failing("default_to_primary")) as loom:
        assert not (await one(loom, word="x")).success, "there is no default"


async def test_proceed_without_state_goes_on_with_nothing(tmp_path: Path) -> None:
    async with wired(tmp_path, failing("proceed_without_state")) as loom:
        found = await one(loom, word="x")
        assert (found.data, found.confidence) == ({"said": None}, 0.75)


async def test_rotate_to_alternate_tries_the_others_in_order(tmp_path: Path) -> None:
    def broken(_: Mapping[str, Any]) -> Result:
        raise ValueError("this one, too")

    def works(inputs: Mapping[str, Any]) -> Result:
        return Result(outputs={"said": f"other {inputs['word']}"})

    async with wired(tmp_path, failing("rotate_to_alternate", alternates=(broken, works))) as loom:
        found = await one(loom, word="x")
        assert (found.data, found.confidence) == ({"said": "other x"}, 0.76)
        [told] = await entries(loom, SubstitutedEntry)
        assert told.reason.startswith("alternate 2 (RuntimeError: no luck; alternate 1: ValueError")
    async with wired(tmp_path / "none", failing("rotate_to_alternate", alternates=(broken,))) as loom:
        assert not (await one(loom, word="x")).success


async def test_auto_rewrite_with_penalty_rewrites_and_tries_again(tmp_path: Path) -> None:
    mine = failing(
        "auto_rewrite_with_penalty",
        fail=lambda inputs: inputs["word"] != "good",
        rewrite=lambda inputs: {**inputs, "word": inputs["word"].replace("bad", "good")},
    )
    async with wired(tmp_path, mine) as loom:
        found = await one(loom, word="bad")
        assert (found.data, found.confidence) == ({"said": "fine good"}, 0.665)
        assert not (await one(loom, word="hopeless")).success
        guarded = await Circuits.of(loom).run(
            "c", [("CX05_BRAND_GUARD", {"draft_content": "A guaranteed cheap win", "brand_rules": ["cheap"]})]
        )
        assert guarded.final_output == {"approved_content": "A win"}


async def test_regenerate_with_lower_creativity_tries_with_less_and_less(tmp_path: Path) -> None:
    mine = failing("regenerate_with_lower_creativity", fail=lambda inputs: inputs.get("creativity", 1) > 0.3)
    async with wired(tmp_path, mine) as loom:
        found = await one(loom, word="x", creativity=1.0)
        assert (found.data, found.confidence) == ({"said": "fine 0.25"}, round(0.95 * 0.85**2, 6))
    stubborn = failing("regenerate_with_lower_creativity")
    async with wired(tmp_path / "none", stubborn) as loom:
        assert not (await one(loom, word="x")).success


async def test_mark_as_neutral_says_neutral_and_escalates_nothing_below_it(tmp_path: Path) -> None:
    async with wired(tmp_path, failing("mark_as_neutral")) as loom:
        found = await one(loom, word="x")
        assert (found.data, found.confidence) == ({"said": "neutral"}, 0.5)
        assert Circuits.of(loom).escalations.open() == ()


async def test_escalate_to_admin_asks_a_person_and_fails(tmp_path: Path) -> None:
    async with wired(tmp_path, failing("escalate_to_admin")) as loom:
        assert not (await one(loom, word="x")).success
        [open_one] = Circuits.of(loom).escalations.open()
        assert open_one.about["circuit_id"] == "CX09_MINE"


# --- escalations -----------------------------------------------------------------------------------


async def test_three_failures_in_a_row_are_one_escalation_and_repeats_attach_to_it(tmp_path: Path) -> None:
    mine = failing("default_to_primary", fail=lambda inputs: inputs["word"] != "good")
    async with wired(tmp_path, mine) as loom:
        escalations = Circuits.of(loom).escalations
        for word in ("bad", "bad", "good", "bad", "bad"):
            await one(loom, word=word)
        assert escalations.open() == (), "a success in between begins anew"
        for _ in range(4):
            await one(loom, word="bad")
        [found] = escalations.open()
        assert (found.repeats, found.reason) == (3, "it failed 3 times in a row")
    async with wired(tmp_path, mine) as loom:
        escalations = Circuits.of(loom).escalations
        [found] = escalations.open()
        await escalations.close(found.escalation_id, by="vera", reason="the feed was mended")
        assert escalations.open() == ()
        with pytest.raises(StandingError):
            await escalations.close(found.escalation_id, by="vera", reason="again")
        await one(loom, word="bad")
        assert len(escalations.open()) == 1, "a cause that comes again is a new one"


@pytest.mark.parametrize(
    ("confidence", "band", "escalates"),
    [(0.86, "act", 0), (0.85, "monitor", 0), (0.5, "monitor", 0), (0.49, "escalate", 1), (0.0, "escalate", 1)],
)
async def test_confidence_has_three_bands(tmp_path: Path, confidence: float, band: str, escalates: int) -> None:
    @circuit(
        "CX10_SURE", category="test", inputs=(), outputs=("x",), failure_mode="mark_as_neutral", success_metric="n"
    )
    def sure(_: Mapping[str, Any]) -> Result:
        """Be so sure."""
        return Result(outputs={"x": 1}, confidence=confidence)

    async with wired(tmp_path, sure) as loom:
        await Circuits.of(loom).run("c", [("CX10_SURE", {})])
        [found] = await loom.traces.find(decision_type="circuit_execution")
        assert found.rule == band
        assert len(Circuits.of(loom).escalations.open()) == escalates


# --- what users bring ------------------------------------------------------------------------------


async def test_an_agent_that_is_bound_acts_only_on_what_has_succeeded(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        reply = await circuits.run("client-123", CHAIN)
        await circuits.require(
            "client-123", reply.execution_id, ["CX01_INTENT_DETECTION", "CX04_CONTENT_STRATEGY_SELECTION"]
        )
        with pytest.raises(CircuitDependencyError, match=r"no success of \[CX05_BRAND_GUARD\]"):
            await circuits.require("client-123", reply.execution_id, ["CX01_INTENT_DETECTION", "CX05_BRAND_GUARD"])
        with pytest.raises(CircuitDependencyError):
            await circuits.require("client-123", "another", ["CX01_INTENT_DETECTION"])


class Publish(Command[str]):
    client_id: str = "client-123"
    execution_id: str


@bound_to("CX01_INTENT_DETECTION", "CX04_CONTENT_STRATEGY_SELECTION")
class Publisher(Actor[None]):
    actor_type = "publisher"

    def __init__(self, circuits: Circuits) -> None:
        self.circuits = circuits

    async def execute(self, command: Publish) -> str:
        return f"published {command.execution_id}"


async def test_an_agent_that_is_marked_refuses_until_its_circuits_have_succeeded(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await loom.register(Publisher, lambda: Publisher(circuits))
        await circuits.run("client-123", CHAIN[:1], execution_id="e-1")
        with pytest.raises(ActorFailedError, match=r"no success of \[CX04_CONTENT_STRATEGY_SELECTION\]") as caught:
            await loom.actor(Publisher, "p").ask(Publish(execution_id="e-1"))
        assert caught.value.type_name == "CircuitDependencyError"
        await circuits.run("client-123", CHAIN, execution_id="e-2")
        assert await loom.actor(Publisher, "p").ask(Publish(execution_id="e-2")) == "published e-2"
        driven = [each async for each in loom.replay.verify("publisher/p")]
        assert [each.verdict for each in driven] == ["same", "same"], "what had succeeded is in the journal"


async def test_an_agent_that_is_marked_and_has_no_circuits_refuses(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        await loom.register(Publisher, lambda: Publisher(None))  # type: ignore[arg-type]
        with pytest.raises(ActorFailedError, match=r"expected self\.circuits"):
            await loom.actor(Publisher, "p").ask(Publish(execution_id="e-1"))


async def test_outputs_that_would_not_fit_fail_their_circuit_and_nobody_else(tmp_path: Path) -> None:
    @circuit(
        "CX11_LONG",
        category="test",
        inputs=("n",),
        outputs=("said",),
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    def long(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Say a lot."""
        return {"said": "x" * inputs["n"]}

    async with wired(tmp_path, long) as loom:
        circuits = Circuits.of(loom)
        for _ in range(7):
            reply = await circuits.run("c", [("CX11_LONG", {"n": 900_000})])
            assert not reply.success
            assert "expected at most 786,432" in str(reply.results[0].error)
        assert (await circuits.run("c", [("CX11_LONG", {"n": 700_000})])).success
        chain = await circuits.run("c", [("CX11_LONG", {"n": 500_000}), ("CX11_LONG", {"n": 500_000})])
        assert [each.success for each in chain.results] == [True, False]


def nested(levels: int) -> Any:
    return "x" if levels == 0 else [nested(levels - 1)]


@pytest.mark.parametrize(
    "said",
    [nested(40), nested(30), nested(25), list(range(9_000)), "\ud800", float("nan"), {1, 2}, "é" * 500_000],
    ids=range(8),
)
async def test_whatever_a_circuit_comes_to_its_actor_goes_on(tmp_path: Path, said: Any) -> None:
    @circuit(
        "CX13_ODD", category="test", inputs=(), outputs=("said",), failure_mode="escalate_to_admin", success_metric="n"
    )
    def odd(_: Mapping[str, Any]) -> dict[str, Any]:
        """Say something odd."""
        return {"said": said}

    async with wired(tmp_path, odd) as loom:
        circuits = Circuits.of(loom)
        for _ in range(7):
            assert not (await circuits.run("c", [("CX13_ODD", {})])).success
        assert (await circuits.run("c", CHAIN)).success


async def test_many_steps_together_stay_within_what_a_reply_may_hold(tmp_path: Path) -> None:
    @circuit(
        "CX14_MANY",
        category="test",
        inputs=("n",),
        outputs=("said",),
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    async def many(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Say many things, deep down."""
        return {"said": [nested(20)] * inputs["n"]}

    async with wired(tmp_path, many) as loom:
        for count in (1, 50, 300):
            reply = await Circuits.of(loom).run("c", [("CX14_MANY", {"n": count})] * 60)
            assert reply.results[0].success
        assert not reply.success, "what is too much fails its circuit, and the chain says so"


async def test_a_found_value_beside_a_given_one_that_does_not_fit_fails_the_circuit(tmp_path: Path) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [
        ("CX06_GENERATION_EXECUTION", {"content_strategy_id": "s", "approved_content": "x" * 400_000}),
        ("CX07_PERFORMANCE_FEEDBACK", {"platform_metrics": "m" * 500_000}),
    ]
    async with wired(tmp_path) as loom:
        for _ in range(7):
            reply = await Circuits.of(loom).run("c", steps)
            assert [each.success for each in reply.results] == [True, False]
            assert "inputs of" in str(reply.results[1].error)


async def test_a_circuit_that_runs_out_of_what_it_goes_through_fails_and_hangs_nobody(tmp_path: Path) -> None:
    @circuit(
        "CX15_NEXT", category="test", inputs=(), outputs=("n",), failure_mode="escalate_to_admin", success_metric="n"
    )
    def find(_: Mapping[str, Any]) -> dict[str, Any]:
        """Find nothing."""
        return {"n": next(iter(()))}

    async with wired(tmp_path, find) as loom, asyncio.timeout(10):
        reply = await Circuits.of(loom).run("c", [("CX15_NEXT", {})])
        assert reply.results[0].error == "RuntimeError: StopIteration: "


async def test_a_circuit_that_is_not_async_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    goes_on = threading.Event()

    @circuit(
        "CX12_STUCK", category="test", inputs=(), outputs=("n",), failure_mode="mark_as_neutral", success_metric="n"
    )
    def stuck(_: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for somebody."""
        goes_on.wait(30)
        return {"n": 1}

    async with wired(tmp_path, stuck) as loom:
        circuits = Circuits.of(loom)
        waiting = asyncio.create_task(circuits.run("a", [("CX12_STUCK", {})]))
        assert (await circuits.run("b", CHAIN)).success
        assert not waiting.done()
        goes_on.set()
        assert (await waiting).success


@pytest.mark.parametrize(
    ("draft", "rules"),
    [
        ("\u0130" * 50 + "miracle", {}),
        ("a" * 99_999, ["a"]),
        ("a" * 1_000_000, ["a"]),
        ("miracle " * 10_000, {}),
        ("x" * 90_000, [f"w{n}" for n in range(5_000)]),
        ("guaranteed " + "a" * 20_000, ["a" * 3_000 + f"{n:02}" for n in range(100)]),
        ("guaranteed " + "ab" * 49_000, ["ab" * 4_500 + f"{n:02}" for n in range(100)]),
        ("(((a+)+)+)+$" * 50, ["(((a+)+)+)+$"]),
    ],
    ids=range(8),
)
async def test_no_draft_keeps_the_brand_guard_for_long(tmp_path: Path, draft: str, rules: Any) -> None:
    async with wired(tmp_path) as loom, asyncio.timeout(10):
        reply = await Circuits.of(loom).run("c", [("CX05_BRAND_GUARD", {"draft_content": draft, "brand_rules": rules})])
        assert "miracle" not in str(reply.final_output)


async def test_circuits_come_from_yaml_as_well(tmp_path: Path) -> None:
    path = tmp_path / "circuits.yaml"
    path.write_text(
        """
circuits:
  - circuit_id: CX09_SHOUT
    category: decision
    purpose: Say it louder
    inputs: [word]
    outputs: [shouted]
    failure_mode: mark_as_neutral
    success_metric: loudness
"""
    )
    [shout] = load_circuits(path, {"CX09_SHOUT": lambda inputs: {"shouted": inputs["word"].upper()}})
    async with wired(tmp_path / "data", shout) as loom:
        reply = await Circuits.of(loom).run("c", [("CX09_SHOUT", {"word": "hey"})])
        assert reply.final_output == {"shouted": "HEY"}
    with pytest.raises(ConfigError, match="has no function"):
        load_circuits(path, {})
    whole = path.read_text()
    path.write_text(f"{whole}# {'x' * 1_048_576}\n")  # what is read of it would make sense
    with pytest.raises(ConfigError, match="more than"):
        load_circuits(path, {"CX09_SHOUT": lambda inputs: {"shouted": "?"}})
    for text in ("", "circuits: 3", "circuits: [{circuit_id: x}]", "a: ["):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_circuits(path, {})
    with pytest.raises(ConfigError):
        load_circuits(tmp_path / "none.yaml", {})


def test_a_definition_that_disagrees_with_itself_is_refused() -> None:
    good = CORE[0].definition.model_dump()
    for wrong in (
        {"circuit_id": "lower"},
        {"outputs": ()},
        {"failure_mode": "shrug"},
        {"aliases": {"other": ("x",)}},
        {"optional": ("business_profile",)},
        {"inputs": ("Not A Name",)},
    ):
        with pytest.raises(ValidationError):
            CircuitDefinition.model_validate({**good, **wrong})


async def test_clients_that_are_no_names_and_empty_chains_are_refused(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        for client in ("", "a/b", "a:b", " ", "x" * 101, "é\n"):
            with pytest.raises(InvalidNameError):
                await Circuits.of(loom).run(client, CHAIN)
        with pytest.raises(AdmissionError):
            await Circuits.of(loom).run("c", [])


# --- autonomy --------------------------------------------------------------------------------------


async def test_three_declines_rotate_to_the_best_active_other_strategy(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        for name, rate, active in (("s-1", 0.9, True), ("s-2", 0.6, True), ("s-3", 0.7, True), ("s-4", 0.99, False)):
            await circuits.add_strategy("c", "enterprise", name, success_rate=rate, by="mira", active=active)
        found = [
            await circuits.count_cycle("c", "enterprise", engagement=score, conversion=0.1)
            for score in (0.7, 0.68, 0.66, 0.42, 0.42, 0.6, 0.42, 0.42, 0.42)
        ]
        assert [each.decline_cycles for each in found] == [0, 0, 0, 1, 2, 0, 1, 2, 3]
        assert [each.new_strategy_id for each in found] == [None] * 8 + ["s-3"]
        last = found[-1].health
        assert (last.needs_correction, last.confidence, last.action_type) == (True, 0.95, "rotate_strategy")
        assert last.reason == "Engagement declined for 3 cycles (current: 0.42, baseline: 0.58)", "frozen at the first"
        health, state, correction = await circuits.health("c", "enterprise")
        assert health.needs_correction
        assert state is not None
        assert correction is not None
        assert (state["strategy_id"], correction["previous_strategy_id"]) == ("s-3", "s-1")
        assert await circuits.health("c", "enterprise") == (health, state, correction), "looking changes nothing"
        after = await circuits.count_cycle("c", "enterprise", engagement=0.1, conversion=0.1)
        assert (after.strategy_id, after.baseline) == ("s-3", None), "another strategy has a baseline of its own"


async def test_with_no_other_strategy_a_person_is_asked(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.add_strategy("c", "s", "only", success_rate=0.9, by="mira")
        for score in (0.7, 0.7, 0.3, 0.3, 0.3):
            counted = await circuits.count_cycle("c", "s", engagement=score, conversion=0.1)
        assert (counted.health.action_type, counted.health.confidence) == ("escalate_to_admin", 0.5)
        [open_one] = circuits.escalations.open()
        assert open_one.about == {"client_id": "c", "audience_segment": "s", "strategy_id": "only"}
        dashboard = await circuits.view.dashboard()
        assert dashboard["summary"] == {
            "total_corrections": 1,
            "successful_rotations": 0,
            "escalations": 1,
            "repeated_escalations": 0,
            "avg_correction_confidence": 0.5,
        }


@given(st.lists(st.floats(0, 1), max_size=12))
def test_a_decline_is_always_under_four_fifths_of_the_mean_before(scores: list[float]) -> None:
    from loom.circuits import strategy_decline

    declines = 0
    for place, score in enumerate(scores):
        before = scores[max(0, place - 10) : place]
        baseline = sum(before) / len(before) if before else None
        said = strategy_decline.evaluate_json({"engagement": score, "baseline": baseline, "declines_before": declines})
        declining = baseline is not None and score < 0.8 * baseline
        assert bool(said.details["declining"]) == declining
        declines = declines + 1 if declining else 0
        assert said.denied == (declines >= 3)


async def test_the_audit_filters_history_and_metrics_alike(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        for client in ("a", "b"):
            await circuits.run(client, CHAIN)
        await circuits.run("a", [("CX08_SELF_CORRECTION", {"engagement_score": "x", "baseline": 1})])
        of_a = await circuits.view.audit(client_id="a")
        assert (len(of_a["execution_history"]), of_a["metrics"]["total_executions"]) == (4, 4)
        assert of_a["metrics"]["success_rate"] == 0.75
        one_circuit = await circuits.view.audit(circuit_id="CX01_INTENT_DETECTION")
        assert one_circuit["metrics"]["total_executions"] == 2
        page = await circuits.view.audit(limit=3)
        rest = await circuits.view.audit(limit=10, before=page["next_before"])
        assert len(page["execution_history"]) + len(rest["execution_history"]) == 7
        assert (await circuits.view.audit(days=1e-10))["metrics"]["total_executions"] == 0
        before = await loom.queries.fetch("SELECT * FROM circuit_execution_logs", names=["circuits"])
        await loom.rebuild()
        after = await loom.queries.fetch("SELECT * FROM circuit_execution_logs", names=["circuits"])
        assert [tuple(row) for row in before] == [tuple(row) for row in after]
