"""Runs one seed: a story on a simulated machine, process after process, until its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loom.actors import Sources
from loom.config import LoomConfig
from loom.enrichment import BudgetsConfig, DecisionTracesConfig, EnrichmentConfig
from loom.errors import (
    ActorFailedError,
    ApprovalAnsweredError,
    CommandConflictError,
    EffectInDoubtError,
    JournalReadOnlyError,
    LoomError,
    TurnAbandonedError,
)
from loom.extension import ActorFactory
from loom.identity import new_id
from loom.runtime import Loom
from loom.spend.config import ModelBudgetConfig, SpendConfig
from tests.simulation import invariants
from tests.simulation.agents import Clerk, Critic, Poke, Show, Work, World
from tests.simulation.loop import Crashed
from tests.simulation.machine import Machine, installed
from tests.simulation.story import Life, Sending, Story

__all__ = ["Outcome", "Simulation", "Simulator"]

_WORKSPACE = "default"
_PATIENCE_S = 1_000.0
"""How long, in virtual time, the last life waits for the end of everything."""


_COLLECTED_EVERY = 16


@dataclass
class Outcome:
    """The result of a seed."""

    seed: int
    broken: list[str]
    digest: str
    trace: list[str]
    entries: int = 0
    callbacks: int = 0
    crashes: int = 0


@dataclass
class Reported:
    """What was reported to clients and people: it must be so for ever."""

    replies: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    receipts: dict[str, int] = field(default_factory=dict)
    answers: dict[str, bool] = field(default_factory=dict)
    abandoned: set[str] = field(default_factory=set)
    nudged: set[str] = field(default_factory=set)


class SimulatedLoom(Loom):
    """A loom without a control socket: there is no network on the simulated machine."""

    async def _serve(self) -> None:
        """Listen to nothing."""


class Simulation:
    """One seed on one machine."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.story = Story(seed)
        self.machine = Machine(seed, directory)
        self.world = World(self.machine, self.machine.dice)
        self.reported = Reported()
        self.broken = self.world.broken
        self.shown: dict[str, Any] = {}
        self.crashes = 0
        self.is_late = False
        """Whether turns are left that wait for a time which a clock that was set back has made later."""

    def run(self) -> Outcome:
        """Tell the story, and hold what came of it against the laws."""
        self.machine.begin()
        self.machine.disk.catch_up(self.machine.directory)
        for number, life in enumerate(self.story.lives):
            self.machine.note(f"process {number} begins")
            try:
                self._live(life, last=number == len(self.story.lives) - 1)
            except Exception as error:
                self.broken.append(f"process {number} ended with {type(error).__name__}: {error}")
                break
        self.broken += [f"nothing handled: {each}" for each in self.machine.unhandled]
        if not self.broken:
            invariants.check(self)
        machine = self.machine
        return Outcome(
            self.machine.seed,
            list(self.broken),
            machine.digest,
            machine.trace,
            len(machine.disk.entries),
            machine.callbacks,
            self.crashes,
        )

    def _live(self, life: Life, *, last: bool) -> None:
        machine = self.machine
        machine.disk.chances, machine.pace, self.world.faults = life.disk, life.pace, life.world
        loop = machine.process(reorder=life.reorder, crash_after=life.crash_after)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._process(life, last=last))
            machine.note("process closed")
        except Crashed:
            self.crashes += 1
            machine.note(f"crash after {loop.callbacks} callbacks")
        finally:
            machine.kill(loop)

    # --- one process ----------------------------------------------------------------------------

    async def _process(self, life: Life, *, last: bool) -> None:
        loom = SimulatedLoom.open(
            self._config(),
            by="the house",
            actors=[ActorFactory(Clerk, lambda: Clerk(self.world))],
            sources=self._sources(),
            critic=Critic(self.world) if self.story.enriches else None,
        )
        try:
            async with loom:
                await self._use(loom, life, last=last)
        except LoomError as error:
            if last:
                raise
            self.machine.note(f"loom ended {type(error).__name__}")

    async def _use(self, loom: Loom, life: Life, *, last: bool) -> None:
        unsettled = [each for each in self.story.sendings if each.command_id not in self.reported.replies]
        clients = [asyncio.create_task(self._client(loom, each)) for each in unsettled]
        others = [asyncio.create_task(self._people(loom)), asyncio.create_task(self._clock())]
        others += [asyncio.create_task(self._nudge(loom, number)) for number in range(len(self.story.nudges))]
        if last:
            others.append(asyncio.create_task(self._operator(loom)))
        try:
            wait_s = _PATIENCE_S if last else life.closes_after_s or 60.0
            _, waiting = await asyncio.wait(clients, timeout=wait_s) if clients else (set(), set())
            if last:
                if not waiting:
                    await self._settle(loom)
                elif self._waits_for_a_clock(loom):
                    self.is_late = True
                else:
                    self.broken.append(f"[{len(waiting)}] clients have no answer after {wait_s} s without faults")
        finally:
            for task in (*clients, *others):
                task.cancel()
            for gone in await asyncio.gather(*clients, *others, return_exceptions=True):
                if isinstance(gone, Exception):
                    self.broken.append(f"a client got {type(gone).__name__}: {gone}")

    def _config(self) -> LoomConfig:
        story = self.story
        traces = DecisionTracesConfig(
            llm_enrichment=EnrichmentConfig.model_validate(
                {"mode": "always", "timeout_s": 2.0, "concurrency": 2, "async": story.in_background}
            ),
            budgets=BudgetsConfig(max_enrichments_per_day=story.max_calls, max_cost_per_day=story.max_usd),
        )
        return LoomConfig.model_validate(
            {
                "data": self.machine.directory,
                "workspace": _WORKSPACE,
                "actors": story.actors,
                "journal": {"durability": "process-crash-only", "min_free_bytes": 0, "checkpoint_pages": 64},
                "sections": {
                    "budgets": SpendConfig(models=ModelBudgetConfig(max_usd_per_day=story.max_model_usd)),
                    **({"decision_traces": traces} if story.enriches else {}),
                },
            }
        )

    def _sources(self) -> Sources:
        machine = self.machine
        ids = machine.ids
        return Sources(
            clock=machine.time,
            new_id=lambda: new_id(lambda: machine.time.now_us() // 1_000, ids.randbytes),
            new_salt=ids.randbytes,
            random=ids.random,
        )

    # --- who is outside -------------------------------------------------------------------------

    async def _client(self, loom: Loom, sending: Sending) -> None:
        """Send a command again and again, until there is an answer."""
        await asyncio.sleep(sending.after_s)
        actor, reported, known = loom.actor(Clerk, sending.key), self.reported, sending.command_id
        command = Work(program=sending.program)
        pause_s = 0.05
        while True:
            try:
                if sending.how == "tell" and known not in reported.receipts:
                    receipt = await actor.tell(command, id=known, by="client")
                    invariants.received(self, sending, receipt.position)
                    reported.receipts[known] = receipt.position
                    self.machine.note(f"client has receipt of {known}")
                asks = [actor.ask(command, id=known, by="client", timeout_s=sending.patience_s)]
                if sending.how == "twice":
                    asks.append(actor.ask(command, id=known, by="client", timeout_s=sending.patience_s))
                replies = await asyncio.gather(*asks)
                for reply in replies:
                    invariants.replied(self, sending, reply)
            except (ActorFailedError, TurnAbandonedError) as error:
                invariants.failed(self, sending, error)
                reported.failures[known] = type(error).__name__
                self.machine.note(f"client has {type(error).__name__} of {known}")
                return
            except CommandConflictError:
                raise
            except JournalReadOnlyError:
                self.machine.note("the journal takes nothing more")
                return
            except LoomError as error:
                self.machine.note(f"client gets {type(error).__name__} of {known}")
            else:
                reported.replies[known] = replies[0]
                self.machine.note(f"client has reply of {known}")
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 4.0)

    async def _people(self, loom: Loom) -> None:
        """Answer requests, sometimes two at once."""
        story, dice = self.story, self.machine.dice
        while story.people != "none":
            await asyncio.sleep(0.2 + dice.random() * 2)
            try:
                pending = await loom.approvals.pending()
            except LoomError:
                continue
            for request in pending:
                granted = story.people == "grant" or (story.people == "both" and dice.random() < 0.5)
                await self._answer(loom, request.approval_id, by="ann", granted=granted)
                if story.people == "both":
                    await self._answer(loom, request.approval_id, by="bob", granted=not granted)

    async def _answer(self, loom: Loom, approval_id: str, *, by: str, granted: bool) -> None:
        try:
            if granted:
                await loom.approvals.grant(approval_id, by=by)
            else:
                await loom.approvals.deny(approval_id, by=by, comment="no")
        except ApprovalAnsweredError:
            return
        except LoomError as error:
            self.machine.note(f"{by} gets {type(error).__name__}")
            return
        if approval_id in self.reported.answers:
            self.broken.append(f"approval [{approval_id}] was answered twice")
        self.reported.answers[approval_id] = granted
        self.machine.note(f"{by} has {'granted' if granted else 'denied'} {approval_id[:12]}")

    async def _nudge(self, loom: Loom, number: int) -> None:
        after_s, key = self.story.nudges[number]
        await asyncio.sleep(after_s)
        known = f"nudge-{number}"
        if known in self.reported.nudged:
            return
        with contextlib.suppress(LoomError):
            await loom.actor(Clerk, key).send(Poke(words=known), id=known, by="client")
            self.reported.nudged.add(known)

    def _waits_for_a_clock(self, loom: Loom) -> bool:
        """Tell whether turns wait for a time that a clock which was set back as it was written has made later."""
        is_set_back = any(by_s < 0 for _, by_s in self.story.clock_steps)
        next_s = loom.actors.services.timer.next_s()
        return is_set_back and next_s is not None and next_s > _PATIENCE_S

    async def _clock(self) -> None:
        for after_s, by_s in self.story.clock_steps:
            await asyncio.sleep(after_s)
            self.machine.time.offset_us += by_s * 1_000_000
            self.machine.note(f"clock steps by {by_s} s")

    async def _operator(self, loom: Loom) -> None:
        """Retry what is stuck; abandon what nobody may repeat."""
        while True:
            await asyncio.sleep(2.0)
            with contextlib.suppress(LoomError):
                for turn in await loom.turns.unfinished():
                    journal, command_id = turn.summary.journal, turn.summary.command_id
                    if (why := loom.actors.stuck(journal, command_id)) is None:
                        continue
                    self.machine.note(f"stuck {journal} {command_id[:12]} {type(why).__name__}")
                    if "which is not repeatable" in str(why) or isinstance(why, EffectInDoubtError):
                        await loom.turns.abandon(command_id, by="ann", reason="it may have happened")
                        self.reported.abandoned.add(command_id)
                    else:
                        await loom.turns.retry(command_id, by="ann")

    # --- the end --------------------------------------------------------------------------------

    async def _settle(self, loom: Loom) -> None:
        """Wait until nothing is left to do, and look at what there is."""
        async with asyncio.timeout(_PATIENCE_S):
            while any(each.summary.command_type != "Poke" for each in await loom.turns.unfinished()):
                await asyncio.sleep(1.0)
            if loom.enricher is not None:
                await loom.enricher.idle()
            await loom.reached()
        for journal, _ in await loom.store.journals():
            if journal.startswith("clerk/"):
                await self._look_at(loom, journal)
        await loom.reached()
        await invariants.views(self, loom)
        for failure in loom.background.failures:
            self.broken.append(f"background work [{failure.name}] failed: {failure.error}")

    async def _look_at(self, loom: Loom, journal: str) -> None:
        """Compare an actor with what a replay of its journal gives, which does nothing outside (law 5)."""
        shown = await loom.actor(Clerk, journal.removeprefix("clerk/")).ask(Show(), by="client")
        self.shown[journal] = shown
        before = self._done_so_far()
        replayed = (await loom.replay.state(journal)).model_dump(mode="json")
        if replayed != shown:
            self.broken.append(f"replay of [{journal}] gives [{replayed}]; its actor has [{shown}]")
        async for turn in loom.replay.verify(journal):
            if turn.verdict == "diverged":
                self.broken.append(f"turn [{journal}#{turn.command_id}] is replayed otherwise: {turn.reason}")
        if self._done_so_far() != before:
            self.broken.append(f"a replay of [{journal}] wrote, or acted")

    def _done_so_far(self) -> tuple[int, int]:
        """Count what is durable and what was done outside, but not that a client still sends, and wakes, meanwhile."""
        done = (each for each in self.machine.disk.entries if each.kind != "snapshot_taken")
        return sum(not str(each.command_id).startswith("nudge-") for each in done), self.world.effects.total()


class Simulator:
    """Runs seeds in this process, each from the same empty workspace. Use it as a context manager."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._home = Path()
        self._count = 0

    def __enter__(self) -> Simulator:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self._home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="loom-sim-", dir=memory)))
        self._stack.enter_context(installed())
        template = Simulation(0, self._home / "template")
        template.machine.time.offset_us -= 3_600 * 1_000_000
        template.story.sendings, template.story.lives, template.story.enriches = [], [Life()], False
        template.machine.begin()
        template._live(Life(), last=False)
        gc.collect()
        gc.freeze()
        self._stack.callback(gc.unfreeze)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seed: int) -> Outcome:
        """Run one seed."""
        self._count += 1
        directory = self._home / f"{seed}-{self._count}"
        shutil.copytree(self._home / "template", directory)
        simulation = Simulation(seed, directory)
        try:
            return simulation.run()
        finally:
            simulation.machine.is_dead = True
            if self._count % _COLLECTED_EVERY == 0:
                gc.collect()
            shutil.rmtree(directory, ignore_errors=True)
