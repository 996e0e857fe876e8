"""The actors of a loom: which are awake, how a command finds its cell, and what becomes of those that fail or idle."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.actor import Actor, check_actor_class
from loom.actors.cell import Cell
from loom.actors.command import Command
from loom.actors.driving import refuse
from loom.actors.recovery import ENDINGS
from loom.actors.services import Services
from loom.actors.turn import Turn
from loom.errors import (
    ActorFailedError,
    ActorStoppedError,
    AppendUnknownError,
    AskTimeoutError,
    CommandConflictError,
    DuplicateKindError,
    LoomClosedError,
    LoomError,
    TurnAbandonedError,
    TurnStuckError,
    UnknownActorError,
)
from loom.identity import journal_name, parse_journal_name
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry, TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.journal.store import Receipt
from loom.policies.registry import PolicyVersion
from loom.telemetry import get_logger

__all__ = ["ActorSystem", "Told"]

_log = get_logger("loom.actors")

Factory = Callable[[], Actor[Any]]


class Told(NamedTuple):
    """What `tell` gives back: the command is durable, at this place; asking again with its id gives its reply."""

    journal: str
    command_id: str
    sequence: int
    position: int


class _Sent(NamedTuple):
    reply: asyncio.Future[JsonValue]
    received: asyncio.Future[Receipt]


class ActorSystem:
    """Wakes actors when they are spoken to and lets them go when they are idle."""

    def __init__(self, services: Services, *, resumes: bool = True, by: str) -> None:
        self.services = services
        self.resumes = resumes
        self.closing = False
        self._by = by
        self._classes: dict[str, type[Actor[Any]]] = {}
        self._factories: dict[str, Factory] = {}
        self._pinned: dict[str, str] = {}
        self._cells: dict[str, Cell] = {}
        self._waking: dict[str, asyncio.Task[Cell]] = {}
        self._accepting: dict[tuple[str, str], asyncio.Lock] = {}
        self._failures: dict[str, deque[float]] = {}
        self._stopped: dict[str, LoomError] = {}
        self._revive: set[str] = set()
        self._background: set[asyncio.Task[Any]] = set()

    # --- classes --------------------------------------------------------------------------------

    async def register(self, cls: type[Actor[Any]], factory: Factory | None = None) -> None:
        """Make an actor class known, and its policy with it; the same class again is harmless."""
        known = self._classes.get(cls.actor_type)
        if known is not None and known is not cls and (known.__module__, known.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise DuplicateKindError(
                f"actor type [{cls.actor_type}] is claimed by [{cls.__module__}.{cls.__qualname__}] and belongs to "
                f"[{known.__module__}.{known.__qualname__}]: set actor_type on one of them"
            )
        if factory is not None:
            self._factories[cls.actor_type] = factory
        if known is cls:
            return
        check_actor_class(cls)
        policies = self.services.policies
        if cls.policy is None:
            version = await policies.register_implicit(cls.actor_type, by=self._by)
            self._pinned[cls.actor_type] = version.hash
        else:
            await policies.ensure(cls.policy, by=self._by)
        self._classes[cls.actor_type] = cls

    def knows(self, actor_type: str) -> bool:
        """Tell whether there is code for an actor type."""
        return actor_type in self._classes

    def make(self, cls: type[Actor[Any]]) -> Actor[Any]:
        """Make an instance, by the factory it was registered with if there is one."""
        factory = self._factories.get(cls.actor_type)
        return cls() if factory is None else factory()

    def pin(self, cls: type[Actor[Any]]) -> PolicyVersion:
        """Return the policy version that a turn of this class begins under: the one adopted now."""
        if cls.policy is None:
            return self.services.policies.resolve(self._pinned[cls.actor_type])
        adopted = self.services.policies.adopted(cls.policy.name)
        return adopted or self.services.policies.latest(cls.policy.name)

    # --- cells ----------------------------------------------------------------------------------

    async def cell(self, journal: str) -> Cell:
        """Return the cell of an actor, waking it if need be; raise `UnknownActorError` without its code."""
        awake = self._cells.get(journal)
        if awake is not None:
            return awake
        if self.closing:
            raise _closed()
        stopped = self._stopped.get(journal)
        if stopped is not None:
            raise stopped
        waking = self._waking.get(journal)
        if waking is None:
            waking = self._waking[journal] = asyncio.get_running_loop().create_task(self._wake(journal))
            waking.add_done_callback(lambda _: self._waking.pop(journal, None))
        return await asyncio.shield(waking)

    def unplugged(self, journal: str) -> Cell:
        """Return a cell that is not awake: to read an actor's past with, never to send it anything."""
        actor_type = parse_journal_name(journal).actor_type
        cls = self._classes.get(actor_type)
        if cls is None:
            raise UnknownActorError(
                f"actor type [{actor_type}] has no code in this process; expected one of "
                f"[{', '.join(sorted(self._classes)) or 'none'}]: pass its class to Loom.open(actors=…), or list its module "
                "under modules: in the config"
            )
        return Cell(self, cls, journal)

    async def _wake(self, journal: str) -> Cell:
        cell = self.unplugged(journal)
        try:
            await cell.wake()
        except ActorStoppedError as error:
            self._stopped[journal] = error
            raise
        self._cells[journal] = cell
        return cell

    def forget(self, cell: Cell, *, revive: bool = False) -> None:
        """Let a cell go; with `revive`, wake its actor again by and by, as it has turns to resume."""
        if self._cells.get(cell.journal) is cell:
            del self._cells[cell.journal]
            if revive and self.resumes:
                self._revive.add(cell.journal)

    @property
    def awake(self) -> int:
        """How many actors are awake."""
        return len(self._cells)

    def running(self, journal: str, command_id: str) -> Turn | None:
        """Return a turn that is under way in this process."""
        cell = self._cells.get(journal)
        return None if cell is None else cell.turns.get(command_id)

    def stuck(self, journal: str, command_id: str) -> LoomError | None:
        """Return why a turn is stuck in this process."""
        cell = self._cells.get(journal)
        return None if cell is None else cell.stuck.get(command_id)

    # --- commands -------------------------------------------------------------------------------

    async def ask(
        self,
        cls: type[Actor[Any]],
        key: str,
        command: Command[Any],
        *,
        command_id: str | None = None,
        by: str | None = None,
        timeout_s: float | None = None,
        sender: Turn | None = None,
    ) -> JsonValue:
        """Send a command and return its reply as plain JSON; the timeout ends the wait, never the turn."""
        known_id = command_id or self.services.sources.new_id()
        try:
            async with asyncio.timeout(timeout_s):
                sent = await self._send(
                    cls, key, command, command_id=known_id, fresh=command_id is None, by=by, sender=sender, waits=True
                )
                return await asyncio.shield(sent.reply)
        except TimeoutError:
            raise AskTimeoutError(
                f"actor [{cls.actor_type}/{key}] did not reply to [{command.command_type}] within [{timeout_s}] s; "
                f"expected a reply: the turn goes on; ask again with id [{known_id}] for it"
            ) from None

    async def tell(
        self,
        cls: type[Actor[Any]],
        key: str,
        command: Command[Any],
        *,
        command_id: str | None = None,
        by: str | None = None,
        sender: Turn | None = None,
    ) -> Told:
        """Send a command and return once it is durable."""
        known_id = command_id or self.services.sources.new_id()
        sent = await self._send(
            cls, key, command, command_id=known_id, fresh=command_id is None, by=by, sender=sender, waits=False
        )
        try:
            receipt = await asyncio.shield(sent.received)
        except AppendUnknownError as unknown:
            resolved = await self.services.store.resolve(unknown)
            if resolved is None:
                raise
            receipt = resolved
        return Told(receipt.journal, known_id, receipt.sequence, receipt.position)

    async def _send(
        self,
        cls: type[Actor[Any]],
        key: str,
        command: Command[Any],
        *,
        command_id: str,
        fresh: bool,
        by: str | None,
        sender: Turn | None,
        waits: bool,
    ) -> _Sent:
        """Have a command accepted by its cell; one that came before is answered from what was recorded."""
        if self.closing:
            raise _closed()
        if self._classes.get(cls.actor_type) is not cls:
            await self.register(cls)
        journal = journal_name(cls.actor_type, key)
        entry = CommandReceivedEntry(
            command_type=command.command_type,
            payload=command.model_dump(mode="json"),
            by=by or (sender.by if sender else None),
            correlation_id=sender.correlation_id if sender else command_id,
            causation_id=sender.command_id if sender else None,
            waiting=(*sender.waiting, sender.host.journal) if sender and waits else (),
        )
        if fresh:
            return await self._accept(cls, journal, command, entry, command_id)
        lock = self._accepting.setdefault((journal, command_id), asyncio.Lock())
        try:
            async with lock:
                before = await self._received_before(journal, command_id)
                if before is None:
                    return await self._accept(cls, journal, command, entry, command_id)
                return await self._sent_before(before, entry, journal, command_id)
        finally:
            if not lock.locked():
                self._accepting.pop((journal, command_id), None)

    async def _accept(
        self, cls: type[Actor[Any]], journal: str, command: Command[Any], entry: CommandReceivedEntry, command_id: str
    ) -> _Sent:
        await self.services.store.room()
        cell = await self.cell(journal)
        while cell.dead is not None:
            cell = await self.cell(journal)
        if self.closing:
            raise _closed()
        turn = cell.accept(command, entry, command_id, self.pin(cls))
        assert turn.received is not None  # noqa: S101 - accept has journaled it
        return _Sent(turn.reply, turn.received)

    async def _received_before(self, journal: str, command_id: str) -> Turn | Recorded | None:
        """Return what is known of a command id: its turn under way, its first entry, or nothing."""
        cell = await self.cell(journal)
        return cell.turns.get(command_id) or await self.services.store.find_command(journal, command_id)

    async def _sent_before(
        self, before: Turn | Recorded, entry: CommandReceivedEntry, journal: str, command_id: str
    ) -> _Sent:
        """Attach to the turn under way, or return the recorded reply; other contents are a conflict."""
        first = before.entry
        assert isinstance(first, CommandReceivedEntry)  # noqa: S101 - the first entry of a turn is one
        if (first.command_type, first.payload) != (entry.command_type, entry.payload):
            raise CommandConflictError(
                f"command id [{command_id}] of journal [{journal}] came before with [{first.command_type}] and other "
                f"contents; expected the same ones: use a new id for [{entry.command_type}]"
            )
        if isinstance(before, Turn):
            assert before.received is not None or before.script is not None  # noqa: S101 - it was accepted or resumed
            received = before.received or _done(_receipt_of(await self._found(journal, command_id)))
            return _Sent(before.reply, received)
        reply: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        await self._recorded_reply(before, journal, command_id, reply)
        return _Sent(reply, _done(_receipt_of(before)))

    async def _found(self, journal: str, command_id: str) -> Recorded:
        found = await self.services.store.find_command(journal, command_id)
        assert found is not None  # noqa: S101 - the turn was resumed from it
        return found

    async def _recorded_reply(
        self, received: Recorded, journal: str, command_id: str, reply: asyncio.Future[JsonValue]
    ) -> None:
        """Read how a turn ended and put it into `reply`; one without an end is stuck, or another loom's."""
        async for recorded in self.services.store.read(journal, after=received.sequence):
            if recorded.command_id != command_id or recorded.kind not in ENDINGS:
                continue
            ending = recorded.entry
            if isinstance(ending, TurnCompletedEntry):
                reply.set_result(ending.reply)
            elif isinstance(ending, TurnFailedEntry):
                message = f"actor [{journal}] failed on command [{command_id}] with [{ending.type_name}: {ending.message}]"
                reply.set_exception(ActorFailedError(message, type_name=ending.type_name))
            elif isinstance(ending, TurnAbandonedEntry):
                message = f"turn [{journal}#{command_id}] was abandoned by [{ending.by}]: {ending.reason}"
                reply.set_exception(TurnAbandonedError(message))
            else:
                reply.set_exception(TurnStuckError(f"the end of turn [{journal}#{command_id}] was erased"))
            break
        else:
            stuck = self.stuck(journal, command_id)
            reply.set_exception(
                stuck or TurnStuckError(f"turn [{journal}#{command_id}] has no end yet and is not resumed here: see `loom turns`")
            )
        reply.exception()  # who only tells does not look

    # --- the ends of turns ----------------------------------------------------------------------

    def turn_ended(self, cell: Cell, turn: Turn) -> None:
        """Note that a turn is over, well or badly."""
        cell.last_used = time.monotonic()
        if turn.receipt is not None and cell.dead is None:
            every = self.services.options.snapshot_every
            if every and turn.receipt.sequence - cell.snapshot_at >= every:
                self._in_background(cell.keep_snapshot(turn.receipt, every=every))

    async def turn_failed(self, cell: Cell) -> None:
        """Rebuild an actor whose turn failed; stop it when that happens too often."""
        options = self.services.options
        failures = self._failures.setdefault(cell.journal, deque(maxlen=options.max_failures + 1))
        now = time.monotonic()
        failures.append(now)
        if len(failures) > options.max_failures and now - failures[0] <= options.failure_window_s:
            self._stop(
                cell,
                ActorStoppedError(
                    f"actor [{cell.journal}] failed [{len(failures)}] times within [{options.failure_window_s}] s; expected at "
                    f"most [{options.max_failures}]: it is stopped; mend the cause, then restart it"
                ),
            )
            return
        if cell.state.wanted:
            try:
                await cell.rebuild()
            except ActorStoppedError as error:
                self._stop(cell, error)
            except LoomError as error:
                cell.die(error)

    def restart(self, journal: str) -> None:
        """Let an actor take commands again that was stopped."""
        self._stopped.pop(journal, None)
        self._failures.pop(journal, None)

    def _stop(self, cell: Cell, error: LoomError) -> None:
        _log.error("actor_stopped", journal=cell.journal, error=str(error))
        self._stopped[cell.journal] = error
        self.forget(cell)
        waiting = list(cell.mailbox)
        cell.mailbox.clear()
        for turn in waiting:
            cell.turns.pop(turn.command_id, None)
            refuse(turn, error)

    # --- a life ---------------------------------------------------------------------------------

    def start(self, unfinished: Iterable[str]) -> None:
        """Resume the turns of these journals in the background, and begin to let idle actors go."""
        if self.resumes:
            self._in_background(self._resume(list(unfinished)))
        self._in_background(self._sweep())

    async def _resume(self, journals: list[str]) -> None:
        gate = asyncio.Semaphore(self.services.options.resume_concurrency)

        async def resume(journal: str) -> None:
            async with gate:
                await self._wake_quietly(journal)

        await asyncio.gather(*(resume(journal) for journal in dict.fromkeys(journals)))

    async def _wake_quietly(self, journal: str) -> None:
        """Wake an actor for its unfinished turns; those without code wait for it, and are shown as such."""
        try:
            if self.knows(parse_journal_name(journal).actor_type):
                await self.cell(journal)
        except LoomError as error:
            _log.warning("actor_not_woken", journal=journal, error=str(error))

    async def _sweep(self) -> None:
        """Let actors go that have been idle, and wake those again whose cells were given up."""
        idle_after_s = self.services.options.idle_after_s
        while True:
            await asyncio.sleep(max(idle_after_s / 2, 0.01))
            before = time.monotonic() - idle_after_s
            for cell in list(self._cells.values()):
                if cell.idle and cell.last_used < before and not cell.stuck:
                    self.forget(cell)
            revive, self._revive = self._revive, set()
            for journal in revive:
                await self._wake_quietly(journal)

    async def close(self) -> None:
        """Take no more commands, give running turns their grace, then cut short what is left: it is resumed later."""
        self.closing = True
        for task in self._background:
            task.cancel()
        running = {
            turn.task
            for cell in self._cells.values()
            for turn in cell.turns.values()
            if turn.task is not None and not turn.parked
        }
        if running:
            await asyncio.wait(running, timeout=self.services.options.shutdown_grace_s)
        tasks = [task for cell in list(self._cells.values()) for task in cell.open_tasks]
        for cell in list(self._cells.values()):
            cell.interrupt()
        await asyncio.gather(*tasks, *self._background, *self._waking.values(), return_exceptions=True)
        self._cells.clear()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("background_task_failed", error=repr(task.exception()))


def _closed() -> LoomClosedError:
    return LoomClosedError("the loom is closed or closing; expected an open one: open it before sending commands")


def _done(receipt: Receipt) -> asyncio.Future[Receipt]:
    future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    future.set_result(receipt)
    return future


def _receipt_of(recorded: Recorded) -> Receipt:
    return Receipt(
        recorded.journal, recorded.sequence, recorded.position, recorded.entry_hash, recorded.recorded_at_us
    )
