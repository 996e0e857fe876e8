"""Someone with SQL and the whole directory of a workspace, who knows the format; what they have not is the signing key,
and the anchor outside.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loom.journal import Append
from loom.journal.chain import Header, entry_hash, genesis
from loom.journal.fields import digest_by
from loom.journal.sqlite import SqliteStore
from tests.journal.support import PLENTY, note

__all__ = ["ATTACKS", "Attack", "Victim"]


@dataclass(frozen=True)
class Victim:
    """A workspace that was closed, with an earlier backup of it, and how many of its entries are anchored."""

    workspace: Path
    backup: Path
    anchored: int

    def copied(self, to: Path, *, backup: bool = False) -> Path:
        """Copy it, or its backup, and return the journal."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.backup if backup else self.workspace, to)
        return to / "journal.db"


@contextmanager
def attacking(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield the database without its triggers; put them back, and make heads, digests and hashes again, after it."""
    db = sqlite3.connect(path, isolation_level=None)
    triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    db.execute("BEGIN")
    yield db
    _renumber(db)
    _rehash(db)
    db.execute("COMMIT")
    for _, sql in triggers:
        db.execute(sql)
    _heads(db, path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def _renumber(db: sqlite3.Connection) -> None:
    """Close the gaps among positions, and among the sequences of each journal."""
    places: dict[str, int] = {}
    rows = db.execute("SELECT position, journal FROM entries ORDER BY position").fetchall()
    for number, (position, journal) in enumerate(rows, start=1):
        places[journal] = places.get(journal, 0) + 1
        place = (number, places[journal], position)
        db.execute("UPDATE entries SET position = ?, sequence = ? WHERE position = ?", place)


def _rehash(db: sqlite3.Connection) -> None:
    workspace = db.execute("SELECT value FROM meta WHERE key = 'workspace'").fetchone()[0]
    last: dict[str, bytes] = {}
    rows = db.execute(
        "SELECT position, journal, kind, command_id, policy_hash, sequence, schema_version, epoch, recorded_at_us,"
        " clock_back_us, salt, body, body_digest, body_scheme FROM entries ORDER BY position"
    ).fetchall()
    for position, journal, kind, command, policy, sequence, schema, epoch, at, back, salt, body, said, scheme in rows:
        digest = said if body is None else digest_by(scheme, salt, body)
        header = Header(workspace, journal, kind, command, policy, sequence, position, schema, epoch, at, back)
        previous = last.get(journal) or genesis(workspace, journal)
        last[journal] = entry_hash(header, digest, previous, scheme=scheme)
        hashes = (digest, last[journal], position)
        db.execute("UPDATE entries SET body_digest = ?, entry_hash = ? WHERE position = ?", hashes)


def _heads(db: sqlite3.Connection, path: Path) -> None:
    """Write the heads file as if nothing had been."""
    rows = db.execute("SELECT position, entry_hash FROM entries ORDER BY position").fetchall()
    kept = [f"{position} {found.hex()}\n" for position, found in rows if position % 8 == 0 or position == len(rows)]
    path.with_suffix(".heads").write_text("".join(kept))


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT max(position) FROM entries").fetchone()[0])


async def truncate(victim: Victim, to: Path, dice: random.Random) -> None:
    with attacking(victim.copied(to)) as db:
        db.execute("DELETE FROM entries WHERE position > ?", (dice.randrange(1, victim.anchored),))


async def rewrite(victim: Victim, to: Path, dice: random.Random) -> None:
    with attacking(victim.copied(to)) as db:
        position = dice.randrange(1, victim.anchored + 1)
        body = bytes(db.execute("SELECT body FROM entries WHERE position = ?", (position,)).fetchone()[0])
        at = dice.choice([place for place, each in enumerate(body) if chr(each).isalnum() and each != ord("0")])
        other = b"7" if chr(body[at]).isdigit() and body[at] != ord("7") else b"8" if chr(body[at]).isdigit() else b"x"
        other = b"y" if other == body[at : at + 1] else other
        body = body[:at] + other + body[at + 1 :]
        db.execute("UPDATE entries SET body = ? WHERE position = ?", (body, position))


async def backdate(victim: Victim, to: Path, dice: random.Random) -> None:
    with attacking(victim.copied(to)) as db:
        first, by = dice.randrange(1, victim.anchored + 1), dice.randrange(1, 10**9)
        db.execute("UPDATE entries SET recorded_at_us = recorded_at_us - ? WHERE position <= ?", (by, first))


async def reorder(victim: Victim, to: Path, dice: random.Random) -> None:
    with attacking(victim.copied(to)) as db:
        rows = db.execute(
            "SELECT a.position FROM entries a JOIN entries b ON b.position = a.position + 1"
            " WHERE a.journal <> b.journal AND a.position < ?",
            (victim.anchored,),
        ).fetchall()
        (position,) = dice.choice(rows)
        for was, becomes in ((position, -1), (position + 1, position), (-1, position + 1)):
            db.execute("UPDATE entries SET position = ? WHERE position = ?", (becomes, was))
        times = "SELECT max(recorded_at_us) FROM entries WHERE position IN (?, ?)"
        at = db.execute(times, (position, position + 1)).fetchone()[0]
        db.execute("UPDATE entries SET recorded_at_us = ? WHERE position = ?", (at, position + 1))
        db.execute("UPDATE entries SET recorded_at_us = min(recorded_at_us, ?) WHERE position = ?", (at, position))


async def drop_tail(victim: Victim, to: Path, dice: random.Random) -> None:
    with attacking(victim.copied(to)) as db:
        actors = "SELECT journal, count(*) FROM entries WHERE journal NOT LIKE 'loom/%' AND position <= ? GROUP BY 1"
        journal, count = dice.choice(db.execute(actors, (victim.anchored,)).fetchall())
        kept = dice.randrange(count)
        db.execute("DELETE FROM entries WHERE journal = ? AND sequence > ?", (journal, kept))


async def swap_bodies(victim: Victim, to: Path, dice: random.Random) -> None:
    path = victim.copied(to)
    is_careful = dice.random() < 0.5
    with attacking(path) if is_careful else _carelessly(path) as db:
        rows = db.execute(
            "SELECT position, kind FROM entries WHERE position <= ? AND journal NOT LIKE 'loom/%'", (victim.anchored,)
        ).fetchall()
        kind = dice.choice([each for _, each in rows])
        alike = [position for position, each in rows if each == kind]
        one, other = dice.sample(alike, 2) if len(alike) > 1 else dice.sample([each for each, _ in rows], 2)
        held = {
            at: db.execute("SELECT salt, body FROM entries WHERE position = ?", (at,)).fetchone() for at in (one, other)
        }
        for at, of in ((one, other), (other, one)):
            db.execute("UPDATE entries SET salt = ?, body = ? WHERE position = ?", (*held[of], at))


@contextmanager
def _carelessly(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield the database without its triggers; put them back after it, and nothing else."""
    db = sqlite3.connect(path, isolation_level=None)
    triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    yield db
    for _, sql in triggers:
        db.execute(sql)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


async def drop_triggers(victim: Victim, to: Path, dice: random.Random) -> None:
    db = sqlite3.connect(victim.copied(to), isolation_level=None)
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()]
    for name in dice.sample(names, dice.randrange(1, len(names) + 1)):
        db.execute(f"DROP TRIGGER {name}")
    db.close()


async def edit_schema(victim: Victim, to: Path, dice: random.Random) -> None:
    db = sqlite3.connect(victim.copied(to), isolation_level=None)
    indexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    (index,) = dice.choice(db.execute(indexes).fetchall())
    edits = (
        "CREATE TABLE more (one INTEGER)",
        "CREATE VIEW entries_too AS SELECT * FROM entries",
        "ALTER TABLE entries ADD COLUMN more TEXT",
        f"DROP INDEX {index}",
        "CREATE TRIGGER quiet BEFORE INSERT ON entries WHEN NEW.kind = 'decision' BEGIN SELECT RAISE(IGNORE); END",
        "ALTER TABLE writer RENAME TO writers",
    )
    db.execute(dice.choice(edits))
    db.close()


async def restore_backup(victim: Victim, to: Path, dice: random.Random) -> None:
    path = victim.copied(to, backup=True)
    if dice.random() < 0.5:  # an even older one
        with attacking(path) as db:
            db.execute("DELETE FROM entries WHERE position > ?", (dice.randrange(1, _count(db)),))


async def fork(victim: Victim, to: Path, dice: random.Random) -> None:
    path = victim.copied(to, backup=True)
    store = await SqliteStore.open(path, options=PLENTY)
    missing = victim.anchored - store.acknowledged
    notes = [note(f"{dice.random()}") for _ in range(missing + dice.randrange(20))]
    await store.append(Append("fork/1", 0, notes))
    await store.close()


@dataclass(frozen=True)
class Attack:
    """What is done, and the findings of which one at least has to be there."""

    do: Callable[[Victim, Path, random.Random], object]
    verdicts: frozenset[str]
    is_hidden: bool = True
    """Whether the chain and the heads that are there agree with it."""


_CUT, _OTHER = frozenset({"CUT", "TRUNCATED"}), frozenset({"REWRITTEN", "FORKED"})

ATTACKS = {
    "truncate": Attack(truncate, _CUT),
    "rewrite": Attack(rewrite, _OTHER),
    "backdate": Attack(backdate, _OTHER),
    "reorder": Attack(reorder, _OTHER),
    "drop an actor's tail": Attack(drop_tail, _CUT | _OTHER),
    "swap bodies": Attack(swap_bodies, _OTHER | {"TAMPERED"}, is_hidden=False),
    "drop triggers": Attack(drop_triggers, frozenset({"SCHEMA_CHANGED"}), is_hidden=False),
    "edit the schema": Attack(edit_schema, frozenset({"SCHEMA_CHANGED"}), is_hidden=False),
    "restore a backup": Attack(restore_backup, _CUT),
    "fork": Attack(fork, _OTHER),
}
