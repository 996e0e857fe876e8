"""A vault on a workspace of its own, for the tests of sealing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from loom import Loom, LoomConfig
from loom.sealing import Erasures, KeyFile, Subjects, Vault
from loom.sealing.vault import LateWrites

__all__ = ["MASTER", "keys_file", "opening", "vault", "vault_of"]

MASTER = bytes(range(32))


@asynccontextmanager
async def opening(path: Path, master: bytes = MASTER, *, late: LateWrites = "refuse") -> AsyncIterator[Subjects]:
    """Yield the subjects of a workspace, on a loom that has none of its own open."""
    async with Loom.open(LoomConfig(data=path), by="mira") as loom:
        erasures = Erasures(loom.store)
        keys = KeyFile(loom.files.keys, master, workspace=loom.workspace)
        opened = Vault(keys, erasures, late_writes=late)
        try:
            await opened.load()
            subjects = Subjects(erasures, opened)
            await subjects.carry_out()
            yield subjects
        finally:
            await opened.close()


@asynccontextmanager
async def vault(path: Path, master: bytes = MASTER) -> AsyncIterator[Vault]:
    async with opening(path, master) as subjects:
        yield vault_of(subjects)


def vault_of(subjects: Subjects) -> Vault:
    """Return the vault of subjects that have one."""
    assert subjects.vault is not None
    return subjects.vault


def keys_file(path: Path) -> Path:
    return path / "default" / "journal.keys"
