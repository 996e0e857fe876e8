"""The actors of a loom: those that are awake, and the handling of failed, idle and invalid ones."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from loom.actors.actor import Actor
from loom.actors.cell import Cell
from loom.actors.classes import ActorClasses, Factory
from loom.actors.dispatch import Dispatcher
from loom.actors.failures import construction_failed
from loom.actors.inbox import is_message
from loom.actors.services import Services
from loom.actors.sleepers import Sleepers
from loom.actors.stopped import StoppedActor, StoppedActors
from loom.actors.turn import Turn
from loom.background import Background, Child
from loom.errors import ActorStoppedError, LoomClosedError, LoomError
from loom.identity import By, parse_journal_name
from loom.journal.entry import Step
from loom.journal.kinds import OWN_IDS
from loom.journal.listing import first_of_type
from loom.telemetry import get_logger

__all__ = ["ActorSystem"]

T = TypeVar("T")

_REVIVE_FIRST_S = 0.05
_REVIVE_AT_LEAST_EVERY_S = 30.0

_log = get_logger("loom.actors")


class ActorSystem:
    """Wakes actors for their commands, and discards them when they are idle."""

    def __init__(
        self,
        services: Services,
        *,
        resumes: bool = True,
        by: By,
        configured: Collection[str] = (),
        background: Background | None = None,
    ) -> None:
        self.services = services
        self.resumes = resumes
        self.closing = False
        self.classes = ActorClasses(services.policies, services.rules, by=by, configured=configured)
        self.messenger = Dispatcher(self)
        """Sends commands to these actors."""
        self._cells: dict[str, Cell] = {}
        self._waking: dict[str, asyncio.Task[None]] = {}
        self.stopped = StoppedActors(services.options, self._comes_back)
        self._without_code: dict[str, list[str]] = {}
        self._still_writing: dict[str, asyncio.Future[Any]] = {}
        self._to_revive: set[str] = set()
        self._gave_up = asyncio.Event()
        self.background = background or Background()
        self._children: set[Child[Any]] = set()
        self._context = contextvars.copy_context()
        self.sleepers = Sleepers(self)
        """The turns that wait for a long time."""
        services.timer.on_due = self._wait_is_over

    # --- classes --------------------------------------------------------------------------------

    async def register(self, cls: type[Actor[Any]], factory: Factory | None = None) -> None:
        """Make an actor class known, and its policy with it; its turns that waited for code are resumed.

        A type whose journals hold imported decisions is refused with a `DuplicateKindError`.
        """
        if (
            not self.classes.knows(cls.actor_type)
            and await first_of_type(self.services.store, cls.actor_type) in OWN_IDS
        ):
            self.reserve(cls.actor_type)
        if await self.classes.register(cls, factory):
            waited = self._without_code.pop(cls.actor_type, [])
            if waited and self.resumes and not self.closing:
                self.in_background(self.wake_all(waited), name=f"loom-wake {cls.actor_type}")

    async def know(self, cls: type[Actor[Any]]) -> None:
        """Register a class by first use; raise `LoomClosedError` if the loom accepts no more commands."""
        if self.closing:
            raise _closed()
        if not self.classes.known(cls):
            await self.register(cls)

    def reserve(self, actor_type: str) -> None:
        """Refuse code for an actor type from now on: its journals hold imported decisions."""
        self.classes.reserve(actor_type)

    def knows(self, actor_type: str) -> bool:
        """Tell whether there is code for an actor type."""
        return self.classes.knows(actor_type)

    # --- cells ----------------------------------------------------------------------------------

    async def cell(self, journal: str) -> Cell:
        """Return the cell of an actor, waking it if need be; raise `UnknownActorError` without its code.

        It stays awake at least until its caller awaits something else.
        """
        while True:
            awake = self._cells.get(journal)
            if awake is not None:
                return awake
            if self.closing:
                raise _closed()
            self.stopped.check(journal)
            waking = self._waking.get(journal)
            if waking is None:
                waking = self._waking[journal] = self.spawn(self._wake(journal))
                waking.add_done_callback(partial(self._woken, journal))
            await asyncio.shield(waking)

    def detached_cell(self, journal: str) -> Cell:
        """Return a cell that is not awake: to inspect its actor's class, or to replay its turns."""
        return Cell(self, self.classes.get(parse_journal_name(journal).actor_type), journal)

    @property
    def awake(self) -> int:
        """The number of actors that are awake."""
        return len(self._cells)

    def running(self, journal: str, command_id: str) -> Turn | None:
        """Return a turn that is under way in this process."""
        cell = self._cells.get(journal)
        return None if cell is None else cell.turns.get(command_id)

    def stuck(self, journal: str, command_id: str) -> LoomError | None:
        """Return why a turn is stuck in this process."""
        cell = self._cells.get(journal)
        return None if cell is None else cell.stuck.get(command_id)

    def keeps(self, actor_type: str, command_type: str | None) -> bool:
        """Tell whether a command without an end is a message: no turn of its own runs for it."""
        return is_message(str(command_type), self.classes.get(actor_type))

    def cells(self) -> tuple[Cell, ...]:
        """Return the cells of the actors that are awake."""
        return tuple(self._cells.values())

    def without_code(self) -> Mapping[str, Sequence[str]]:
        """Return the journals with turns whose actor type is unknown here, by actor type."""
        return {actor_type: tuple(journals) for actor_type, journals in self._without_code.items()}

    def waits_for(self, journal: str) -> list[str]:
        """Return the journals whose actors the running turn of an actor has asked and waits for."""
        cell = self._cells.get(journal)
        if cell is None or cell.lock.owner is None:
            return []
        return [each for each, times in cell.lock.owner.asking.items() if times > 0]

    def _woken(self, journal: str, waking: asyncio.Task[None]) -> None:
        del self._waking[journal]
        if not waking.cancelled():
            waking.exception()  # its caller may have been cancelled

    async def _wake(self, journal: str) -> None:
        try:
            if (before := self._still_writing.get(journal)) is not None:
                await asyncio.wait([before])
            cell = self.detached_cell(journal)
            turns = await cell.wake()
        except ActorStoppedError as error:
            self.stopped.stop(journal, error)
            raise
        except LoomError:
            raise
        except Exception as error:  # its constructor, factory or first state: user code
            stopped = construction_failed(journal, error)
            self.stopped.stop(journal, stopped)
            raise stopped from error
        if self.closing:
            raise _closed()
        self._cells[journal] = cell
        cell.resume(turns)
        cell.inbox.match()

    # --- invalid, stopped and idle actors --------------------------------------------------------

    def on_invalidated(self, cell: Cell) -> None:
        """Discard a cell that could not write; its actor is woken again later if it has turns to resume."""
        self._forget(cell)
        if cell.open and self.resumes:
            self._to_revive.add(cell.journal)
            self._gave_up.set()

    def stop_actor(self, cell: Cell, error: LoomError) -> None:
        """Accept no more commands for an actor until it resumes or is restarted; then its turns are resumed."""
        _log.error("actor_stopped", journal=cell.journal, error=str(error))
        self.stopped.stop(cell.journal, error, turns=len(cell.open), failures=cell.failures.recent)
        self._forget(cell)
        cell.stop(lambda _: error)

    def block(self, journal: str, why: LoomError) -> bool:
        """Accept no more commands for an actor that is at rest; False for one that is at work, or stopped already."""
        cell = self._cells.get(journal)
        if journal in self._waking or (cell is not None and not cell.idle):
            return False
        if not self.stopped.block(journal, why):  # the reason of its stop is not forgotten
            return False
        if cell is not None:
            self._forget(cell)
        return True

    def unblock(self, journal: str) -> None:
        """Let a blocked actor take commands again."""
        self.stopped.release(journal)

    async def restart(self, journal: str) -> None:
        """Let a stopped actor take commands again, and resume its turns."""
        self.stopped.release(journal)
        await self.cell(journal)

    def _comes_back(self, journal: str, stopped: StoppedActor) -> None:
        """Let an actor take commands again after its back-off; its turns are resumed."""
        _log.info("actor_comes_back", journal=journal, stops=stopped.stops)
        if stopped.turns and self.resumes and not self.closing:
            self.in_background(self.wake_all([journal]), name=f"loom-wake {journal}")

    def let_go(self, cell: Cell) -> None:
        """Discard an idle actor; it is woken again for its next command."""
        self._forget(cell)

    async def woken(self) -> None:
        """Wait for the actors that are being woken now."""
        if self._waking:
            await asyncio.wait(list(self._waking.values()))

    def _forget(self, cell: Cell) -> None:
        if self._cells.get(cell.journal) is not cell:
            return
        del self._cells[cell.journal]
        if cell.written is not None:  # the next cell depends on the results of its appends
            self._still_writing[cell.journal] = cell.written
            cell.written.add_done_callback(lambda _: self._still_writing.pop(cell.journal, None))

    def _wait_is_over(self, journal: str, command_id: str, step: Step | None) -> None:
        """Let a turn go on whose wait has ended, waking its actor if need be."""
        cell = self._cells.get(journal)
        if cell is not None:
            cell.wait_is_over(command_id, step)
        elif not self.closing:
            self.sleepers.due(journal)

    async def _revive(self) -> None:
        """Wake the invalid actors again: soon at first, then less often while nothing can be written."""
        delay_s, journals, woken_at = _REVIVE_FIRST_S, set[str](), 0.0
        while True:
            await self._gave_up.wait()
            again = self._to_revive & journals and time.monotonic() - woken_at < _REVIVE_AT_LEAST_EVERY_S
            delay_s = min(delay_s * 2, _REVIVE_AT_LEAST_EVERY_S) if again else _REVIVE_FIRST_S
            await asyncio.sleep(delay_s)
            self._gave_up.clear()
            journals, self._to_revive = self._to_revive, set()
            for journal in sorted(journals):
                if not await self._wake_quietly(journal):
                    self._to_revive.add(journal)
                    self._gave_up.set()
            woken_at = time.monotonic()

    async def _sweep(self) -> None:
        """Discard actors that have been idle."""
        idle_after_s = self.services.options.idle_after_s
        while True:
            await asyncio.sleep(max(idle_after_s / 2, 0.01))
            before = time.monotonic() - idle_after_s
            for cell in list(self._cells.values()):
                if cell.idle and cell.last_used < before:
                    self._forget(cell)

    # --- a life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Resume unfinished turns in the background, once they are found, and begin to discard idle actors."""
        if self.resumes:
            self.keep_running(self._resume, name="loom-resume")
            self.services.timer.start()
            self.keep_running(self.sleepers.wake, name="loom-sleepers")
            self.keep_running(self.sleepers.watch, name="loom-sleepers-due")
            self.keep_running(self._revive, name="loom-revive")
        self.keep_running(self._sweep, name="loom-sweep")

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something in the context in which the loom was opened, not in that of its caller."""
        return asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())

    async def close(self) -> None:
        """Accept no more commands, give running turns their grace, then interrupt the rest: it is resumed later."""
        self.closing = True
        self.stopped.close()
        self.services.timer.close()
        grace_s = self.services.options.shutdown_grace_s
        for task in list(self._children):
            task.cancel()
        await _gone([*self._children, *self._waking.values()], within_s=max(grace_s, 1.0))
        running = [
            turn.task
            for cell in self._cells.values()
            for turn in cell.turns.values()
            if turn.task is not None and not turn.parked
        ]
        if running:
            await asyncio.wait(running, timeout=grace_s)
        leaving = [task for cell in list(self._cells.values()) for task in cell.stop(Turn.shut_down)]
        await _gone([*leaving, *self._children], within_s=max(grace_s, 1.0))
        self._cells.clear()

    async def _resume(self) -> None:
        """Wake the actors whose turns have no end, oldest turn first, as the journal has them, not a view."""
        delay_s = _REVIVE_FIRST_S
        while True:
            try:
                journals = await self.sleepers.to_wake(self.services.store.unfinished())
                break
            except LoomError as error:
                _log.warning("unfinished_turns_not_found_yet", error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _REVIVE_AT_LEAST_EVERY_S)
        await self.wake_all(journals)

    async def wake_all(self, journals: Iterable[str]) -> None:
        """Wake actors for their unfinished turns, some at a time."""
        gate = asyncio.Semaphore(self.services.options.resume_concurrency)

        async def wake(journal: str) -> None:
            async with gate:
                if not await self._wake_quietly(journal):
                    self._to_revive.add(journal)
                    self._gave_up.set()

        await asyncio.gather(*(wake(journal) for journal in journals))

    async def _wake_quietly(self, journal: str) -> bool:
        """Wake an actor for its unfinished turns; return whether nothing remains to be done for it."""
        try:
            actor_type = parse_journal_name(journal).actor_type
            if self.knows(actor_type):
                await self.cell(journal)
            else:  # they wait for their code, and are shown as such
                self._without_code.setdefault(actor_type, []).append(journal)
        except LoomError as error:
            _log.warning("actor_not_woken", journal=journal, error=str(error))
            if (stopped := self.stopped.get(journal)) is not None:
                stopped.turns = max(stopped.turns, 1)
            return self.closing or stopped is not None
        return True

    def in_background(self, work: Coroutine[Any, Any, None], *, name: str) -> Child[None]:
        """Run something that is cancelled when the loom closes."""
        return self._note(self.background.start(work, name=name, context=self._context.copy()))

    def keep_running(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        """Run something that is begun again where it fails, until the loom closes."""
        self._note(self.background.keep_running(work, name=name, context=self._context.copy()))

    def _note(self, child: Child[None]) -> Child[None]:
        self._children.add(child)
        child.add_done_callback(lambda _: self._children.discard(child))
        return child


async def _gone(tasks: list[asyncio.Task[Any] | Child[Any]], *, within_s: float) -> None:
    """Wait for cancelled tasks; those that ignore the cancellation can do nothing more, and are left."""
    if tasks:
        _, ignoring = await asyncio.wait(tasks, timeout=within_s)
        if ignoring:
            _log.error("tasks_ignore_cancellation", tasks=[task.get_name() for task in ignoring])


def _closed() -> LoomClosedError:
    return LoomClosedError("the loom is closed or closing; expected an open one: open it before sending commands")
