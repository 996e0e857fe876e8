"""Law 9: grants, requesters, deadlines, unfinished turns and states come from the entries, whatever the views say.

Somebody who can write the views file, and nothing else, changes any table of any projection of loom's own. What he gets
is right or refused, never forged.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.decisions import Approval
from loom.errors import LoomError, SelfApprovalError
from loom.journal.kinds import ENDINGS
from loom.journal.sqlite import JournalFiles
from loom.projections.sql import quoted
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from loom.workspace import own_projections
from tests.actors.agents import Carry, Do, Folding, Interpreter, World
from tests.actors.support import opened, until

pytestmark = pytest.mark.sqlite("copies of the file, one for each change of its views")

APPROVE = Carry(program=[Do(verb="approve", key="vp")])
SLOW = Carry(program=[Do(verb="note", key="begun"), Do(verb="fetch", key="slow")])
OF_LOOM = ("snapshots", "checkpoints")
"""The tables of a views file that are no projection's."""


class Hurried(Folding):
    """Has an hour for an answer."""

    async def execute(self, command: Carry) -> dict[str, Any]:
        approval = await self.request_approval(approver="vp", reason="please", timeout_s=3_600)
        return {"granted": approval.granted}


@dataclass(frozen=True)
class Told:
    """What is so, as it was before anybody touched the views."""

    directory: Path
    pending: tuple[Approval, ...]
    unfinished: frozenset[tuple[str, str]]
    state: Any


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return asyncio.run(_tell(tmp_path_factory.mktemp("law-9")))


async def _tell(directory: Path) -> Told:
    """Lay down a request by bob, one with a deadline, a turn that was cut short, and a state with a snapshot."""
    world = World()
    world.hold("fetch slow")
    sources = fixed_sources(FixedClock())
    async with opened(directory, world, agents=[Interpreter, Hurried], sources=sources, snapshot_every=3) as loom:
        for text in "abcdef":
            await loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="note", key=text)]), by="ana")
        asking = [
            asyncio.create_task(loom.actor(Interpreter, "two").ask(APPROVE, id="asked", by="bob")),
            asyncio.create_task(loom.actor(Hurried, "three").ask(APPROVE, id="hurried", by="bob")),
            asyncio.create_task(loom.actor(Interpreter, "four").ask(SLOW, id="cut", by="bob")),
        ]
        await world.arrived("fetch slow")
        await until(lambda: _pending(loom, 2))
        await loom.reached()
        pending = await loom.approvals.pending()
        unfinished = await loom.turns.unfinished()
        state = await loom.replay.state("interpreter/one")
    await asyncio.gather(*asking, return_exceptions=True)
    return Told(
        directory, pending, frozenset((each.summary.journal, each.summary.command_id) for each in unfinished), state
    )


async def _pending(loom: Loom, number: int) -> bool:
    return len(await loom.approvals.pending()) == number


@contextlib.contextmanager
def tampered(told: Told, to: Path) -> Iterator[sqlite3.Connection]:
    """Yield the views of a copy, to be changed while no loom runs."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(told.directory, to)
    views = JournalFiles(to / "default" / "journal.db").views
    with contextlib.closing(sqlite3.connect(views)) as connection, connection:
        yield connection


def tables_of(connection: sqlite3.Connection) -> list[str]:
    own = {table for projection in own_projections() for table in projection.tables}
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert own <= there
    return sorted(own | set(OF_LOOM))


def columns_of(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Return names and types of the columns that can be written."""
    rows = connection.execute("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,))
    return [(name, kind) for name, kind in rows]


def garbled(kind: str, choose: random.Random) -> object:
    if kind == "INTEGER":
        return choose.choice([0, 1, 2, 7, -1, 9_000_000_000_000_000])
    if kind == "REAL":
        return choose.choice([0.0, -1.0, 1e300])
    if kind == "BLOB":
        return choose.choice([b"", b"\0" * 32, b'{"state":{"notes":["forged"]},"unfinished":{}}'])
    return choose.choice(
        ["carol", "granted", "completed", "pending", "interpreter/one", "three", "[]", "{}", "", "forged"]
    )


async def holds(told: Told, directory: Path) -> None:
    """Open the workspace and see that what permits is as it was told, or refused."""
    clock = FixedClock()
    sources = fixed_sources(clock, seed="after")
    async with opened(directory, agents=[Interpreter, Hurried], sources=sources) as loom:
        assert await loom.approvals.pending() == told.pending
        await _is_right_or_refused(loom, told)
        bobs, hurried = told.pending
        for name in ("bob", "BOB", "\uff42ob"):
            with pytest.raises(SelfApprovalError):
                await loom.approvals.grant(bobs.approval_id, by=name)
        assert (await loom.approvals.grant(bobs.approval_id, by="carol")).answered_by == "carol"
        await until(lambda: _ended(loom, "interpreter/two", "asked"))
        await until(lambda: _ended(loom, "interpreter/four", "cut"))  # resumed by itself
        assert await loom.approvals.expire_due() == 0
        clock.advance(timedelta(hours=1))
        await loom.approvals.expire_due()
        await until(lambda: _ended(loom, "hurried/three", "hurried"))
        answered = [each async for each in loom.store.read("hurried/three") if each.kind == "approval_answered"]
        assert [(each.entry.granted, each.entry.by) for each in answered] == [(False, None)]  # type: ignore[attr-defined]
        assert hurried.deadline is not None
        reply = await loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="note", key="last")], states=True))
        assert reply["last state"]["notes"] == [*told.state.notes, "last"]


async def _is_right_or_refused(loom: Loom, told: Told) -> None:
    """Look at what the views show; a projection that choked on what it found there has stopped, and says so."""
    with contextlib.suppress(LoomError):
        for listing in await loom.turns.unfinished():
            assert (listing.summary.journal, listing.summary.command_id) in told.unfinished
            assert listing.summary.by == "bob"
    with contextlib.suppress(LoomError):
        for each in await loom.approvals.list(limit=1_000):
            assert each in told.pending
    for request in told.pending:
        assert await loom.approvals.get(request.approval_id) == request


async def _ended(loom: Loom, journal: str, command_id: str) -> bool:
    return any(each.kind in ENDINGS for each in await loom.store.marks([(journal, command_id)]))


async def test_what_was_told_holds_where_nobody_has_touched_anything(told: Told, tmp_path: Path) -> None:
    with tampered(told, tmp_path / "copy"):
        pass
    assert {each.journal for each in told.pending} == {"interpreter/two", "hurried/three"}
    assert len(told.unfinished) == 3
    assert told.state.notes == [*"abcdef"]
    await holds(told, tmp_path / "copy")


@pytest.mark.parametrize("projection", [each.name for each in own_projections()] + ["none"])
@pytest.mark.parametrize("seed", ["delete", "garble 1", "garble 2"])
async def test_no_table_of_any_projection_permits_anything(
    told: Told, tmp_path: Path, projection: str, seed: str
) -> None:
    """All rows are deleted, or every column of every row is something else, in all tables of one projection at once."""
    tables = {each.name: each.tables for each in own_projections()} | {"none": OF_LOOM}
    choose = random.Random(f"{projection} {seed}")
    with tampered(told, tmp_path / "copy") as views:
        for table in tables[projection]:
            if seed == "delete":
                views.execute(f"DELETE FROM {quoted(table)}")
                continue
            for column, kind in columns_of(views, table):
                value = garbled(kind, choose)
                views.execute(f"UPDATE OR IGNORE {quoted(table)} SET {quoted(column)} = ?", (value,))
    await holds(told, tmp_path / "copy")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_no_change_of_any_columns_permits_anything(told: Told, tmp_path: Path, choose: random.Random) -> None:
    with tampered(told, tmp_path / "copy") as views:
        for _ in range(choose.randint(1, 6)):
            table = choose.choice(tables_of(views))
            column, kind = choose.choice(columns_of(views, table))
            (without_rowid,) = views.execute("SELECT wr FROM pragma_table_list WHERE name = ?", (table,)).fetchone()
            rows = "" if without_rowid else choose.choice(["", " WHERE rowid % 2 = 0"])
            value = garbled(kind, choose)
            views.execute(f"UPDATE OR IGNORE {quoted(table)} SET {quoted(column)} = ?{rows}", (value,))
    asyncio.run(holds(told, tmp_path / "copy"))


def _swap(table: str, column: str) -> str:
    """Give each row what the next one has in a column."""
    following = f"SELECT b.{column} FROM {table} AS b WHERE b.rowid > {table}.rowid ORDER BY b.rowid LIMIT 1"
    return f"UPDATE OR IGNORE {table} SET {column} = coalesce(({following}), {column})"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approvals SET requested_by = 'carol'",
        "UPDATE approvals SET status = 'granted', answered_by = 'carol', answered_at_us = 1",
        "UPDATE approvals SET shown = 'another', facts = '{\"percent\": 1}', reason = 'harmless'",
        "UPDATE approvals SET approver = 'bob', deadline_us = deadline_us + 9000000000000",
        "UPDATE approvals SET deadline_us = 1",
        _swap("approvals", "approval_id"),
        _swap("approvals", "command_id"),
        _swap("approvals", "journal"),
        _swap("turns", "command_id"),
        "UPDATE turns SET ended = 'completed', ended_at_us = 1",
        "UPDATE turns SET by = 'carol'",
        "UPDATE snapshots SET body = CAST(replace(CAST(body AS TEXT), '\"a\"', '\"forged\"') AS BLOB)",
        "UPDATE snapshots SET sequence = sequence - 1",
    ],
)
async def test_what_an_attacker_would_try_first_is_in_vain(told: Told, tmp_path: Path, statement: str) -> None:
    with tampered(told, tmp_path / "copy") as views:
        assert views.execute(statement).rowcount > 0
    await holds(told, tmp_path / "copy")
