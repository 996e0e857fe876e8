"""A model of hold, erase, prune, retention and archives over several subjects and journals, with restarts: nothing of
who is held goes, nothing of who was erased opens anywhere, and everything else still opens, verifies and goes on.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import tempfile
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loom import Actor, Command, Entry, Loom, LoomConfig
from loom.actors import Sources
from loom.actors.checkpointing import Checkpoints
from loom.archive import (
    Archive,
    Archives,
    BodiesPruned,
    BodyPruning,
    Retention,
    bodies_of_kinds,
    bodies_of_subject,
    seal,
)
from loom.config import ActorsConfig
from loom.errors import ErasedError, SubjectHeldError, SubjectNotFoundError
from loom.sealing import MASTER_KEY, Sealed, SealingConfig
from loom.testing import FixedClock
from tests.archive.agents import START
from tests.on_postgres import verify

T = TypeVar("T")

WHO = st.sampled_from(["ada", "bob", "cy"])
JOURNALS = st.sampled_from(["shared", "other"])
NOTHING_KEPT = Retention(0.0, {})
SECRET = "a secret of "


class Put(Entry):
    kind = "test.model_put"
    who: str
    number: int


class PutIt(Command[int]):
    subject_field = "who"

    who: str
    number: int
    secret: Annotated[str, Sealed()]


class Shelf(Actor[list[tuple[str, int]]]):
    """Folds what was put there, of which what it says is in clear: old data, as far as erasing it goes."""

    actor_type = "shelf"

    async def execute(self, command: PutIt) -> int:
        await self.record(Put(who=command.who, number=command.number))
        return len(self.state)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, Put):
            self.state.append((entry.who, entry.number))


class Shelves(RuleBasedStateMachine):
    """One workspace, opened again and again, next to what it should be."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="loom-model-"))
        self.runner = asyncio.Runner()
        os.environ[MASTER_KEY] = base64.b64encode(bytes(range(32))).decode()
        self.days = 0
        self.number = 0
        self.held: set[str] = set()
        self.erased: set[str] = set()
        self.whose: dict[tuple[str, int], str] = {}
        """By journal and sequence, whose each body is."""
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.puts: dict[tuple[str, int], tuple[str, int]] = {}
        self.gone: set[tuple[str, int]] = set()
        """Which bodies were taken out of their journals."""
        self.lost: set[tuple[str, int]] = set()
        """Which of them were of who was erased: their part of the state went with them."""
        self.files: list[Path] = []
        self.open()
        for journal, who in (("shared", "ada"), ("shared", "bob"), ("other", "bob")):
            self.put(journal, who)

    def run(self, work: Awaitable[T]) -> T:
        async def inner() -> T:
            return await work

        return self.runner.run(inner())

    def open(self) -> None:
        async def opening() -> None:
            self.stack = AsyncExitStack()
            config = LoomConfig(
                data=self.directory,
                actors=ActorsConfig(snapshot_every=4),
                sections={"sealing": SealingConfig(enabled=True)},
            )
            clock = FixedClock(START + timedelta(days=self.days))
            self.loom = await self.stack.enter_async_context(
                Loom.open(config, by="mira", actors=[Shelf], sources=Sources(clock=clock))
            )
            archives = Archives(self.loom.store, retention=NOTHING_KEPT, subjects=self.loom.subjects)
            checkpoints = Checkpoints(self.loom.actors, self.loom.subjects)
            self.pruning = BodyPruning(
                self.loom.store, archives, self.loom.subjects, checkpoints, retention=NOTHING_KEPT
            )

        self.run(opening())

    def close(self) -> None:
        self.run(self.stack.aclose())

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self.restart(loses_views=True)
            self.everything_is_as_it_should_be()
        finally:
            self.close()
            found = verify(self.directory / "default" / "journal.db", workspace="default")
            self.runner.close()
            os.environ.pop(MASTER_KEY, None)
            raw = b"".join(each.read_bytes() for each in sorted(self.directory.rglob("*")) if each.is_file())
            shutil.rmtree(self.directory)
        assert found.ok, list(found.lines())
        assert SECRET.encode() not in raw

    # --- what is done ---------------------------------------------------------------------------

    @rule(journal=JOURNALS, who=WHO)
    def put(self, journal: str, who: str) -> None:
        self.number += 1
        putting = self.loom.actor(Shelf, journal).ask(
            PutIt(who=who, number=self.number, secret=f"{SECRET}{who} {self.number}")
        )
        if who in self.erased:
            self.refused(putting, ErasedError)
            return
        before = self.last(journal)
        assert self.run(putting) == len(self.state_of(journal)) + 1
        self.note(journal, before, who)

    @rule(who=WHO)
    def hold(self, who: str) -> None:
        if who in self.erased:
            self.refused(self.loom.subjects.hold(who, by="lea", reason="a claim"), ErasedError)
        else:
            assert self.run(self.loom.subjects.hold(who, by="lea", reason="a claim")) is (who not in self.held)
            self.held.add(who)

    @rule(who=WHO)
    def lift(self, who: str) -> None:
        assert self.run(self.loom.subjects.lift(who, by="lea", reason="it is settled")) is (who in self.held)
        self.held.discard(who)

    @rule(who=WHO)
    def erase(self, who: str) -> None:
        erasing = self.loom.subjects.erase(who, by="vera", reason="asked for")
        if who in self.held:
            self.refused(erasing, SubjectHeldError)
        elif who not in self.whose.values():
            self.refused(erasing, SubjectNotFoundError)
        else:
            assert self.run(erasing) is (who not in self.erased)
            self.erased.add(who)
            self.lost |= {each for each in self.gone if self.whose[each] == who}

    @rule(who=WHO)
    def prune(self, who: str) -> None:
        chosen = self.run(bodies_of_subject(self.loom.store, who, subjects=self.loom.subjects))
        mine = {each for each, whose in self.whose.items() if whose == who} - self.gone
        assert {(name, at) for name, bodies in chosen.items() for at in bodies} == mine
        done = self.carried_out(chosen)
        if who in self.held:
            mine = set()
        self.taken(mine, done)

    @rule(days=st.sampled_from([10, 40]))
    def carry_out_retention(self, days: int) -> None:
        self.close()
        self.days += days
        self.open()
        kept = {"turn_completed": 30.0}
        chosen = self.run(bodies_of_kinds(self.loom.store, kept, now=self.loom.store.now))
        if not chosen:
            return
        on_hold = {name for name, bodies in chosen.items() if any(self.whose[name, at] in self.held for at in bodies)}
        done = self.carried_out(chosen)
        going = {(name, at) for name, bodies in chosen.items() if name not in on_hold for at in bodies}
        assert on_hold <= set(done.left)
        self.taken(going, done)

    @rule()
    def archive(self) -> None:
        file = self.directory / f"whole-{len(self.files)}.zip"
        later = START + timedelta(days=self.days + 1)
        made = self.run(
            seal(
                self.loom.store,
                file,
                workspace="default",
                until=self.loom.store.acknowledged,
                before=later,
                by="vera",
                now=later,
                vault=self.loom.subjects.vault,
                erasures=self.loom.subjects.erasures,
            )
        )
        if made is not None:
            self.files.append(file)

    @rule(loses_views=st.booleans())
    def restart(self, loses_views: bool = False) -> None:  # noqa: FBT001, FBT002 - hypothesis names it
        self.close()
        if loses_views:
            for each in (self.directory / "default").glob("journal.views*"):
                each.unlink()
        self.open()

    # --- what is always so ----------------------------------------------------------------------

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        if not hasattr(self, "pruning"):
            return
        for journal in ("shared", "other"):
            if (f"shelf/{journal}", 1) in self.bodies:
                assert self.run(self.loom.replay.state(f"shelf/{journal}")) == self.state_of(journal)
        self.run(self._look())

    async def _look(self) -> None:
        there = {
            (each.journal, each.sequence): each.body
            async for each in self.loom.store.read_all()
            if (each.journal, each.sequence) in self.bodies
        }
        assert {each for each, body in there.items() if body is None} == self.gone
        assert {each: body for each, body in there.items() if body is not None} == {
            each: body for each, body in self.bodies.items() if each not in self.gone
        }
        found: set[tuple[str, int]] = set()
        for file in self.files:
            archive = Archive(file, vault=self.loom.subjects.vault)
            assert archive.verify().ok
            async for each in archive.read_all():
                key = (each.journal, each.sequence)
                if key in self.bodies and each.body is not None:
                    assert self.whose[key] not in self.erased, "what was erased opens from an archive"
                    assert each.body == self.bodies[key]
                    found.add(key)
            archive.close()
        living = {each for each in self.gone if self.whose[each] not in self.erased}
        assert living <= found, "what was pruned of who was not erased opens from an archive"

    # --- helpers ----------------------------------------------------------------------------------

    def state_of(self, journal: str) -> list[tuple[str, int]]:
        name = f"shelf/{journal}"
        return [put for each, put in sorted(self.puts.items()) if each[0] == name and each not in self.lost]

    def carried_out(self, chosen: object) -> BodiesPruned:
        file = self.directory / f"bodies-{len(self.files)}.zip"
        done = self.run(self.pruning.carry_out(chosen, file, by="vera", reason="as agreed", is_due=False))  # type: ignore[arg-type]
        if done.file is not None:
            self.files.append(file)
        return done

    def taken(self, bodies: set[tuple[str, int]], done: BodiesPruned) -> None:
        assert sum(done.journals.values()) == len(bodies)
        self.gone |= bodies
        self.lost |= {each for each in bodies if self.whose[each] in self.erased}

    def last(self, journal: str) -> int:
        return self.run(self.loom.store.head(f"shelf/{journal}")).sequence

    def note(self, journal: str, before: int, who: str) -> None:
        async def noting() -> None:
            async for each in self.loom.store.read(f"shelf/{journal}", after=before):
                if each.command_id is None or each.body is None:
                    continue
                key = (each.journal, each.sequence)
                self.whose[key], self.bodies[key] = who, each.body
                if isinstance(each.entry, Put):
                    self.puts[key] = (who, self.number)

        self.run(noting())

    def refused(self, work: Awaitable[object], error: type[Exception]) -> None:
        try:
            self.run(work)
        except error:
            return
        raise AssertionError(f"it was not refused as {error.__name__}")


TestShelves = Shelves.TestCase
TestShelves.settings = settings(
    max_examples=4, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize(
    "order",
    [
        ("erase ada", "prune bob", "prune ada"),
        ("prune ada", "erase bob", "prune bob"),
        ("erase ada", "prune bob", "prune ada", "erase bob"),
    ],
    ids=lambda order: " ".join(order),
)
def test_an_actor_of_several_goes_on_in_these_orders(order: tuple[str, ...]) -> None:
    """In the first the checkpoint before the last holds something of who is erased: it goes as well."""
    shelves = Shelves()
    shelves.begin()
    for each in order:
        what, who = each.split()
        getattr(shelves, what)(who=who)
        shelves.everything_is_as_it_should_be()
        shelves.restart(loses_views=False)
        shelves.everything_is_as_it_should_be()
    shelves.teardown()
