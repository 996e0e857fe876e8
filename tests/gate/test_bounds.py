"""Floors: what is under one is refused, and a number below zero is, wherever it stands, unless a floor allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import ConfigError
from loom.gate import GateFacts, GateParams, PolicyProposal, contract_of, gate_validation, self_check
from loom.gate.validation import bound_broken, missing_number
from tests.gate.support import CONTRACT, Desk, gated


def floored(**floors: float) -> Any:
    return CONTRACT.model_copy(update={"version": "1.3.0", "floors": floors})


@pytest.mark.parametrize("offer", [-200, -1e308, -0.000001, -1])
async def test_an_offer_below_zero_is_refused_unless_a_floor_allows_it(tmp_path: Path, offer: float) -> None:
    async with gated(tmp_path) as loom:
        answer = await (await Desk(loom).arrive()).offer("i-1", offer)
        assert (answer.verdict, answer.code, answer.executed) == ("REJECT", "DISCOUNT_BELOW_CONTRACT", False)
        assert answer.why == f"discount_offered {offer} is under 0"
        trace = await loom.traces.get(answer.decision_id)
        assert trace.decision.outcome["code"] == "DISCOUNT_BELOW_CONTRACT"


async def test_a_floor_is_inclusive_and_may_be_on_either_side_of_zero(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive(floored(discount_offered=-5.0))
        codes = [(await desk.offer(f"a-{number}", offer)).code for number, offer in enumerate((-5, -5.01, 0, 15, 16))]
        assert codes == [
            "VALIDATION_PASSED",
            "DISCOUNT_BELOW_CONTRACT",
            "VALIDATION_PASSED",
            "VALIDATION_PASSED",
            "DISCOUNT_EXCEEDS_CONTRACT",
        ]
        higher = await Desk(loom, agent="other").arrive(
            CONTRACT.model_copy(update={"contract_id": "higher", "floors": {"discount_offered": 2.0}})
        )
        codes = [(await higher.offer(f"b-{number}", offer)).code for number, offer in enumerate((2, 1.99, -3))]
        assert codes == ["VALIDATION_PASSED", "DISCOUNT_BELOW_CONTRACT", "DISCOUNT_BELOW_CONTRACT"]


async def test_a_credit_is_refused_wherever_it_hides(tmp_path: Path) -> None:
    hidden: list[tuple[dict[str, Any], str]] = [
        ({"credit": -1}, "CREDIT_BELOW_CONTRACT"),
        ({"adjustment": {"amount": -1}}, "ADJUSTMENT_AMOUNT_BELOW_CONTRACT"),
        ({"parts": [1, {"x": [-2]}]}, "PARTS_X_BELOW_CONTRACT"),
        ({"\u202e!": -1}, "PARAMETER_BELOW_CONTRACT"),
    ]
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for number, (more, code) in enumerate(hidden):
            answer = await desk.offer(f"i-{number}", params={"discount_offered": 5, **more})
            assert (answer.verdict, answer.code) == ("REJECT", code)
        passed = await desk.offer("i-9", params={"discount_offered": 5, "note": "-1", "at": [0, -0.0], "on": False})
        assert passed.code == "VALIDATION_PASSED"


def test_a_floor_of_a_number_further_down_is_named_by_its_path() -> None:
    contract = floored(**{"adjustment.amount": -2.0})
    for amount, broken in ((-2, False), (-3, True)):
        proposal = proposing({"discount_offered": 1, "adjustment": {"amount": amount}})
        assert (bound_broken(proposal, contract)[0] is not None) == broken
    assert missing_number(proposing({"discount_offered": 1}), contract) is None


def test_a_parameter_with_a_floor_has_to_be_there_and_to_be_a_number() -> None:
    contract = floored(price=10.0)
    for wrong in ({}, {"price": "12"}, {"price": True}, {"price": None}):
        assert (
            missing_number(proposing({"discount_offered": 1, **wrong}), contract) == "params.price: expected a number"
        )
    assert missing_number(proposing({"discount_offered": 1, "price": 12}), contract) is None
    said = {"policy_kind": "retention_discount", "confidence": 0.8, "params": {"discount_offered": 1}}
    failure = self_check(said, contract)
    assert failure is not None
    assert failure.code == "self_check_price_type"


def test_a_contract_whose_floor_is_over_its_ceiling_is_refused() -> None:
    written = CONTRACT.model_dump() | {"limits": {}, "max_discount_pct": 15.0, "min_discount_pct": 16.0}
    with pytest.raises(ConfigError, match=r"floor \[16\] of \[discount_offered\] is over its ceiling \[15\]"):
        contract_of(written)
    assert contract_of({**written, "min_discount_pct": -5}).floors == {"discount_offered": -5.0}


def proposing(params: dict[str, Any]) -> PolicyProposal:
    return PolicyProposal(
        policy_kind="retention_discount", params=params, justification="why", confidence=0.8, context_hash="0"
    )


numbers = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False))
parameters = st.recursive(
    st.one_of(numbers, st.text(max_size=5), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


def least(value: Any) -> float:
    """Return the least number in a value, in another way than the gate does it."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return min((least(each) for each in inner), default=0.0)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


@given(st.dictionaries(st.text(max_size=8), parameters, max_size=4))
def test_nothing_below_zero_ever_passes_a_contract_without_floors(params: dict[str, Any]) -> None:
    contract = CONTRACT.model_copy(update={"limits": {}})
    code, why = bound_broken(proposing(params), contract)
    assert (code is not None) == (why is not None) == (least(params) < 0)
    if code is not None:
        assert code.endswith("_BELOW_CONTRACT")
        assert code.replace("_", "").isalnum()


def test_every_version_of_the_rule_keeps_floors_also_one_that_a_person_adopted_before_there_were_any() -> None:
    facts = GateFacts(
        rejections=0,
        token_valid=True,
        policy_kind="a",
        allowed_policy_types=("a",),
        confidence=1.0,
        context_fresh=True,
        exceeded="DISCOUNT_BELOW_CONTRACT",
        exceeded_why="-200 is under 0",
    )
    for version in (gate_validation, gate_validation.with_params(GateParams(max_rejections=9))):
        assert version.evaluate(facts).denied


async def test_a_registered_floor_counts_after_a_restart(tmp_path: Path) -> None:
    contract = floored(discount_offered=-5.0)
    async with gated(tmp_path) as loom:
        await Desk(loom).arrive(contract)
    async with gated(tmp_path) as loom:
        desk = await Desk(loom).arrive(contract)
        assert (await desk.offer("i-1", -5)).code == "VALIDATION_PASSED"
        assert (await desk.offer("i-2", -6)).code == "DISCOUNT_BELOW_CONTRACT"
