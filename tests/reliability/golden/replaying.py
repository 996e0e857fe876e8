"""Replays a golden journal and prints what comes out of it, as JSON: `-m tests.reliability.golden.replaying DIR`.

Nothing of it may depend on the process: not on the seed of its hashes, its time zone, its locale or its Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from examples.discount_approval import DiscountAgent
from loom import Loom
from loom.journal.sqlite.verify import verify
from loom.projections import digest
from tests.projections.every import every_projection

FILES = ("journal.db", "journal.heads")


def copied(golden: Path, directory: Path) -> Path:
    """Copy a golden journal to where it may be opened, and return its path."""
    for name in FILES:
        shutil.copy(golden / name, directory / name)
    return directory / FILES[0]


def opened(journal: Path, *, resume: bool) -> Loom:
    """Return the loom of a copy, with the actors that wrote it."""
    return Loom.open(f"sqlite:///{journal}", actors=[DiscountAgent], by="robin", resume=resume)


async def replayed(journal: Path) -> dict[str, Any]:
    """Verify a copy, rebuild its views and its states, judge nothing and write nothing; return what came out."""
    verified = verify(journal)
    last = verified.size
    async with opened(journal, resume=False) as loom:
        await loom.rebuild()
        journals = [name for name, _ in await loom.store.journals()]
        agents = [name for name in journals if loom.actors.knows(name.partition("/")[0])]
        states = {name: (await loom.replay.state(name)).model_dump(mode="json") for name in agents}
        # A newer loom may register what comes with the code when it opens; what was written stays as it was.
        hashes = [recorded.entry_hash.hex() async for recorded in loom.store.read_all(until=last)]
    with contextlib.closing(sqlite3.connect(journal.with_suffix(".views.db"))) as views:
        views_said = {
            each.name: {"version": each.version, "digest": digest(views, each.tables)} for each in every_projection()
        }
    return {
        "verified": verified.ok,
        "entries": len(hashes),
        "hashes": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "states": states,
        "views": views_said,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        said = asyncio.run(replayed(copied(Path(sys.argv[1]), Path(temporary))))
    print(json.dumps(said, sort_keys=True))
