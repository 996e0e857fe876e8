"""An actor judged by a table: exact values are recorded in the table's form, a float for a decimal is refused."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from loom import Actor, Command, Loom
from loom.errors import ActorFailedError
from loom.policies import Table

OFFERS = Table.of(
    {
        "format": "loom.table/1",
        "name": "offers",
        "facts": {"rate": {"type": "decimal"}, "months": {"type": "integer"}},
        "rules": [{"name": "low", "when": [["rate", "<=", "0.10"]], "effect": "allow", "why": "low"}],
        "otherwise": {"name": "high", "effect": "deny", "why": "high"},
    },
    checked=False,
)


class Offer(Command[str]):
    as_float: bool = False


class Offers(Actor):
    policy = OFFERS

    async def execute(self, command: Offer) -> str:
        facts: Mapping[str, object] = {"rate": 0.05 if command.as_float else Decimal("5E-2"), "months": 12.0}
        evaluation = self.evaluate(facts)
        await self.record_decision(rationale="asked", outcome={"effect": evaluation.effect})
        return evaluation.effect


async def test_exact_values_are_recorded_and_judged_in_the_form_of_the_table() -> None:
    async with Loom.open("sqlite://", actors=[Offers]) as loom:
        assert await loom.actor(Offers, "a").ask(Offer()) == "allow"
        [decision] = await loom.traces.find()
        trace = await loom.traces.get(decision.decision_id)
        audited = await loom.policies.audit()

    assert trace.decision.facts == {"rate": "0.05", "months": 12}
    assert audited.confirmed == 1


async def test_a_float_for_a_decimal_fails_the_turn_and_says_what_to_write() -> None:
    async with Loom.open("sqlite://", actors=[Offers]) as loom:
        with pytest.raises(ActorFailedError, match=r'expected a decimal.*write Decimal\("0.05"\) or "0.05"'):
            await loom.actor(Offers, "a").ask(Offer(as_float=True))
        assert await loom.traces.find() == ()
