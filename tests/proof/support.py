"""What the tests of checkpoints share: a loom with a key, an anchor next to it, and decisions to sign."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from loom import Loom
from loom.config import LoomConfig
from loom.identity import Identity
from loom.proof import Checkpoints
from loom.proof.config import AnchorsConfig, CheckpointsConfig
from loom.proof.keys import create_key
from tests.cli.agents import Note, NoteAgent


def configured(base: Path, *, name: str = "data", key: str = "key.pem", **set_to: Any) -> LoomConfig:
    """Return a config with a key and a directory as anchor, which exist; `set_to` are fields of `checkpoints`."""
    elsewhere = base / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    if not (base / key).exists():
        create_key(base / key)
    checkpoints = CheckpointsConfig(**{"key_file": base / key, "every_s": 3_600.0, "every_entries": 100_000, **set_to})
    anchors = AnchorsConfig(directories=(elsewhere,))
    return LoomConfig(data=base / name, sections={"checkpoints": checkpoints, "anchors": anchors})


def opened(config: LoomConfig, **options: Any) -> Loom:
    return Loom.open(config, actors=[NoteAgent], by=Identity("robin"), **options)


async def noted(loom: Loom, count: int = 1) -> Checkpoints:
    """Have so many small turns recorded, and return the part that signs."""
    for number in range(count):
        await loom.actor(NoteAgent, f"n{number % 3}").ask(
            Note(text=f"{number} {os.urandom(2).hex()}", weight=1), by="carla"
        )
    return loom.part(Checkpoints)


def cut(journal: Path, to: int) -> None:
    """Take the entries after a position away, as one who can write the file does it; its heads, too."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f'DROP TRIGGER "{name}"')
        db.execute("DELETE FROM entries WHERE position > ?", (to,))
        db.execute("UPDATE sqlite_sequence SET seq = ?", (to,)) if _has(db, "sqlite_sequence") else None
        for _, sql in triggers:
            db.execute(sql)
    heads = journal.with_suffix(".heads")
    kept = [line for line in heads.read_text().splitlines() if int(line.split()[0]) <= to]
    heads.write_text("".join(f"{line}\n" for line in kept))


def _has(db: sqlite3.Connection, table: str) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None
