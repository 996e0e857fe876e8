"""A model of hold, erase, prune and retention: whatever the order, and wherever the process is cut short, a hold wins,
what was answered as erased opens for nobody, and nothing is taken away that was not to be.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loom import Actor, Command, Entry, Loom, LoomConfig
from loom.actors import Sources
from loom.archive import Adoption, Archives, Due, Retention
from loom.config import RetentionConfig
from loom.errors import ErasedError, RetentionError, SubjectHeldError
from loom.journal.sqlite.verify import verify
from loom.sealing import Erasures, KeyFile, Subjects, Vault
from loom.testing import FixedClock
from tests.archive.agents import START
from tests.sealing.support import MASTER

T = TypeVar("T")

PEOPLE = st.sampled_from(["ada", "bob"])
MOMENTS = st.sampled_from(
    ["nowhere", "nowhere, and the keys come back", "before the key", "after the key", "before the end"]
)


class Killed(BaseException):
    """As much of a kill as one process can go through."""


class Told(Entry):
    kind = "test.model_told"
    secret: Any


class Tell(Command[None]):
    secret: Any


class ReplayRecorder(Actor[None]):
    actor_type = "keeper"

    async def execute(self, command: Tell) -> None:
        await self.record(Told(secret=command.secret))


class Workspace(RuleBasedStateMachine):
    """One workspace, opened again and again, next to what it should be."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="loom-model-"))
        self.runner = asyncio.Runner()
        self.days = 0.0
        self.sealed: dict[str, list[Any]] = {}
        """What was sealed of each, by the journal key."""
        self.held: set[str] = set()
        self.begun: set[str] = set()
        """Who is erased, or will be by the next start."""
        self.last_day: dict[str, float] = {}
        self.pruned: set[str] = set()
        self.adopted: float | None = None
        self.keep_days = 30.0
        self.loom: Loom | None = None
        self.open()
        for who in ("ada", "bob"):
            self.tell(who, f"secret of {who}")

    def run(self, work: Awaitable[T]) -> T:
        async def inner() -> T:
            return await work

        return self.runner.run(inner())

    def open(self) -> None:
        async def opening() -> None:
            self.stack = AsyncExitStack()
            clock = FixedClock(START + timedelta(days=self.days))
            retention = RetentionConfig(keep_days=self.keep_days)
            config = LoomConfig(data=self.directory, retention=retention)
            self.loom = await self.stack.enter_async_context(
                Loom.open(config, by="mira", actors=[ReplayRecorder], sources=Sources(clock=clock))
            )
            erasures = Erasures(self.loom.store, make_draft=self.loom.draft)
            keys = KeyFile(self.loom.files.keys, MASTER, workspace="default")
            self.vault = Vault(keys, erasures)
            self.stack.push_async_callback(self.vault.close)
            await self.vault.load()
            self.subjects = Subjects(erasures, self.vault)
            await self.subjects.carry_out()
            retained = Retention.of(retention)
            self.register = Archives(self.loom.store, retention=retained, subjects=self.subjects)
            self.due = Due(self.loom.store, Adoption(self.loom.store, retained), erasures, now=self.loom.now)

        self.run(opening())

    def close(self) -> None:
        self.run(self.stack.aclose())

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.close()
        found = verify(self.directory / "default" / "journal.db", workspace="default")
        self.runner.close()
        shutil.rmtree(self.directory)
        assert found.ok, list(found.lines())

    # --- what is done ---------------------------------------------------------------------------

    @rule(who=PEOPLE, text=st.text(min_size=4, max_size=8))
    def tell(self, who: str, text: str) -> None:
        async def telling() -> Any:
            secret = await self.vault.seal(who, text, about="/secret")
            assert self.loom is not None
            await self.loom.actor(ReplayRecorder, who).ask(Tell(secret=secret))
            return secret

        if who in self.pruned:
            return
        if who in self.begun:
            self.refused(telling(), ErasedError)
            return
        self.sealed.setdefault(who, []).append((self.run(telling()), text))
        self.last_day[who] = self.days

    @rule(who=PEOPLE)
    def hold(self, who: str) -> None:
        holding = self.subjects.hold(who, by="lea", reason="a claim")
        if who in self.begun:
            self.refused(holding, ErasedError)
        else:
            assert self.run(holding) is (who not in self.held)
            self.held.add(who)

    @precondition(lambda self: self.held)
    @rule(who=PEOPLE)
    def lift(self, who: str) -> None:
        assert self.run(self.subjects.lift(who, by="lea", reason="it is settled")) is (who in self.held)
        self.held.discard(who)

    @rule(who=PEOPLE)
    def erase(self, who: str) -> None:
        erasing = self.subjects.erase(who, by="vera", reason="asked for")
        if who in self.held:
            self.refused(erasing, SubjectHeldError)
        else:
            assert self.run(erasing) is (who not in self.begun)
            self.begun.add(who)

    @precondition(lambda self: self.free())
    @rule(dies=MOMENTS)
    def erase_and_die(self, dies: str) -> None:
        who = self.free()[0]
        self.begun.add(who)
        self._cut_short(dies, self.subjects.erase(who, by="vera", reason="asked for"))

    @precondition(lambda self: self.free())
    @rule()
    def erase_and_have_the_keys_come_back(self) -> None:
        keys, who = self.directory / "default" / "journal.keys", self.free()[0]
        copy = keys.read_bytes()
        self.begun.add(who)
        assert self.run(self.subjects.erase(who, by="vera", reason="asked for")) is True
        self.close()
        keys.write_bytes(copy)
        self.open()

    def free(self) -> list[str]:
        """Return who can be erased."""
        return sorted(set(self.sealed) - self.held - self.begun)

    @rule(after=st.sampled_from([1.0, 31.0]))
    def later(self, after: float) -> None:
        self.close()
        self.days += after
        self.open()

    @rule(keep_days=st.sampled_from([30.0, 20.0]))
    def set_retention(self, keep_days: float) -> None:
        self.close()
        self.keep_days = keep_days
        self.open()

    @precondition(lambda self: self.adopted != self.keep_days)
    @rule()
    def adopt(self) -> None:
        assert self.run(self.due.adoption.adopt(by="vera", reason="as agreed"))
        self.adopted = self.keep_days

    @rule()
    def carry_out_retention(self) -> None:
        assert self.loom is not None
        carrying = self.due.carry_out(self.register, self.directory, blocker=self.loom.actors)
        if self.adopted != self.keep_days:
            self.refused(carrying, RetentionError)
            return
        over = {who for who, day in self.last_day.items() if self.days >= day + self.keep_days} - self.pruned
        done = self.run(carrying)
        assert set(done.pruned.journals) == {f"keeper/{who}" for who in over - self.held}
        assert set(done.pruned.left) == {f"keeper/{who}" for who in over & self.held}
        self.pruned |= over - self.held

    # --- what is always so ----------------------------------------------------------------------

    @invariant()
    def what_was_erased_opens_for_nobody_and_the_rest_for_its_subject(self) -> None:
        async def look() -> None:
            assert self.loom is not None
            for who, told in self.sealed.items():
                for sealed, text in told:
                    if who in self.begun:
                        with pytest.raises(ErasedError):
                            await self.vault.open(sealed, subject=who)
                    else:
                        assert await self.vault.open(sealed, subject=who) == text
                if who in self.begun:
                    assert await self.vault._store.get(who) == {}
                there = [each.body is not None async for each in self.loom.store.read(f"keeper/{who}")]
                assert all(there) is (who not in self.pruned)

        if getattr(self, "loom", None) is not None:
            self.run(look())

    def refused(self, work: Awaitable[object], error: type[Exception]) -> None:
        try:
            self.run(work)
        except error:
            return
        raise AssertionError(f"it was not refused as {error.__name__}")

    def _cut_short(self, dies: str, erasing: Awaitable[object]) -> None:
        """Have an erasure die at a moment, and open the workspace again, which carries it out."""
        owner: Any = self.vault if dies != "before the end" else self.subjects.erasures
        name = "destroy" if dies != "before the end" else "finish"
        real: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def killed(*given: Any, **named: Any) -> Any:
            if dies == "after the key":
                await real(*given, **named)
            raise Killed

        setattr(owner, name, killed)
        try:
            self.run(erasing)
        except Killed:
            pass
        else:
            raise AssertionError("it was not cut short")
        self.close()
        self.open()


TestWorkspace = Workspace.TestCase
TestWorkspace.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
