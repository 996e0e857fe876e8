"""Turns without anything in memory but a few numbers: those that were let go, and those that are to begin later.

Of each there are the sequences of its entries, so that it is read again without its neighbours, and the callers that
wait for its reply. What ends a wait of such a turn is journaled first; then the turn is driven again, as after a
restart.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from pydantic import JsonValue

from loom.actors.services import Services
from loom.actors.turn import Turn
from loom.actors.wait_entries import TurnParkedEntry, WaitEndedEntry
from loom.actors.waits import begins_late
from loom.decisions.entries import ends_approval
from loom.errors import LoomError, TurnInterruptedError
from loom.journal.entry import Recorded
from loom.journal.kinds import TurnContinuedEntry, TurnResumedEntry
from loom.journal.store import Receipt
from loom.telemetry import get_logger

__all__ = ["Asleep"]

_AGAIN_S = 1.0
_GOES_ON = frozenset({TurnContinuedEntry.kind, TurnResumedEntry.kind})

_log = get_logger("loom.actors")


class AsleepHost(Protocol):
    """The actor whose turns these are, while it is awake."""

    journal: str
    services: Services
    stuck: dict[str, LoomError]
    invalidated_by: LoomError | None

    @property
    def written(self) -> asyncio.Future[Receipt] | None:
        """The append that was queued last, if its result is not known yet."""
        ...

    async def resumable(self, unfinished: Iterable[list[Recorded]], *, drive: bool = False) -> list[Turn]:
        """Return interrupted turns, ready to be resumed."""
        ...

    def resume(self, turns: Iterable[Turn]) -> None:
        """Resume turns in the order in which they were received."""
        ...

    def keep_awake_for(self, work: Coroutine[Any, Any, None], *, name: str | None = None) -> asyncio.Task[None]:
        """Run something that keeps the actor awake."""
        ...


class Asleep:
    """The turns of one actor that are not in memory, by command id."""

    def __init__(self, host: AsleepHost) -> None:
        self._host = host
        self.entries: dict[str, list[int]] = {}
        """Command id → the sequences of its entries."""
        self._callers: dict[str, list[asyncio.Future[JsonValue]]] = {}
        self._leaving: dict[str, asyncio.Task[Any]] = {}
        self._waking: set[str] = set()
        self._gate: asyncio.Semaphore | None = None

    def __contains__(self, command_id: object) -> bool:
        return command_id in self.entries

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def has_callers(self) -> bool:
        """Whether a caller waits for the reply of one of them: the actor must stay awake for that."""
        return any(not caller.done() for callers in self._callers.values() for caller in callers)

    def put(
        self,
        command_id: str,
        sequences: Iterable[int],
        *,
        callers: Sequence[asyncio.Future[JsonValue]] = (),
        leaving: asyncio.Task[Any] | None = None,
    ) -> None:
        """Keep a turn by the sequences of its entries; `leaving` is the task of its code, which is being cancelled."""
        self.entries[command_id] = list(sequences)
        waiting = [caller for caller in callers if not caller.done()]
        if waiting:
            self._callers[command_id] = waiting
        if leaving is not None and not leaving.done():
            self._leaving[command_id] = leaving
            leaving.add_done_callback(lambda _: self._leaving.pop(command_id, None))

    def put_again(self, entries: Sequence[Recorded]) -> bool:
        """Keep a turn whose journal was read; False if it has to be driven, as something in it may go on."""
        command_id = str(entries[0].command_id)
        turn = (self._host.journal, command_id)
        if not _is_let_go(entries) or any(True for _ in self._host.services.timer.due(turn)):
            return False
        self.put(command_id, (each.sequence for each in entries), callers=self._callers.get(command_id, ()))
        return True

    def note(self, command_id: str, sequence: int) -> None:
        """Note that an entry was written for a turn from outside."""
        if command_id in self.entries:
            self.entries[command_id].append(sequence)

    def reply(self, command_id: str) -> asyncio.Future[JsonValue]:
        """Return the future reply of a turn, for one caller."""
        caller: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self._callers.setdefault(command_id, []).append(caller)
        return caller

    def ended(self, command_id: str) -> None:
        """Forget a turn that was ended from outside."""
        self.entries.pop(command_id, None)

    def refuse(self, command_id: str, error: LoomError) -> None:
        """Raise an error for the callers of a turn in place of its reply."""
        for caller in self._callers.pop(command_id, ()):
            if not caller.done():
                caller.set_exception(error)

    def leave(self) -> None:
        """Leave the turns to another cell, which finds them in the journal; their callers have to ask again."""
        for command_id in list(self._callers):
            self.refuse(command_id, _cut_short(self._host.journal, command_id))
        self.entries.clear()

    def wake(self, command_id: str) -> None:
        """Drive a turn again, as something that it waits for has come."""
        if command_id in self.entries and command_id not in self._waking:
            self._waking.add(command_id)
            self._host.keep_awake_for(self._wake(command_id), name=f"{self._host.journal}#{command_id} wakes")

    async def _wake(self, command_id: str) -> None:
        try:
            leaving = self._leaving.get(command_id)
            if leaving is not None:
                await asyncio.wait([leaving], timeout=self._host.services.options.shutdown_grace_s)
            if self._gate is None:
                self._gate = asyncio.Semaphore(self._host.services.options.resume_concurrency)
            async with self._gate:
                turns = await self._read(command_id)
            if self.entries.pop(command_id, None) is None or self._host.invalidated_by is not None:
                return
            callers = self._callers.pop(command_id, [])
            for turn in turns:
                turn.callers += callers
            self._host.resume(turns)
            if not turns:
                self._callers[command_id] = callers
                self.refuse(command_id, self._host.stuck.get(command_id) or _cut_short(self._host.journal, command_id))
        except LoomError as error:
            _log.warning("turn_not_woken", journal=self._host.journal, turn=command_id, error=str(error))
            again = partial(self.wake, command_id)
            asyncio.get_running_loop().call_later(_AGAIN_S, again, context=contextvars.Context())
        finally:
            self._waking.discard(command_id)

    async def _read(self, command_id: str) -> list[Turn]:
        """Return a turn, ready to be resumed, with all that was written for it up to this moment."""
        while True:
            if self._host.written is not None:
                await asyncio.wait([self._host.written])
            sequences = tuple(self.entries.get(command_id, ()))
            if not sequences or self._host.invalidated_by is not None:
                return []
            found = await self._host.services.store.steps([(self._host.journal, each) for each in sequences])
            if len(found) < len(sequences):  # whether the last of them was appended is not known yet
                await asyncio.sleep(_AGAIN_S)
                continue
            turns = await self._host.resumable([[found[self._host.journal, each] for each in sequences]], drive=True)
            if len(self.entries.get(command_id, ())) == len(sequences):
                return turns


def _cut_short(journal: str, command_id: str) -> TurnInterruptedError:
    return TurnInterruptedError(
        f"turn [{journal}#{command_id}] was cut short while it waited; expected its actor to stay awake: it is "
        "resumed; ask again with the same id for its reply"
    )


def _is_let_go(entries: Sequence[Recorded]) -> bool:
    """Tell whether nothing in a turn goes on before one of its waits ends, by its entries.

    It does where a wait had ended before the turn was said to be let go, as an earlier loom could say at that moment.
    """
    if entries[-1].kind != TurnParkedEntry.kind:
        return begins_late(entries)
    for recorded in reversed(entries):
        if recorded.kind in _GOES_ON:
            return True
        if isinstance(recorded.entry, WaitEndedEntry) or ends_approval(recorded.entry):
            return False
    return True
