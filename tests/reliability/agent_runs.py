"""What the children of the zygote do with agents of pydantic-ai: run them as turns until they are killed.

The world outside is a file of lines: each request of the model, each payment with its key, each parcel. A process dies
right after one of them, before it can be journaled, or at any moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_ai import Agent, RunContext, Tool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel

from loom import Actor, Command, Loom, LoomConfig, effect_key
from loom.decisions.entries import ApprovalRequestedEntry
from loom.errors import LoomError, TurnStuckError
from loom.integrations.pydantic_ai import AgentActor, LoomDurability, handled
from loom.spend.config import ModelBudgetConfig, SpendConfig

TURNS = 12
PRICE_USD = 0.01
CAP_CALLS = 40
"""The calls that a day's budget allows: more than twelve turns need, less than they need when calls are lost."""

NO_KEY = "none"


class Mail(Command[str]):
    number: int


class World:
    """Where the lines go, and after how many of them the process dies."""

    def __init__(self) -> None:
        self.file = -1
        self.dies_after = 0

    def note(self, *words: object) -> None:
        """Have the world remember something: from then on it has happened, whatever becomes of this process."""
        os.write(self.file, (" ".join(map(str, words)) + "\n").encode())
        self.dies_after -= 1
        if self.dies_after == 0:
            os.kill(os.getpid(), signal.SIGKILL)


WORLD = World()


def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Look the order up, pay it back, send another parcel, and say so."""
    said = sum(isinstance(message, ModelResponse) for message in messages)
    number = str(messages[0].parts[-1].content)  # type: ignore[union-attr]
    WORLD.note("model", number, said, datetime.now(UTC).date())
    calls = [("order", {"number": number}), ("refund", {"number": number}), ("ship", {"number": number})]
    return ModelResponse(parts=[ToolCallPart(*calls[said])] if said < len(calls) else [TextPart(f"done {number}")])


class House(WrapperModel):
    """A model that is not known to be free: its price is that of the budget for unknown ones."""

    @property
    def system(self) -> str:
        """The provider."""
        return "house"


async def order(number: str) -> str:
    """Look an order up."""
    await asyncio.sleep(0)
    return number


async def refund(ctx: RunContext[Any], number: str) -> str:
    """Pay money back: the provider recognises a repetition by its key."""
    try:
        key = effect_key()
    except LoomError:  # the control
        key = f"{os.urandom(8).hex()}"
    WORLD.note("refund", number, key)
    await asyncio.sleep(0)
    return "paid"


async def ship(number: str) -> str:
    """Send a parcel: done twice, there are two."""
    WORLD.note("ship", number)
    await asyncio.sleep(0)
    return "sent"


def agent(*, durable: bool) -> Agent[None, str]:
    """Return the agent, with the capability or, as the control, without."""
    return Agent(
        House(FunctionModel(answer, model_name="house")),
        name="desk",
        tools=[
            Tool(order, metadata=handled("look_up")),
            Tool(refund, requires_approval=durable, metadata=handled("repeatable", approver="lead")),
            Tool(ship),
        ],
        capabilities=[LoomDurability()] if durable else [],
    )


class Desk(AgentActor):
    agent = agent(durable=True)

    async def execute(self, command: Mail) -> str:
        return str(await self.run_agent(str(command.number)))


class BareDesk(Actor[None]):
    """The same agent as a plain part of a turn: nothing of it is journaled."""

    agent = agent(durable=False)

    async def execute(self, command: Mail) -> str:
        return (await self.agent.run(str(command.number))).output


class Granting:
    """Grants in the background, as a person would from elsewhere."""

    loom: Loom

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        """Grant what is asked."""
        with suppress(LoomError):
            await self.loom.approvals.grant(request.approval_id, by="mira")


def run_until_killed(path: str, outside: str, dies_after: int, alarm_ms: float, durable: bool) -> None:  # noqa: FBT001
    """Run all turns; die after so many lines, or after so long; a process that comes to its end says so."""
    if alarm_ms:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, alarm_ms / 1_000)
    asyncio.run(run(Path(path), Path(outside), dies_after, durable=durable, settles=not (dies_after or alarm_ms)))


async def run(path: Path, outside: Path, dies_after: int, *, durable: bool, settles: bool) -> None:
    """Send every mail, and wait for the replies. A last process has a person look at what is in doubt."""
    WORLD.file = os.open(outside, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    WORLD.dies_after = dies_after
    granting, cls = Granting(), Desk if durable else BareDesk
    budget = ModelBudgetConfig(max_usd_per_day=PRICE_USD * CAP_CALLS, unknown_price_usd=PRICE_USD)
    config = LoomConfig.model_validate({"data": path, "workspace": "default", "actors": {"resume_attempts": 100}})
    config = config.model_copy(update={"sections": {"budgets": SpendConfig(models=budget)}})
    loom = granting.loom = Loom.open(config, actors=[cls], by="worker", approver=granting)
    async with loom:
        at_once = asyncio.Semaphore(4)

        async def one(number: int) -> None:
            async with at_once:
                with suppress(LoomError):  # over the budget, or in doubt
                    await loom.actor(cls, f"{number % 3}").ask(Mail(number=number), id=f"m-{number}", by="ada")

        await asyncio.gather(*(one(number) for number in range(TURNS)))
        if settles and durable:
            await _settle(loom, outside)


async def _settle(loom: Loom, outside: Path) -> None:
    """Be the person: look whether a parcel was sent, and have it done again, or abandon the turn."""
    for number in range(TURNS):
        reference = loom.actor(Desk, f"{number % 3}")
        try:
            await reference.ask(Mail(number=number), id=f"m-{number}", by="ada")
        except TurnStuckError:
            if f"ship {number}\n" in outside.read_text(encoding="utf-8"):
                await loom.turns.abandon(f"m-{number}", by="mira", reason="it was sent")
            else:
                await loom.turns.retry(f"m-{number}", by="mira")
                with suppress(LoomError):
                    await reference.ask(Mail(number=number), id=f"m-{number}", by="ada")
        except LoomError:
            continue
