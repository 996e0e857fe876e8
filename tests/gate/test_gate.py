"""The gate: one check after the other, executed once, watched, and no way round any of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Loom
from loom.errors import AdmissionError, ConfigError, InvalidNameError, StandingError
from loom.gate import (
    Complaint,
    Gate,
    PolicyProposal,
    ResponsibilityContract,
    contract_of,
    idempotency_key,
    load_contract,
    parse_json_block,
    self_check,
)
from loom.gate.contract import fits
from loom.gate.entries import ExecutedEntry
from loom.gate.proposal import read_proposal, sanitised
from tests.gate.support import AGENT, BY, CONTRACT, Desk, gated


async def executed(loom: Loom, agent: str = AGENT) -> list[ExecutedEntry]:
    return [each.entry async for each in loom.store.read(f"gate/{agent}") if isinstance(each.entry, ExecutedEntry)]


# --- outcomes ------------------------------------------------------------------------------------


async def test_what_nothing_speaks_against_is_executed_and_written_down(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        answer = await (await Desk(loom).arrive()).offer("i-1", 15.0)
        assert (answer.verdict, answer.code, answer.executed) == ("ACCEPT", "VALIDATION_PASSED", True)
        [entry] = await executed(loom)
        assert (entry.params["discount_offered"], entry.decision_id) == (15.0, answer.decision_id)
        trace = await loom.traces.get(answer.decision_id)
        assert trace.decision.outcome == {"verdict": "ACCEPT", "code": "VALIDATION_PASSED", "executes": True}


HOUR = timedelta(hours=1)
REJECTED: list[tuple[dict[str, Any], str]] = [
    ({"policy_kind": 7}, "SCHEMA_INVALID"),
    ({"confidence": "0.8"}, "SCHEMA_INVALID"),
    ({"confidence": True}, "SCHEMA_INVALID"),
    ({"confidence": float("nan")}, "SCHEMA_INVALID"),
    ({"confidence": 1.1}, "SCHEMA_INVALID"),
    ({"params": {}}, "SCHEMA_INVALID"),
    ({"params": {"discount_offered": "5"}}, "SCHEMA_INVALID"),
    ({"params": {"discount_offered": True}}, "SCHEMA_INVALID"),
    ({"params": {"discount_offered": float("inf")}}, "SCHEMA_INVALID"),
    ({"params": [1]}, "SCHEMA_INVALID"),
    ({"more": 1}, "SCHEMA_INVALID"),
    ({"valid_until": (datetime.now(UTC) - HOUR).isoformat()}, "TTL_EXPIRED"),
    ({"valid_until": "2026-01-01"}, "SCHEMA_INVALID"),
    ({"_token": None}, "RBAC_DENIED"),
    ({"_token": "0" * 64}, "RBAC_DENIED"),
    ({"policy_kind": "price_increase"}, "POLICY_TYPE_NOT_ALLOWED"),
    ({"confidence": 0.49}, "CONFIDENCE_TOO_LOW"),
    ({"context_hash": "0" * 64}, "STALE_CONTEXT"),
    ({"params": {"discount_offered": 15.000001}}, "DISCOUNT_EXCEEDS_CONTRACT"),
]


@pytest.mark.parametrize(("changes", "code"), REJECTED, ids=range(len(REJECTED)))
async def test_each_check_has_its_code_and_a_rejection_is_a_decision(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    async with gated(tmp_path) as loom:
        answer = await (await Desk(loom).arrive()).offer("i-1", **changes)
        assert (answer.verdict, answer.code, answer.executed) == ("REJECT", code, False)
        assert await executed(loom) == []
        trace = await loom.traces.get(answer.decision_id)
        assert trace.decision.outcome["code"] == code


async def test_the_first_check_that_fails_wins(tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("DISCOUNT_EXCEEDS_CONTRACT", {"params": {"discount_offered": 99}}),
        ("STALE_CONTEXT", {"context_hash": "0"}),
        ("CONFIDENCE_TOO_LOW", {"confidence": 0.1}),
        ("POLICY_TYPE_NOT_ALLOWED", {"policy_kind": "other"}),
        ("RBAC_DENIED", {"_token": None}),
        ("TTL_EXPIRED", {"valid_until": "2020-01-01T00:00:00Z"}),
        ("SCHEMA_INVALID", {"params": {"discount_offered": "99"}}),
    ]
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        everything: dict[str, Any] = {}
        for number, (code, change) in enumerate(wrong):
            everything |= change
            assert (await desk.offer(f"i-{number}", **everything)).code == code


async def test_a_flow_that_was_rejected_three_times_is_exhausted(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        codes = [(await desk.offer("i-1", 99, _attempt=attempt)).code for attempt in range(1, 4)]
        assert codes == ["DISCOUNT_EXCEEDS_CONTRACT"] * 3
        assert (await desk.offer("i-1", 5, _attempt=4)).code == "REASONING_EXHAUSTION"
        assert (await desk.offer("i-2", 5)).code == "VALIDATION_PASSED", "another flow is another matter"


async def test_nobody_without_a_token_exhausts_a_flow_of_somebody_who_has_one(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for _ in range(5):
            assert (await desk.offer("i-1", 5, _token="0" * 64)).code == "RBAC_DENIED"
        assert (await desk.offer("i-1", 5)).code == "VALIDATION_PASSED"


async def test_validators_of_ones_own_reject_or_fail_closed_and_escalate_to_whom_the_contract_names(
    tmp_path: Path,
) -> None:
    def whales(proposal: PolicyProposal, context: Mapping[str, Any]) -> Complaint | None:
        discount: Any = proposal.params["discount_offered"]
        if discount == 13:
            raise RuntimeError("bad luck")
        if discount > 12:
            return Complaint("NEEDS_A_LOOK", "over 12 %", escalate=True)
        return Complaint("ODD", "1 % is no offer") if discount == 1 else None

    async with gated(tmp_path, validators=[whales]) as loom:
        desk = await Desk(loom).arrive()
        found = [await desk.offer(f"i-{number}", discount) for number, discount in enumerate((5, 1, 12.5, 13))]
        assert [(each.verdict, each.code) for each in found] == [
            ("ACCEPT", "VALIDATION_PASSED"),
            ("REJECT", "ODD"),
            ("REJECT", "ESCALATION_UNADDRESSED"),
            ("REJECT", "VALIDATOR_FAILED"),
        ]
        assert len(await executed(loom)) == 1


# --- once ----------------------------------------------------------------------------------------


async def test_the_same_input_of_a_run_is_executed_once_whatever_the_attempt(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    async def sink(proposal: PolicyProposal, key: str) -> dict[str, Any]:
        calls[key] += 1
        return {"sent": proposal.params["discount_offered"]}

    async with gated(tmp_path, executor=sink) as loom:
        desk = await Desk(loom).arrive()
        first = await desk.offer("i-1", 5)
        again = await desk.offer("i-1", 5.0, _attempt=2)
        assert (first.executed, again.executed, again.repeated) == (True, False, True)
        assert again.result == first.result == {"sent": 5}
        assert first.idempotency_key == again.idempotency_key
        other = await Desk(loom, run_id="another").arrive()
        assert (await other.offer("i-1", 5)).executed, "another run is another flow"
    async with gated(tmp_path, executor=sink) as loom:
        assert (await (await Desk(loom).arrive()).offer("i-1", 5)).repeated, "also after a restart"
        assert len(await executed(loom)) == 2
    assert sorted(calls.values()) == [1, 1]


async def test_an_executor_that_fails_executes_nothing(tmp_path: Path) -> None:
    from loom.errors import ActorFailedError

    async def broken(proposal: PolicyProposal, key: str) -> None:
        raise RuntimeError("no connection")

    async with gated(tmp_path, executor=broken) as loom:
        desk = await Desk(loom).arrive()
        with pytest.raises(ActorFailedError):
            await desk.offer("i-1", 5)
        assert await executed(loom) == []


def test_a_key_leaves_out_the_attempt_and_knows_one_five() -> None:
    one = idempotency_key("flow", "main", {"a": 5, "b": [1.0, "x"]})
    assert one == idempotency_key("flow", "main", {"b": [1, "x"], "a": 5.0})
    assert one != idempotency_key("flow", "main", {"a": "5", "b": [1, "x"]})
    assert one != idempotency_key("flow", "other", {"a": 5, "b": [1, "x"]})
    assert len(one) == 64


# --- contracts, handshakes, standings ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "requirement", "fitting"),
    [
        ("1.2.0", "1.x", True),
        ("1.2.0", "1.2", True),
        ("1.2.0", "1.1", True),
        ("1.2.0", "1.3", False),
        ("2.0.0", "1.x", False),
        ("0.9.1", "0.9", True),
        ("10.0.0", "1.x", False),
    ],
)
def test_a_requirement_is_a_major_and_a_minor_at_least(version: str, requirement: str, *, fitting: bool) -> None:
    assert fits(version, requirement) == fitting


@pytest.mark.parametrize("nonsense", ["1", "x", "1.x.x", "", "01.2", "1.2\n", "^1.2"])
def test_a_requirement_that_is_none_is_refused(nonsense: str) -> None:
    with pytest.raises(AdmissionError):
        fits("1.2.0", nonsense)


async def test_a_handshake_says_why_it_is_refused(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        gate = Gate.of(loom)

        async def code(contract_id: str, requirement: str, contract_hash: str) -> str:
            shaken = await gate.handshake(
                AGENT, contract_id=contract_id, requirement=requirement, contract_hash=contract_hash
            )
            assert shaken.ok == (shaken.code == "HANDSHAKE_OK")
            return shaken.code

        assert await code("retention", "1.x", CONTRACT.hash) == "CONTRACT_UNKNOWN"
        await gate.contracts.register(CONTRACT, by=BY)
        assert await code("retention", "2.x", CONTRACT.hash) == "VERSION_MISMATCH"
        assert await code("retention", "1.3", CONTRACT.hash) == "VERSION_MISMATCH"
        assert await code("retention", "1.x", "0" * 64) == "CONTRACT_HASH_MISMATCH"
        assert await code("retention", "1.2", CONTRACT.hash) == "HANDSHAKE_OK"
        other = CONTRACT.model_copy(update={"limits": {"discount_offered": 99.0}})
        with pytest.raises(AdmissionError, match="raise the number"):
            await gate.contracts.register(other, by=BY)
        with pytest.raises(InvalidNameError):
            await gate.contracts.register(CONTRACT.model_copy(update={"version": "1.3.0"}), by=" ")


async def test_an_agent_that_is_suspended_stays_so_whatever_it_shakes(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        await loom.standings.suspend(AGENT, by="mira", reason="to look into it")
        assert (await desk.offer("i-1")).code == "RBAC_DENIED"
        await desk.arrive()
        assert (await desk.offer("i-2")).code == "RBAC_DENIED"
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        assert (await desk.offer("i-3")).code == "RBAC_DENIED", "a restart does not free it either"
        with pytest.raises(InvalidNameError):
            await loom.standings.reinstate(AGENT, by="", reason="nobody")
        with pytest.raises(AdmissionError):
            await loom.standings.reinstate(AGENT, by="mira", reason=" ")
        await loom.standings.reinstate(AGENT, by="mira", reason="it was a false alarm")
        assert (await desk.offer("i-4")).code == "VALIDATION_PASSED"
        with pytest.raises(StandingError):
            await loom.standings.reinstate(AGENT, by="mira", reason="again")
        await loom.standings.retire(AGENT, by="mira", reason="replaced")
        assert (await desk.offer("i-5")).code == "RBAC_DENIED"
        with pytest.raises(StandingError):
            await loom.standings.reinstate(AGENT, by="mira", reason="never")


async def test_a_token_is_one_agents_own_and_ends_with_the_next_handshake(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        one, two = await Desk(loom).arrive(), await Desk(loom, agent="other").arrive()
        assert (await one.offer("i-1", _token=two.token)).code == "RBAC_DENIED"
        old = one.token
        await one.arrive()
        assert (await one.offer("i-2", _token=old)).code == "RBAC_DENIED"
        assert (await one.offer("i-3")).code == "VALIDATION_PASSED"
        raw = b"".join([each.body or b"" async for each in loom.store.read_all()])
        assert str(one.token).encode() not in raw, "a token is never kept"


async def test_a_context_is_stale_once_the_state_of_the_agent_has_changed(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        flow = desk.gate.flow("run", "i-1")
        compiled = await desk.gate.compile(AGENT, flow, {"a": 1})
        await desk.gate.set_state(AGENT, {"season": "autumn"})
        assert (await desk.offer("i-1", context_hash=compiled.context_hash, _attempt=1)).code == "STALE_CONTEXT"
        fresh = await desk.gate.compile(AGENT, flow, {"a": 1})
        assert fresh.context["state"] == {"season": "autumn"}
        assert fresh.context_hash != compiled.context_hash


def test_a_contract_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    for text in ("", "[]", "a: [", "contract_id: x\nversion: 1\n", "max_discount_pct: .nan\n"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_contract(path)
    path.write_text(f"# {'x' * 262_144}\n")
    with pytest.raises(ConfigError, match="more than"):
        load_contract(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_contract(tmp_path / "none.yaml")
    written = CONTRACT.model_dump() | {"limits": {}, "max_discount_pct": 15.0}
    assert contract_of(written) == CONTRACT


# --- anything at all ---------------------------------------------------------------------------------

json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_leaves=10,
)
fields = ("policy_kind", "params", "justification", "confidence", "context_hash", "valid_until", "more")
proposals = st.one_of(json_like, st.dictionaries(st.sampled_from(fields), json_like))


@given(proposals)
def test_anything_is_read_or_refused_with_a_reason(raw: object) -> None:
    value, problem = sanitised(raw)
    if problem is None:
        proposal, problem = read_proposal(value)
        assert (proposal is None) != (problem is None)
    else:
        assert value is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(proposals, min_size=1, max_size=4))
async def test_no_proposal_whatever_it_is_breaks_the_gate(
    tmp_path_factory: pytest.TempPathFactory, raws: list[object]
) -> None:
    async with gated(tmp_path_factory.mktemp("gate")) as loom:
        desk = await Desk(loom).arrive()
        for number, raw in enumerate(raws):
            flow = desk.gate.flow("run", f"i-{number}")
            answer = await desk.gate.submit(AGENT, flow, raw, token=desk.token)
            assert answer.verdict == "REJECT"
        assert (await desk.offer("good")).code == "VALIDATION_PASSED"


async def test_what_is_too_large_too_deep_or_no_text_is_rejected_and_noted(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for number, raw in enumerate((deep, "x" * 2_000_000, {"policy_kind": "\ud800"}, {"n": 2**80}, object())):
            answer = await desk.gate.submit(AGENT, desk.gate.flow("run", f"i-{number}"), raw, token=desk.token)
            assert (answer.verdict, answer.code) == ("REJECT", "SCHEMA_INVALID")


# --- the cycle -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": {"b": 2}}\n```\nDone {x}', {"a": {"b": 2}}),
        ('I say {"a": "}"} and that is it', {"a": "}"}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('```json\n{broken\n```\nbut {"a": 1}', None),
        ("nothing here", None),
        ("[1, 2]", None),
        ("{" * 100_000, None),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, None),
    ],
    ids=range(9),
)
def test_what_a_model_says_is_read_defensively(text: str, found: object) -> None:
    assert parse_json_block(text) == found


@given(st.text())
def test_reading_what_a_model_says_never_raises(text: str) -> None:
    found = parse_json_block(text)
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    ("proposal", "code"),
    [
        ({"policy_kind": "other"}, "self_check_policy_kind"),
        ({"policy_kind": "retention_discount", "confidence": "high"}, "self_check_confidence"),
        ({"policy_kind": "retention_discount", "confidence": True}, "self_check_confidence"),
        ({"policy_kind": "retention_discount", "confidence": 0.5}, "self_check_discount_type"),
        (
            {"policy_kind": "retention_discount", "confidence": 0.5, "params": {"discount_offered": "5"}},
            "self_check_discount_type",
        ),
        ({"policy_kind": "retention_discount", "confidence": 0.5, "params": {"discount_offered": 5}}, None),
    ],
)
def test_an_agent_objects_to_its_own_proposal_in_code(proposal: dict[str, Any], code: str | None) -> None:
    found = self_check(proposal, CONTRACT)
    assert (None if found is None else found.code) == code


class Says:
    def __init__(self, *answers: str | Exception) -> None:
        self._answers = list(answers)

    async def complete(self, prompt: str) -> str:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_cycle_that_comes_to_nothing_is_recorded(tmp_path: Path) -> None:
    told = '{"narrative": "they leave"}'
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        flow = desk.gate.flow("run", "i-1")
        compiled = await desk.gate.compile(AGENT, flow, {})
        for model in (Says("what?"), Says(told, "no idea"), Says(told, '{"policy_kind": "x"}'), Says(OSError("down"))):
            await desk.gate.reason(AGENT, flow, compiled, model)
        rows = await loom.queries.fetch(
            "SELECT json_extract(detail_json, '$.code') AS code FROM decision_audit_events "
            "WHERE event = 'ROA_CYCLE_FAILED' ORDER BY id",
            names=["gate"],
        )
        assert [row["code"] for row in rows] == [
            "explain_json_parse_failed",
            "policy_json_parse_failed",
            "self_check_policy_kind",
            "model_failed",
        ]


async def test_the_audit_of_a_run_reads_in_order_by_the_query_that_people_run(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        async with loom.runs.run(kind="simulation", run_id="run_36"):
            desk = await Desk(loom, run_id="run_36").arrive()
            await desk.offer("i-1", 5)
            await loom.reactors.reached()
        rows = await loom.queries.fetch(
            """
            SELECT dfid, event, json_extract(detail_json, '$.simulation_id') AS sim,
                   json_extract(detail_json, '$.discount_offered') AS discount_pct
            FROM decision_audit_events
            WHERE json_extract(detail_json, '$.simulation_id') = 'run_36'
            ORDER BY id ASC;
            """,
            names=["gate"],
        )
        assert [row["event"] for row in rows] == [
            "SIMULATION_START",
            "CONTEXT_COMPILED",
            "POLICY_PROPOSAL",
            "DIM_VALIDATION",
            "AGENT_DECISION",
            "RETENTION_EXECUTED",
            "SIMULATION_END",
        ]
        assert {row["dfid"] for row in rows[1:-1]} == {desk.gate.flow("run_36", "i-1").flow_id}
        assert [row["discount_pct"] for row in rows] == [None, None, None, None, None, 5, None]
        before = await loom.queries.fetch("SELECT * FROM decision_audit_events", names=["gate"])
        await loom.rebuild()
        after = await loom.queries.fetch("SELECT * FROM decision_audit_events", names=["gate"])
        assert [tuple(row) for row in before] == [tuple(row) for row in after]


def test_a_contract_is_data_with_bounds() -> None:
    from pydantic import ValidationError

    for wrong in ({"version": "1"}, {"minimum_confidence": 2}, {"allowed_policy_types": ()}, {"contract_id": "A B"}):
        with pytest.raises(ValidationError):
            ResponsibilityContract.model_validate(CONTRACT.model_dump() | wrong)
