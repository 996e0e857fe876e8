"""The agents that the tests of actors share, and the world they reach out to."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar, Literal

import anyio
from pydantic import BaseModel, Field, JsonValue

from loom.actors import Actor, Command
from loom.decisions.entries import ContextGatheredEntry, DecisionJournalEntry
from loom.errors import ActorFailedError, EffectFailedError, LookupFailedError
from loom.journal import Entry, UnknownEntry
from loom.policies import Evaluation, Facts, Params, allow, case, first_match, otherwise, policy, require_approval


class World:
    """What agents reach out to: it counts what is done, and waits where a test wants it to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._arrived: dict[str, asyncio.Event] = {}

    def hold(self, name: str) -> None:
        """Let nobody through who calls this name, until `let_go`."""
        self._gates[name] = asyncio.Event()

    def let_go(self, name: str) -> None:
        self._gates[name].set()

    async def arrived(self, name: str) -> None:
        """Wait until somebody calls this name."""
        await self._arrival(name).wait()

    async def call(self, name: str, value: JsonValue = None) -> JsonValue:
        self.calls[name] += 1
        self._arrival(name).set()
        if name in self._gates:
            await self._gates[name].wait()
        return value

    def _arrival(self, name: str) -> asyncio.Event:
        return self._arrived.setdefault(name, asyncio.Event())


class NotedEntry(Entry):
    kind: ClassVar[str] = "test.actors.noted"

    text: str


class Limits(Params):
    limit: int = Field(default=10, ge=0, le=100)


class Case(Facts):
    percent: int


@policy("test-discount", Limits(), examples=[Case(percent=5), Case(percent=15)])
def discount(params: Limits, facts: Case) -> Evaluation:
    return first_match(
        case("within", facts.percent <= params.limit, allow(), why="within the limit", why_not="over the limit"),
        otherwise("over", require_approval("vp", exception="over the limit"), why="over the limit"),
    )


class Counted(BaseModel):
    """A state that shows how many entries of which kind were folded, and in what order notes came."""

    kinds: dict[str, int] = {}
    notes: list[str] = []


class Folding(Actor[Counted]):
    """Base of agents that fold what they did."""

    actor_type = "folding"

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, UnknownEntry):
            return
        if not entry.kind.startswith("turn_"):  # that it was resumed is no part of what the turn did
            self.state.kinds[entry.kind] = self.state.kinds.get(entry.kind, 0) + 1
        if isinstance(entry, NotedEntry):
            self.state.notes.append(entry.text)
        elif isinstance(entry, ContextGatheredEntry):
            self.state.notes.append(entry.query)
        elif isinstance(entry, DecisionJournalEntry):
            self.state.notes.append(entry.decision.rationale)


# --- an agent that does what its command says -----------------------------------------------------

Verb = Literal[
    "fetch",
    "fetch_fails",
    "note",
    "perform",
    "perform_fails",
    "evaluate",
    "precedents",
    "decide",
    "approve",
    "ask",
    "ask_fails",
    "tell",
    "draw",
]


class Do(BaseModel):
    """One step of a program; its key tells it apart from all others."""

    verb: Verb
    key: str


class Together(BaseModel):
    """Branches that run at the same time."""

    branches: list[list[Do | Together]]
    nursery: Literal["asyncio", "anyio"] = "asyncio"


Program = list[Do | Together]


class Carry(Command[dict[str, Any]]):
    """Carry out a program; the reply says what each step gave, and what the state was after it."""

    program: list[Do | Together]
    states: bool = False


class Lend(Command[str]):
    """What programs ask and tell another actor."""

    key: str
    fails: bool = False


class Lender(Folding):
    async def execute(self, command: Lend) -> str:
        await self.gather_context(
            system="lender",
            entity="thing",
            query=command.key,
            fetcher=lambda: self.world.call(f"lend {command.key}", command.key),
        )
        if command.fails:
            raise ValueError("nothing to lend")
        return f"lent {command.key}"


class Interpreter(Folding):
    """Does what its command says, so that tests can make programs up."""

    policy = discount

    async def execute(self, command: Carry) -> dict[str, Any]:
        said: dict[str, Any] = {}
        await self._carry(command.program, said, states=command.states)
        return said

    async def _carry(self, program: list[Do | Together], said: dict[str, Any], *, states: bool) -> None:
        for step in program:
            if isinstance(step, Do):
                said[step.key] = await self._do(step)
                if states:
                    said[f"{step.key} state"] = self.state.model_dump(mode="json")
            elif step.nursery == "asyncio":
                async with asyncio.TaskGroup() as tasks:
                    for branch in step.branches:
                        tasks.create_task(self._carry(branch, said, states=states))
            else:
                async with anyio.create_task_group() as nursery:
                    for branch in step.branches:
                        nursery.start_soon(self._carry_branch, branch, said, states)

    async def _carry_branch(self, branch: list[Do | Together], said: dict[str, Any], states: bool) -> None:  # noqa: FBT001
        await self._carry(branch, said, states=states)

    async def _do(self, step: Do) -> Any:
        key = step.key
        match step.verb:
            case "fetch" | "fetch_fails":
                return await self._fetch(key, fails=step.verb == "fetch_fails")
            case "note":
                await self.record(NotedEntry(text=key), key=key)
                return None
            case "perform" | "perform_fails":
                return await self._perform(key, fails=step.verb == "perform_fails")
            case "evaluate":
                return self.evaluate(Case(percent=len(key))).rule
            case "precedents":
                return len(await self.find_precedents(text="nobody ever wrote this", key=key))
            case "decide":
                return await self.record_decision(rationale=key, decision_type=f"type-{key}", outcome={"key": key})
            case "approve":
                return (await self.request_approval(approver=key, reason="please", key=key)).granted
            case "ask" | "ask_fails":
                return await self._ask(key, fails=step.verb == "ask_fails")
            case "tell":
                await self.tell(Lender, f"told-{key}", Lend(key=key), key=key)
                return None
            case "draw":
                return [str(await self.now(key=key)), await self.new_id(key=key), await self.random(key=key)]

    async def _fetch(self, key: str, *, fails: bool) -> Any:
        async def fetch() -> Any:
            await asyncio.sleep(0)
            await self.world.call(f"fetch {key}")
            if fails:
                raise OSError(f"no {key}")
            return {"key": key}

        try:
            return await self.gather_context(system="test", entity="thing", query=key, fetcher=fetch)
        except LookupFailedError as error:
            return str(error)

    async def _perform(self, key: str, *, fails: bool) -> Any:
        async def effect(given: str) -> str:
            await self.world.call(f"perform {given}")
            if fails:
                raise OSError(f"no {given}")
            return f"did {given}"

        try:
            return await self.perform(action="test", effect=effect, key=key)
        except EffectFailedError as error:
            return str(error)

    async def _ask(self, key: str, *, fails: bool) -> Any:
        try:
            return await self.ask(Lender, f"asked-{key}", Lend(key=key, fails=fails), key=key)
        except ActorFailedError as error:
            return error.type_name
