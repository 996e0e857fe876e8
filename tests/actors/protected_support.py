"""What the tests of protected replies, entries and states share: a loom with a vault, and what lies on the disk."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loom import Actor, Loom, LoomConfig
from loom.sealing import SealingConfig
from tests.on_postgres import stored

MASTER = base64.b64encode(bytes(range(32))).decode()


@asynccontextmanager
async def sealing(
    path: Path,
    actors: Sequence[type[Actor[Any]]],
    *,
    late: Any = "refuse",
    resume: bool = True,
    enabled: bool = True,
    snapshot_every: int = 500,
) -> AsyncIterator[Loom]:
    """Open a loom that seals; the master key is in the environment."""
    config = LoomConfig.model_validate(
        {
            "data": path,
            "actors": {"snapshot_every": snapshot_every},
            "sections": {"sealing": SealingConfig(enabled=enabled, late_writes=late)},
        }
    )
    async with Loom.open(config, by="mira", actors=actors, resume=resume) as loom:
        yield loom


def on_disk(path: Path) -> bytes:
    """Return all bytes of all files under a directory."""
    return stored(path)


async def erase(loom: Loom, subject: str) -> None:
    """Erase a subject."""
    assert await loom.subjects.erase(subject, by="vera", reason="asked for it")
