"""What a child does whose calls are recorded: it seals and erases, and seals an archive, and says what was done."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loom import Loom, LoomConfig
from loom.archive import seal
from loom.sealing import Erasures, KeyFile, Subjects, Vault
from tests.reliability.erasers import Note, Notes
from tests.reliability.shim import Mode, Shim

MASTER = bytes(range(32))
SUBJECTS = 8


@asynccontextmanager
async def kept(path: Path) -> AsyncIterator[Loom]:
    """Open the loom whose journal says who is erased; it lies elsewhere than what is recorded."""
    async with Loom.open(LoomConfig(data=path), by="mira", actors=[Notes]) as loom:
        yield loom


def keys_recorded(path: str, journal: str, log: str) -> None:
    """Seal for one subject after the other, erase every second, and mark each once it is done."""
    asyncio.run(_keys(Path(path), Path(journal), _armed(Path(path), log)))


async def _keys(path: Path, journal: Path, shim: Shim) -> None:
    async with kept(journal) as loom:
        erasures = Erasures(loom.store)
        vault = Vault(KeyFile(path / "journal.keys", MASTER), erasures)
        await vault.load()
        subjects = Subjects(erasures, vault)
        for number in range(SUBJECTS):
            await vault.seal(f"s-{number}", "a secret", about="x")
            shim.mark(f"sealed s-{number}")
            if number % 2:
                shim.mark(f"erasing s-{number}")
                await subjects.erase(f"s-{number}", by="vera", reason="asked for")
                shim.mark(f"erased s-{number}")
        await vault.close()


def archive_recorded(path: str, journal: str, log: str) -> None:
    """Seal an archive, and mark it once it is done."""
    asyncio.run(_archive(Path(path), Path(journal), _armed(Path(path), log)))


async def _archive(path: Path, journal: Path, shim: Shim) -> None:
    async with kept(journal) as loom:
        for name in ("a", "b"):
            await loom.actor(Notes, name).ask(Note(text=f"a note of {name}"))
        now = datetime.now(UTC) + timedelta(seconds=1)
        last = loom.store.acknowledged
        made = await seal(loom.store, path / "a.zip", workspace="default", until=last, before=now, by="vera", now=now)
        assert made is not None
        shim.mark(f"sealed {made.digest}")


def _armed(path: Path, log: str) -> Shim:
    shim = Shim()
    shim.record_to(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    shim.arm(path, mode=Mode.COUNT)
    return shim
