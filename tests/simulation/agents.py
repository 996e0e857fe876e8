"""The actors that are simulated, and the world outside, which counts what is done and is sometimes down."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, ClassVar, Literal

from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from loom.actors import Actor, Command
from loom.actors.command import Message
from loom.actors.entries import EffectPerformedEntry
from loom.actors.retrying import Retry, exponential
from loom.decisions.analysis import Analysis, RiskAssessment
from loom.decisions.entries import DecisionJournalEntry
from loom.enrichment import CriticAnswer
from loom.enrichment.critic import CriticRequest
from loom.errors import (
    ActorFailedError,
    AskCycleError,
    CriticError,
    EffectFailedError,
    LookupFailedError,
    ModelCallError,
)
from loom.journal import Entry
from tests.actors.agents import Case, discount
from tests.simulation.machine import Machine

__all__ = ["Clerk", "Critic", "NotedEntry", "Poke", "Show", "Step", "Tally", "Work", "World"]

Verb = Literal[
    "fetch",
    "note",
    "effect",
    "once",
    "decide",
    "approve",
    "ask",
    "tell",
    "sleep",
    "draw",
    "retry",
    "wait",
    "earlier",
    "model",
]

WORST_CASE = 40_000


class NotedEntry(Entry):
    """A note of an actor."""

    kind: ClassVar[str] = "test.simulation.noted"

    text: str


class Step(BaseModel):
    """One step of a program. Its key is one of a kind in the program."""

    verb: Verb
    key: str
    to: str = ""
    """The actor that is asked, or to which something is sent."""
    for_s: float = 0.0
    program: list[Step | list[list[Step]]] = []
    """What an actor does that is asked, or to which something is sent."""


Program = list[Step | list[list[Step]]]
"""Steps, and branches that run at the same time."""


class Work(Command[dict[str, Any]]):
    """Do what a program says; the reply says what each step gave."""

    program: list[Step | list[list[Step]]]


class Show(Command[dict[str, Any]]):
    """Reply with the state."""


class Poke(Message):
    """Ends a wait."""

    words: str


class Tally(BaseModel):
    """What was folded, in its order."""

    notes: list[str] = []
    effects: list[str] = []
    decisions: int = 0


class _Priced(FunctionModel):
    """A function that costs what a model of OpenAI's does, by the price list."""

    @property
    def system(self) -> str:
        """The provider whose prices it has."""
        return "openai"


class World:
    """What is outside of loom. It is never restarted, and remembers what was done to it."""

    def __init__(self, machine: Machine, dice: random.Random) -> None:
        self.machine = machine
        self.dice = dice
        self.effects: Counter[str] = Counter()
        self.once: set[str] = set()
        self.billed_micro_usd = 0
        self.critic_calls = 0
        self.faults = 0.0
        """The chance that a call outside fails, and that it takes long."""
        self.broken: list[str] = []
        """The laws that were seen broken, at the moment when that was seen."""
        self.model_calls = 0
        self.model = _Priced(self._answer, model_name="gpt-4o-mini")
        """A model that costs money; it fails, or takes long."""

    async def look_up(self, key: str) -> dict[str, Any]:
        """Return something, or fail, or take long."""
        self.machine.note(f"look-up {key}")
        await self._trouble(f"no {key}")
        return {"key": key}

    async def perform(self, key: str, *, journal: str, command_id: str, once: bool) -> str:
        """Do something that others see."""
        intended = any(
            each.kind == "effect_intended" and f'"{key}"'.encode() in each.body
            for each in self.machine.disk.by_turn.get((journal, command_id), ())
        )
        if not intended:
            self.broken.append(f"effect [{key}] began before its intent was durable")
        before = self.dice.random()
        if self.faults and before < self.faults / 2:
            await asyncio.sleep(before)
        self.effects[key] += 1
        if once:
            self.once.add(key)
        self.machine.note(f"effect {key} time {self.effects[key]}")
        if not once:
            await self._trouble(f"no {key}")
        else:
            await asyncio.sleep(self.dice.random() * 0.01)
        return f"did {key}"

    async def _answer(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.model_calls += 1
        reserved = sum(each.kind == "model_spend_reserved" for each in self.machine.disk.entries)
        if self.model_calls > reserved:
            self.broken.append("a model was called before its reservation was durable")
        self.machine.note(f"model call {self.model_calls}")
        await self._trouble("no model")
        usage = RequestUsage(input_tokens=100, output_tokens=self.dice.randrange(100))
        return ModelResponse(parts=[TextPart("an answer")], usage=usage, timestamp=self.machine.moment())

    async def _trouble(self, words: str) -> None:
        drawn = self.dice.random()
        if drawn < self.faults:
            kind = self.dice.randrange(3)
            if kind == 0:
                raise OSError(words)
            await asyncio.sleep(self.dice.random() * (40.0 if kind == 1 else 1.0))
        else:
            await asyncio.sleep(drawn * 0.01)


class Critic:
    """A critic that costs money, and is down now and then."""

    worst_case_micro_usd = WORST_CASE

    def __init__(self, world: World) -> None:
        self.world = world

    async def analyse(self, request: CriticRequest) -> CriticAnswer:
        """Answer, for a price."""
        world = self.world
        cost = world.dice.randrange(WORST_CASE + 1)
        world.critic_calls += 1
        world.billed_micro_usd += cost
        reserved = sum(each.kind == "budget_reserved" for each in world.machine.disk.entries)
        if world.critic_calls > reserved:
            world.broken.append("a critic was called before its reservation was durable")
        world.machine.note(f"critic {request.decision_id[:12]} costs {cost}")
        drawn = world.dice.random()
        if drawn < world.faults:
            kind = world.dice.randrange(3)
            if kind == 0:
                raise CriticError("down", cost_micro_usd=cost)
            if kind == 1:
                raise OSError("broken")
            await asyncio.sleep(10.0)
        await asyncio.sleep(drawn * 0.05)
        return CriticAnswer(
            Analysis(deeper_rationale="it says so", risk=RiskAssessment(level="low"), confidence=0.5),
            model="simulated",
            cost_micro_usd=None if drawn > 0.9 else cost,
        )


class Clerk(Actor[Tally]):
    """Does what its command says."""

    actor_type = "clerk"
    policy = discount

    def __init__(self, world: World) -> None:
        self.world = world

    def apply(self, entry: Entry) -> None:
        """Fold notes, effects and decisions."""
        if isinstance(entry, NotedEntry):
            self.state.notes.append(entry.text)
        elif isinstance(entry, EffectPerformedEntry):
            self.state.effects.append(entry.key)
        elif isinstance(entry, DecisionJournalEntry):
            self.state.decisions += 1

    async def execute(self, command: Work | Show) -> dict[str, Any]:
        """Carry a program out, or show the state."""
        if isinstance(command, Show):
            return self.state.model_dump(mode="json")
        said: dict[str, Any] = {}
        for step in command.program:
            if isinstance(step, Step):
                said[step.key] = await self._do(step)
            else:
                async with asyncio.TaskGroup() as tasks:
                    for branch in step:
                        tasks.create_task(self._branch(branch, said))
        said["notes"] = len(self.state.notes)
        return said

    async def _branch(self, branch: list[Step], said: dict[str, Any]) -> None:
        for step in branch:
            said[step.key] = await self._do(step)

    async def _do(self, step: Step) -> Any:
        key = step.key
        match step.verb:
            case "fetch" | "retry":
                return await self._fetch(key, retries=step.verb == "retry")
            case "note":
                await self.record(NotedEntry(text=key), key=key)
                return None
            case "effect" | "once":
                return await self._perform(key, once=step.verb == "once")
            case "decide":
                rule = self.evaluate(Case(percent=len(key))).rule
                return await self.record_decision(rationale=key, outcome={"rule": rule}, decision_type="simulated")
            case "approve":
                answer = await self.request_approval(approver="vp", reason="please", key=key, timeout_s=step.for_s)
                return answer.granted
            case "ask":
                try:
                    return await self.ask(Clerk, step.to, Work(program=step.program), key=key)
                except (ActorFailedError, AskCycleError) as error:
                    return type(error).__name__
            case "tell":
                await self.tell(Clerk, step.to, Work(program=step.program), key=key)
                return None
            case "sleep":
                await self.sleep(step.for_s, key=key)
                return None
            case "wait":
                got = await self.wait_for(Poke, timeout_s=step.for_s, key=key)
                return None if got is None else got.words
            case "earlier":
                return len(await self.find_precedents(Case(percent=len(key)), key=key))
            case "model":
                return await self._ask_model(key)
            case "draw":
                return [str(await self.now(key=key)), await self.new_id(key=key), await self.random(key=key)]

    async def _fetch(self, key: str, *, retries: bool) -> Any:
        retry = Retry(attempts=3, backoff=exponential(0.1)) if retries else None
        try:
            return await self.gather_context(
                system="outside",
                entity="thing",
                query=key,
                fetcher=lambda: self.world.look_up(key),
                timeout_s=2.0,
                retry=retry,
            )
        except LookupFailedError as error:
            return str(error)

    async def _perform(self, key: str, *, once: bool) -> Any:
        turn = self._turn_ids()

        async def effect(given: str) -> str:
            return await self.world.perform(given, journal=turn[0], command_id=turn[1], once=once)

        try:
            return await self.perform(action="pay", effect=effect, key=key, repeatable=not once)
        except EffectFailedError as error:
            return str(error)

    async def _ask_model(self, key: str) -> str:
        try:
            return await self.call_model(
                model=self.world.model, prompt=key, timeout_s=1.0, retry=Retry(2, backoff=exponential(0.1)), key=key
            )
        except ModelCallError as error:
            return type(error).__name__

    def _turn_ids(self) -> tuple[str, str]:
        from loom.actors.turn_context import current_turn

        turn = current_turn(self, "simulation")
        return turn.host.journal, turn.command_id
