"""The floor: the least program that writes what a turn writes, in today's format, and replies once that is durable.

The same rows in the same schema, from the same pydantic entries: every command is read back from its JSON, every body
is serialised once, salted and digested, every header is hashed into the chain of its journal, appends are grouped into
commits (`synchronous=FULL`) by a thread. It has no resume, no mailbox, no views, no back-pressure, and it does not look
for values that JSON would lose. What loom takes more than this is what those cost.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from benchmarks.workload import ACCOUNT, Case, DecideOnce, Reply, bench
from loom.cli.serving import calm_collector
from loom.clock import datetime_from_us
from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.decisions.decision import References
from loom.decisions.entries import ContextGatheredEntry, EvaluatedEntry
from loom.identity import derived_id, new_id, random_bytes
from loom.journal.chain import SALT_BYTES, body_digest, genesis, hash_after, journal_fields, turn_fields
from loom.journal.entry import Entry, Step, StepReference
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.journal.sqlite.connection import connect_writer

__all__ = ["turns_per_second"]

_WORKSPACE = "default"
_ACCOUNT: dict[str, JsonValue] = json.loads(json.dumps(ACCOUNT))
_POLICY = bytes(range(32))
_REFERENCE = PolicyReference(name="bench", version="policy_v1_00010203", hash=_POLICY.hex(), rule="within-limit")
_ROWS_A_STATEMENT = (128, 32, 8, 1)
_INSERT = """
INSERT INTO entries (position, journal, sequence, kind, schema_version, command_id, epoch, recorded_at_us,
  clock_back_us, policy_hash, salt, body, body_digest, entry_hash) VALUES {}
"""
_ROW = f"({', '.join('?' * 14)})"
_STATEMENTS = {rows: _INSERT.format(", ".join([_ROW] * rows)) for rows in _ROWS_A_STATEMENT}


@dataclass(slots=True)
class Journal:
    """One journal: where it has come to, and the hash of its last entry."""

    name: str
    sequence: int = 0
    head: bytes = field(init=False)
    fields: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.head = genesis(_WORKSPACE, self.name)
        self.fields = journal_fields(_WORKSPACE, self.name)


class Kept(NamedTuple):
    """An entry as it is stored."""

    entry: Entry
    salt: bytes
    body: bytes
    digest: bytes


def kept_as(entry: Entry) -> Kept:
    """Write an entry and digest it."""
    body = type(entry).__pydantic_serializer__.to_json(entry, exclude_defaults=entry.leaves_out_defaults)
    salt = random_bytes(SALT_BYTES)
    return Kept(entry, salt, body, body_digest(salt, body))


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn appends: its journal, its command, its entries, and what to tell once they are durable."""

    journal: Journal
    command_id: str
    entries: Sequence[Entry | Kept]
    durable: asyncio.Future[None]


class Writer:
    """Commits whatever has gathered, in a thread of its own; one commit at a time."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1)
        self._connection: sqlite3.Connection = self._thread.submit(_connected, path).result()
        self._waiting: list[Turn] = []
        self._busy = False
        self._position = 0

    def append(self, journal: Journal, command_id: str, entries: Sequence[Entry | Kept]) -> asyncio.Future[None]:
        """Put the entries of a turn in line."""
        durable = self._loop.create_future()
        self._waiting.append(Turn(journal, command_id, entries, durable))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._next)
        return durable

    def close(self) -> None:
        """End the thread."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    def _next(self) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = bool(batch)
        if batch:
            done = self._thread.submit(self._commit, batch)
            done.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._committed, batch, done))

    def _committed(self, batch: Sequence[Turn], done: Future[None]) -> None:
        done.result()
        self._next()
        for turn in batch:
            turn.durable.set_result(None)

    def _commit(self, batch: Sequence[Turn]) -> None:
        rows = [row for turn in batch for row in self._rows(turn)]
        self._connection.execute("BEGIN IMMEDIATE")
        done = 0
        for size, statement in _STATEMENTS.items():
            while len(rows) - done >= size:
                self._connection.execute(statement, [value for row in rows[done : done + size] for value in row])
                done += size
        self._connection.execute("COMMIT")

    def _rows(self, turn: Turn) -> list[tuple[object, ...]]:
        journal, command_id, at, rows = (
            turn.journal,
            turn.command_id,
            time.time_ns() // 1_000,
            list[tuple[object, ...]](),
        )
        shared = turn_fields(command_id, _POLICY)
        for entry in turn.entries:
            kept = entry if isinstance(entry, Kept) else kept_as(entry)
            entry, salt, body, digest = kept
            journal.sequence += 1
            self._position += 1
            numbers = (journal.sequence, self._position, entry.schema_version, 1, at, 0)
            journal.head = hash_after(journal.fields, entry.kind, shared, numbers, digest, journal.head)
            rows.append(
                (
                    self._position,
                    journal.name,
                    journal.sequence,
                    entry.kind,
                    entry.schema_version,
                    command_id,
                    1,
                    at,
                    0,
                    _POLICY,
                    salt,
                    body,
                    digest,
                    journal.head,
                )
            )
        return rows


async def turns_per_second(path: Path, *, in_flight: int, count: int) -> float:
    """Return how many such turns per second are durable, with as many journals as are in flight."""
    writer = Writer(path)
    journals = [Journal(f"bench-agent/agent-{number}") for number in range(in_flight)]
    command = DecideOnce(customer="acme", percent=5)
    await asyncio.gather(*(turn(writer, journal, command) for journal in journals))

    async def work(journal: Journal) -> None:
        for _ in range(count // in_flight):
            await turn(writer, journal, command)

    calm_collector()
    began = time.perf_counter()
    await asyncio.gather(*(work(journal) for journal in journals))
    elapsed = time.perf_counter() - began
    writer.close()
    return count // in_flight * in_flight / elapsed


async def turn(writer: Writer, journal: Journal, command: DecideOnce) -> Reply:
    """Do one turn: received, looked up, evaluated, decided, completed."""
    command_id = new_id()
    payload = command.model_dump_json()
    command = DecideOnce.model_validate_json(payload)
    at = datetime_from_us(time.time_ns() // 1_000)
    looked_up = kept_as(
        ContextGatheredEntry(
            step=Step("gather_context", "crm/account/acme", 0),
            system="crm",
            entity="account",
            query=command.customer,
            result=dict(_ACCOUNT),
            relevance="size",
            retrieved_at=at,
            duration_ms=0.01,
        )
    )
    refers = References(inputs=(StepReference(journal.sequence + 2, looked_up.digest.hex()),))
    facts = Case(industry=str(ACCOUNT["industry"]), arr_usd=500_000, percent=command.percent)
    evaluation = bench.evaluate(facts)
    plain = facts.model_dump()
    decision_id = derived_id("decision", _WORKSPACE, journal.name, command_id)
    decision = Decision(
        decision_id=decision_id,
        decision_type="policy_application",
        rationale=evaluation.why,
        refers=refers,
        policy=_REFERENCE,
        facts=plain,
        evaluation=evaluation,
        outcome={"granted": evaluation.allowed},
        context={"actor_type": "bench-agent", "actor_key": journal.name},
        causation_id=command_id,
    )
    reply = Reply(granted=evaluation.allowed, decision_id=decision_id)
    said = reply.model_dump_json()
    await writer.append(
        journal,
        command_id,
        (
            CommandReceivedEntry(command_type="DecideOnce", payload=json.loads(payload), correlation_id=command_id),
            looked_up,
            EvaluatedEntry(step=Step("evaluate", "facts", 0), facts=plain, evaluation=evaluation),
            DecisionJournalEntry(step=Step("record_decision", "policy_application", 0), decision=decision),
            TurnCompletedEntry(reply=json.loads(said)),
        ),
    )
    return Reply.model_validate_json(said)


def _connected(path: Path) -> sqlite3.Connection:
    connection = connect_writer(path, synchronous="FULL", busy_timeout_s=10.0)
    connection.execute("PRAGMA wal_autocheckpoint = 4000").fetchall()
    return connection
