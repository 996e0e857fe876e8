"""A turn without its actor: a host, a store and recorded steps in memory, which do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from loom.actors import Command
from loom.actors.ports import Seen, StateRef
from loom.actors.progress import Watchers
from loom.actors.services import ActorOptions
from loom.actors.turn import Turn
from loom.actors.turn_lock import TurnLock
from loom.errors import AppendUnknownError, DiskFullError, LoomError
from loom.journal import CommandReceivedEntry, Entry, Receipt, Step
from loom.journal.admission import Limits

HASH, OTHER = b"p" * 32, b"o" * 32


class Do(Command[int]):
    """Asks for nothing that is declared."""


@dataclass
class Store:
    has_room: bool = True
    waited: int = 0
    found: Receipt | LoomError | None = None
    asked: list[AppendUnknownError] = field(default_factory=list)

    async def room(self) -> None:
        self.waited += 1
        await asyncio.sleep(0)

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        self.asked.append(unknown)
        if isinstance(self.found, LoomError):
            raise self.found
        return self.found


class Clock:
    def __init__(self) -> None:
        self.us = 5

    def now_us(self) -> int:
        return 1_000_000 + self.us

    def elapsed_us(self) -> int:
        return self.us


class Ready:
    """A draft, as the host makes it."""

    def __init__(self, entry: Any, command_id: str, policy_hash: bytes | None) -> None:
        self.entry, self.command_id, self.policy_hash = entry, command_id, policy_hash


class Host:
    """An actor in memory: appends are durable when a test says so, or at once."""

    journal = "a/1"

    def __init__(self) -> None:
        self.store = Store()
        self.watchers = Watchers()
        self.clock = Clock()
        self.services = SimpleNamespace(
            store=self.store,
            watchers=self.watchers,
            sources=SimpleNamespace(clock=self.clock),
            limits=Limits(),
            options=ActorOptions(),
            hold_reply=None,
            vault=None,
        )
        self.sequence = 1
        self.freed = 0
        self.lock: TurnLock[Any] = TurnLock(self._free)
        self.state_ref = StateRef("shared")
        self.holds_subjects = False
        self.written: list[Any] = []
        self.seen: list[Seen] = []
        self.appends: list[asyncio.Future[Receipt]] = []
        self.at_once = True
        self.refuses: LoomError | None = None
        self.folded: list[int] = []
        self.fold_fails: LoomError | None = None
        self.invalidated_by: LoomError | None = None
        self.closing = False
        self.stuck: dict[str, LoomError] = {}
        self.left: list[Turn] = []
        self.ends: list[tuple[str, Receipt | None]] = []
        self.failures: list[bool] = []
        self.names: list[str] = []

    def _free(self) -> None:
        self.freed += 1

    def draft(self, entry: Entry, *, command_id: str, policy_hash: bytes | None = None) -> Ready:
        return Ready(entry, command_id, policy_hash)

    def write(self, ready: Ready, **given: Seen) -> asyncio.Future[Receipt]:
        if given:
            assert given["seen"] is not None, "what is seen as it is journaled is not named"
            self.seen.append(given["seen"])
        return self._append([ready.entry])

    def write_together(self, drafts: Sequence[Any]) -> asyncio.Future[Receipt]:
        return self._append([getattr(each, "entry", each) for each in drafts], together=True)

    def _append(self, entries: list[Any], *, together: bool = False) -> asyncio.Future[Receipt]:
        if self.refuses is not None:
            raise self.refuses
        self.sequence += len(entries)
        self.written += [tuple(entries)] if together else entries
        append: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.appends.append(append)
        if self.at_once:
            append.set_result(self.receipt())
        return append

    def receipt(self) -> Receipt:
        return Receipt(self.journal, self.sequence, self.sequence, b"h" * 32, 1)

    async def write_and_wait(self, ready: Ready) -> Receipt:
        assert (ready.command_id, ready.policy_hash) == ("c-1", HASH)
        return await self._append([ready.entry])

    def ended(self, command_id: str, receipt: Receipt | None) -> None:
        self.ends.append((command_id, receipt))

    async def failed(self, *, counts: bool = True) -> None:
        self.failures.append(counts)

    def leave(self, turn: Turn) -> None:
        self.left.append(turn)

    def in_background(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        self.names.append(name)
        return asyncio.ensure_future(work)

    def fold(self, until: int) -> None:
        self.folded.append(until)
        if self.fold_fails is not None:
            raise self.fold_fails

    def invalidate(self, error: LoomError) -> None:
        self.invalidated_by = error

    def refusal(self, error: LoomError) -> LoomError:
        return DiskFullError(f"said by the host: {error}")


def turn_of(host: Host, *, command_id: str = "c-1", accepted: bool = True) -> Turn:
    done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    if accepted:
        done.set_result(host.receipt())
    return Turn(
        cast("Any", host),
        Do(),
        CommandReceivedEntry(command_type="Do", payload=None, correlation_id=command_id),
        command_id=command_id,
        sequence=1,
        policy=cast("Any", SimpleNamespace(hash_bytes=HASH)),
        accepted=done,
    )


class Recorded:
    """The recorded steps of a resumed turn, as far as a turn asks for them."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.finished = True
        self.parked = False
        self.did: list[str] = []

    def has(self, step: Step, phase: str) -> bool:
        return step in self.steps and phase == "end"

    async def take(self, step: Step, phase: str) -> str:
        return f"{step} {phase}"

    async def wait(self, step: Step) -> None:
        self.did.append(f"waited {step}")

    def expected(self) -> list[str]:
        return [str(step) for step in self.steps]

    def found(self) -> list[str]:
        return ["v other"]

    def cancel(self) -> None:
        self.did.append("cancelled")
