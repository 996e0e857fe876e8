"""In a scenario time passes by itself: a turn that sleeps for a year is tested at once, and resumed at every entry."""

from __future__ import annotations

from datetime import timedelta

from loom import Actor, Command, Message
from loom.testing import Scenario

YEAR_S = 365 * 86_400.0


class Paid(Message):
    amount: int


class Order(Command[str]):
    """Wait for a year, for consent, and for a payment."""


class Shop(Actor):
    async def execute(self, command: Order) -> str:
        began = await self.now(key="began")
        await self.sleep(YEAR_S)
        slept = await self.now(key="slept") - began
        approval = await self.request_approval(approver="vp", reason="please", timeout_s=60.0)
        paid = await self.wait_for(Paid, timeout_s=YEAR_S)
        again = await self.wait_for(Paid, timeout_s=YEAR_S)
        return f"{slept >= timedelta(days=365)} {approval.granted} {paid and paid.amount} {again}"


async def test_time_passes_where_a_turn_only_waits_and_messages_can_be_given() -> None:
    happened = await Scenario(Shop, always_resume=True).given(Paid(amount=7)).when(Order())
    happened.then(reply="True True 7 None")
    assert happened.kinds.count("wait_begun") == 3


async def test_time_passes_for_what_is_given_too() -> None:
    happened = await Scenario(Shop).given(Order(), Paid(amount=3)).when(Order())
    happened.then(reply="True True 3 None")
