"""R11: a journal, its views and its pruning, driven through crashes at random and held against a model of them."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from loom.errors import AppendUnknownError, DuplicateCommandError, SequenceConflictError
from loom.journal import Append, Draft, Receipt, Recorded, draft
from loom.journal.kinds import PrunedEntry, TurnContinuedEntry
from loom.journal.sqlite import JournalFiles, WriterOptions
from loom.journal.sqlite.reader import COLUMNS
from loom.journal.sqlite.staging import Outcome
from loom.journal.sqlite.verify import verify
from loom.journal.sqlite.writer import Writer
from loom.projections.writer import ViewsWriter
from tests.journal.support import SetClock
from tests.projections.every import every_projection
from tests.projections.histories import Happening, happenings
from tests.projections.test_rebuild import fold, said
from tests.reliability.board import Tally, row
from tests.reliability.test_views import memory

EXAMPLES, STEPS = 500, 40
OPTIONS = WriterOptions(durability="process-crash-only", min_free_bytes=0, checkpoint_pages=8, head_every=4)
ALL = f"SELECT {COLUMNS} FROM entries NOT INDEXED ORDER BY position"
PRUNE = "UPDATE entries SET body = NULL, salt = NULL WHERE journal = ? AND sequence BETWEEN ? AND ?"


class Kept(NamedTuple):
    """One entry, as the model knows it."""

    journal: str
    command_id: str | None
    kind: str
    body: bytes | None
    entry_hash: bytes


class Faulty(sqlite3.Connection):
    """A connection whose next COMMIT fails, before or after it was carried out."""

    fails: str | None = None

    def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
        if sql != "COMMIT" or Faulty.fails is None:
            return super().execute(sql, *given)
        done_first, Faulty.fails = Faulty.fails == "after", None
        if done_first:
            super().execute(sql)
        error = sqlite3.OperationalError("planned")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


class JournalMachine(RuleBasedStateMachine):
    """What can happen to a workspace, in any order."""

    tally: Tally

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir=memory())
        self.path = Path(self.directory.name) / "journal.db"
        self.files = JournalFiles(self.path)
        self.clock = SetClock()
        self.model: list[Kept] = []
        self.received: set[tuple[str, str | None]] = set()
        self.pruned = False
        self.writer = self.opened()
        self.views = ViewsWriter(self.files.views, every_projection())
        self.views.open()
        JournalMachine.tally.tried()

    def opened(self) -> Writer:
        writer = Writer(self.files, workspace="default", options=OPTIONS, clock=self.clock)
        tail = writer.open()
        assert tail.position == len(self.model)
        return writer

    # --- appending ------------------------------------------------------------------------------

    @rule(happening=happenings(), back=st.integers(-2, 2), stale=st.integers(0, 9))
    def append(self, happening: Happening, back: int, stale: int) -> None:
        journal, command_id, entry = happening
        self.clock.us += back * 1_000
        ready = draft(entry, command_id=command_id)
        expected = self.sequence(journal) + (0 if stale else 1 + back * back)
        [outcome] = self.writer.commit([Append(journal, expected, [ready])])
        if not stale:
            assert isinstance(outcome, SequenceConflictError)
        elif ready.kind == "command_received" and (journal, command_id) in self.received:
            assert isinstance(outcome, DuplicateCommandError)
        else:
            self.take(journal, [ready], outcome)

    @rule(many=st.lists(happenings(), min_size=1, max_size=5))
    def append_a_batch(self, many: list[Happening]) -> None:
        """Some of it is received twice perhaps: that harms nobody else who does not build on it."""
        ready = [(journal, draft(entry, command_id=command)) for journal, command, entry in many]
        at = {journal: self.sequence(journal) for journal, _ in ready}
        batch = []
        for journal, each in ready:
            batch.append(Append(journal, at[journal], [each]))
            at[journal] += 1
        for (journal, each), append, outcome in zip(ready, batch, self.writer.commit(batch), strict=True):
            if append.expected != self.sequence(journal):
                assert isinstance(outcome, SequenceConflictError)
            elif each.kind == "command_received" and (journal, each.command_id) in self.received:
                assert isinstance(outcome, DuplicateCommandError)
            else:
                self.take(journal, [each], outcome)

    @rule(happening=happenings(), when=st.sampled_from(("before", "after")))
    def append_with_a_commit_that_fails(self, happening: Happening, when: str) -> None:
        journal, command_id, entry = happening
        ready = draft(entry, command_id=command_id)
        if ready.kind == "command_received" and (journal, command_id) in self.received:
            return
        Faulty.fails = when
        [outcome] = self.writer.commit([Append(journal, self.sequence(journal), [ready])])
        assert isinstance(outcome, AppendUnknownError)
        resolved = self.writer.resolve(outcome)
        assert (resolved is not None) == (when == "after")
        if resolved is not None:
            self.take(journal, [ready], resolved)
        # Two failures in a row would close the writer for good: something goes well in between.
        between = draft(TurnContinuedEntry())
        [well] = self.writer.commit([Append("x/between", self.sequence("x/between"), [between])])
        self.take("x/between", [between], well)

    def take(self, journal: str, drafts: list[Draft], outcome: Outcome) -> None:
        assert isinstance(outcome, Receipt), outcome
        assert outcome.position == len(self.model) + len(drafts)
        assert outcome.sequence == self.sequence(journal) + len(drafts)
        for each in drafts:
            self.model.append(Kept(journal, each.command_id, each.kind, each.body, outcome.entry_hash))
            if each.kind == "command_received":
                self.received.add((journal, each.command_id))

    def sequence(self, journal: str) -> int:
        return sum(kept.journal == journal for kept in self.model)

    # --- crashing, closing, pruning -------------------------------------------------------------

    @rule(in_transaction=st.booleans())
    def crash(self, *, in_transaction: bool) -> None:
        """End without tidying up, perhaps with a transaction half written."""
        connection = self.writer._connection.sqlite()
        if in_transaction:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE writer SET epoch = epoch + 1000")
        connection.close()
        self.writer = self.opened()

    @rule()
    def reopen(self) -> None:
        self.writer.close()
        self.writer = self.opened()

    @precondition(lambda self: len(self.model) > 6)
    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        journal = data.draw(st.sampled_from(sorted({kept.journal for kept in self.model})))
        last = data.draw(st.integers(1, self.sequence(journal)))
        first = data.draw(st.integers(1, last))
        said = draft(PrunedEntry(journal=journal, first_sequence=first, last_sequence=last, by="ana", reason="old"))
        [outcome] = self.writer.commit([Append("x/pruner", self.sequence("x/pruner"), [said])])
        if "pruned" in {kept.kind for kept in self.of(journal)[first - 1 : last]}:
            self.take("x/pruner", [said], outcome)
            return  # what says so stays
        self.take("x/pruner", [said], outcome)
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(PRUNE, (journal, first, last))
        gone = {id(kept) for kept in self.of(journal)[first - 1 : last]}
        self.model = [kept._replace(body=None) if id(kept) in gone else kept for kept in self.model]
        self.pruned = True

    def of(self, journal: str) -> list[Kept]:
        return [kept for kept in self.model if kept.journal == journal]

    # --- views ----------------------------------------------------------------------------------

    @rule(size=st.integers(1, 9))
    def project(self, size: int) -> None:
        position = min(each.position for each in self.views._checkpoints.values())
        page = self.rows()[position : position + size]
        if page:
            self.views.apply(page)

    @rule()
    def crash_the_views(self) -> None:
        connection = self.views._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE checkpoints SET position = position + 1")
        connection.close()
        self.views = ViewsWriter(self.files.views, every_projection())
        self.views.open()

    @rule(which=st.integers(0, len(every_projection()) - 1))
    def rebuild(self, which: int) -> None:
        self.views.reset([every_projection()[which].name])

    # --- what holds -----------------------------------------------------------------------------

    def rows(self) -> list[Recorded]:
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            return [Recorded(*found) for found in connection.execute(ALL)]

    def teardown(self) -> None:
        try:
            self.check_journal()
            self.check_views()
        finally:
            Faulty.fails = None
            self.writer.close()
            self.views.close()
            self.directory.cleanup()

    def check_journal(self) -> None:
        found = [(each.journal, each.command_id, each.kind, each.body, each.entry_hash) for each in self.rows()]
        assert found == [tuple(kept) for kept in self.model]
        verified = verify(self.path)
        assert verified.ok, list(verified.lines())
        assert ("PRUNED" in verified.counts) == self.pruned

    def check_views(self) -> None:
        rows = self.rows()
        while (position := min(each.position for each in self.views._checkpoints.values())) < len(rows):
            checkpoints = self.views.apply(rows[position : position + 7])
            assert not [each for each in checkpoints.values() if each.failed]
        if not self.pruned:  # what was pruned does not come back, and is declared
            fold(Path(self.directory.name) / "rebuilt", rows, batch=100)
            assert said(self.files.views) == said(Path(self.directory.name) / "rebuilt")


@pytest.mark.seconds(60)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("half", [0, 1])
@row("R11")
def test_a_workspace_does_what_its_model_does_through_crashes_retries_rebuilding_and_pruning(
    tally: Tally, half: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect

    def connect(database: str, **given: Any) -> sqlite3.Connection:
        return real(database, factory=Faulty, **given) if "?mode=rw" in str(database) else real(database, **given)

    monkeypatch.setattr(sqlite3, "connect", connect)
    machine = seed(tally.piece.seed + half)(type("Machine", (JournalMachine,), {}))
    JournalMachine.tally = tally
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES // 2,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),  # add Phase.shrink to see the shortest story of a failure, which takes minutes
        ),
    )
