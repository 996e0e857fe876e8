"""What the children of the zygote do with secrets: seal and erase, seal and prune, until they are killed somewhere."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from loom import Actor, Command, Entry, Extension, Loom, LoomConfig
from loom.archive import Archive, Archives, Retention, seal
from loom.archive.part import ArchivePart
from loom.circuits import Circuits, Result, circuit, extension
from loom.journal import singleton
from loom.journal.sqlite import SqliteStore
from loom.sealing import MASTER_KEY, SealingConfig

SUBJECTS = 6
"""In one life."""

AT_ONCE = Retention(0, {})
"""Keeps nothing back: what is pruned here was written just before."""


def secret_of(subject: str) -> str:
    return f"secret of {subject}: {subject[::-1]}"


@circuit(
    "CX40_KEEP",
    category="test",
    inputs=("secret",),
    outputs=("kept",),
    failure_mode="fallback_to_last_successful",
    success_metric="n",
    fields={"secret": "seal", "kept": "seal"},
)
def keep(inputs: Mapping[str, Any]) -> Result:
    """Keep a secret."""
    return Result(outputs={"kept": inputs["secret"]})


@circuit(
    "CX41_TELL",
    category="test",
    inputs=("secret",),
    outputs=("told",),
    failure_mode="fallback_to_last_successful",
    success_metric="n",
)
def tell(inputs: Mapping[str, Any]) -> Result:
    """Tell it to everybody: the control."""
    return Result(outputs={"told": inputs["secret"]})


@asynccontextmanager
async def keeping(path: Path) -> AsyncIterator[Loom]:
    os.environ[MASTER_KEY] = base64.b64encode(bytes(range(32))).decode()
    own = Extension(
        name="circuits",
        projections=extension.projections,
        sections=extension.sections,
        start=lambda host: Circuits.open(host, circuits=(keep, tell)),
    )
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="mira", extensions=[own]) as loom:
        yield loom


def erase_until_killed(path: str, life: int, lines: int, seed: int) -> None:
    """Seal secrets of a few subjects and erase half of them; die once so many lines were said."""
    asyncio.run(_erase(Path(path), life, lines, random.Random(seed)))


async def _erase(path: Path, life: int, lines: int, draw: random.Random) -> None:
    said = 0

    def say(what: str) -> None:
        nonlocal said
        os.write(1, f"{what}\n".encode())
        said += 1
        if said == lines:
            os.kill(os.getpid(), signal.SIGKILL)

    async with keeping(path) as loom:
        circuits = Circuits.of(loom)
        vault: Any = circuits.fields.vault

        async def one(subject: str) -> None:
            await circuits.run(subject, [("CX40_KEEP", {"secret": secret_of(subject)})])
            keys = (await vault.keys(subject))._keys
            say(f"kept {subject} {keys[max(keys)].hex()}")
            if draw.random() < 0.5:
                await circuits.erase(subject, by="vera", reason="asked for")
                say(f"erased {subject}")

        async with asyncio.TaskGroup() as group:
            for number in range(SUBJECTS):
                group.create_task(one(f"s-{life}-{number}"))


# --- archives --------------------------------------------------------------------------------------


class Noted(Entry):
    kind = "test.to_prune_noted"
    text: str


class Note(Command[int]):
    text: str


class Notes(Actor[list[str]]):
    actor_type = "notes"

    async def execute(self, command: Note) -> int:
        await self.record(Noted(text=command.text))
        return len(self.state)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, Noted):
            self.state.append(entry.text)


@asynccontextmanager
async def noting(path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(LoomConfig(data=path), by="mira", actors=[Notes]) as loom:
        yield loom


async def sealed(loom: Loom, out: Path) -> None:
    """Seal what there is, and have the journal vouch for it."""
    now = datetime.now(UTC) + timedelta(days=1)
    made = await seal(
        loom.store, out, workspace=loom.workspace, until=loom.store.acknowledged, before=now, by="vera", now=now
    )
    assert made is not None
    await Archives(loom.store, retention=AT_ONCE).add(Archive(out), by="vera")


def seal_until_killed(path: str, out: str, step: int) -> None:
    """Seal an archive, and die at a step of it."""
    steps = _Steps(step)
    for name in ("line", "finish"):
        steps.wrap(ArchivePart, name)
    steps.wrap(singleton, "append_prepared")

    async def work() -> None:
        async with noting(Path(path)) as loom:
            await sealed(loom, Path(out))

    asyncio.run(work())


def prune_until_killed(path: str, archive: str, step: int) -> None:
    """Prune for an archive, and die at a step of it."""
    steps = _Steps(step)
    steps.wrap(Archive, "verify")
    steps.wrap(singleton, "append_prepared")
    steps.wrap(SqliteStore, "prune")

    async def work() -> None:
        async with noting(Path(path)) as loom:
            archives = Archives(loom.store, retention=AT_ONCE)
            await archives.prune(Archive(Path(archive)), by="vera", reason="a year has passed")

    asyncio.run(work())


class _Steps:
    """Counts calls, before and after each, and ends the process at one of them."""

    def __init__(self, dies_at: int) -> None:
        self._dies_at = dies_at
        self._seen = 0

    def wrap(self, owner: Any, name: str) -> None:
        work: Callable[..., Any] = getattr(owner, name)
        if asyncio.iscoroutinefunction(work):

            async def later(*given: Any, **named: Any) -> Any:
                self._pass()
                said = await work(*given, **named)
                self._pass()
                return said

            setattr(owner, name, later)
            return

        def now(*given: Any, **named: Any) -> Any:
            self._pass()
            said = work(*given, **named)
            self._pass()
            return said

        setattr(owner, name, now)

    def _pass(self) -> None:
        self._seen += 1
        if self._seen == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
