"""The actors of a loom: those that are awake, and the handling of failed, idle and invalid ones."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
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
from loom.actors.waking import Waker
from loom.background import Background, Child
from loom.errors import ActorStoppedError, LoomClosedError, LoomError, NotOwnerError, WriterFencedError
from loom.identity import By, parse_journal_name
from loom.journal.entry import Step
from loom.journal.kinds import OWN_IDS
from loom.journal.listing import first_of_type
from loom.telemetry import get_logger

__all__ = ["ActorSystem"]

T = TypeVar("T")

_LOOK_S = 0.02
"""How often a loom that closes looks whether a turn is parked by now."""

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
        self._still_writing: dict[str, asyncio.Future[Any]] = {}
        self.waker = Waker(self)
        """Wakes actors for their unfinished turns."""
        self.background = background or Background()
        self._children: set[Child[Any]] = set()
        self._context = contextvars.copy_context()
        self.sleepers = Sleepers(self)
        """The turns that wait for a long time."""
        services.timer.on_due = self._wait_is_over
        self.fenced_by: LoomError | None = None
        """Why this process may write nothing more, once that is so: it has to end."""
        services.store.on_fenced(self._fenced)

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
            waited = self.waker.without_code.pop(cls.actor_type, [])
            if waited and self.resumes and not self.closing:
                self.in_background(self.waker.wake_all(waited), name=f"loom-wake {cls.actor_type}")

    async def know(self, cls: type[Actor[Any]]) -> None:
        """Register a class by first use; raise `LoomClosedError` if the loom accepts no more commands."""
        if self.closing:
            self._check_open()
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
        """Return the cell of an actor, waking it if need be.

        Raises `UnknownActorError` without its code, and `NotOwnerError` if another process is its owner. It stays awake
        at least until its caller awaits something else.
        """
        while True:
            awake = self._cells.get(journal)
            if awake is not None:
                return awake
            self._check_open()
            self._check_mine(journal)
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
        return {actor_type: tuple(journals) for actor_type, journals in self.waker.without_code.items()}

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
        self._check_open()
        self._check_mine(journal)  # it may have changed meanwhile
        self._cells[journal] = cell
        if cell.taken_over_at:
            for command_id in cell.open:
                self.services.requests.look_again(journal, command_id)
        cell.resume(turns)
        cell.inbox.match()

    # --- invalid, stopped and idle actors --------------------------------------------------------

    def on_invalidated(self, cell: Cell) -> None:
        """Discard a cell that could not write; its actor is woken again later if it has turns to resume."""
        self._forget(cell)
        taken = isinstance(cell.invalidated_by, WriterFencedError | NotOwnerError)  # it has another owner now
        if cell.open and self.resumes and not taken:
            self.waker.revive_later(cell.journal)

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
            self.in_background(self.waker.wake_all([journal]), name=f"loom-wake {journal}")

    async def wake(self, journal: str) -> None:
        """Wake an actor for its unfinished turns; where that fails, try again later."""
        await self.waker.wake_all([journal])

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
        elif not self.services.ownership.mine(journal):  # its owner has set a time of its own
            self.services.timer.forget_turn((journal, command_id))
        elif not self.closing:
            self.sleepers.due(journal)

    async def _sweep(self) -> None:
        """Discard actors that have been idle."""
        idle_after_s = self.services.options.idle_after_s
        while True:
            await asyncio.sleep(max(idle_after_s / 2, 0.01))
            before = time.monotonic() - idle_after_s
            for cell in list(self._cells.values()):
                if cell.idle and cell.last_used < before:
                    self._forget(cell)

    # --- several processes ----------------------------------------------------------------------

    def ownership_changed(self) -> None:
        """Give up the actors that another process owns now, and resume the turns of those that this one owns.

        Turns that are cut short are resumed by the new owner. Resuming goes on in the background.
        """
        ownership, resumed = self.services.ownership, self.resumes and not self.closing
        for cell in self.cells():
            if not ownership.mine(cell.journal):
                cell.invalidate(NotOwnerError(journal=cell.journal, address=ownership.address(cell.journal)))
        timer = self.services.timer
        for turn in [each for each in timer.times if not ownership.mine(each[0])]:
            timer.forget_turn(turn)
        self.services.requests.forget()
        if resumed:
            self.in_background(self.waker.resume(), name="loom-resume")

    def _fenced(self, error: LoomError) -> None:
        """End: a turn that waits would never learn that its journal has another owner."""
        _log.error("process_fenced", error=str(error))
        self.fenced_by, self.closing = error, True
        for cell in self.cells():
            cell.invalidate(error)
        self.stopped.close()
        self.services.timer.close()

    def _check_open(self) -> None:
        if self.closing:
            raise _closed() if self.fenced_by is None else WriterFencedError(str(self.fenced_by))

    def _check_mine(self, journal: str) -> None:
        ownership = self.services.ownership
        if not ownership.mine(journal):
            raise NotOwnerError(journal=journal, address=ownership.address(journal))

    # --- a life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Resume unfinished turns in the background, once they are found, and begin to discard idle actors."""
        if self.resumes:
            self.keep_running(self.waker.resume, name="loom-resume")
            self.services.timer.start()
            self.keep_running(self.sleepers.wake, name="loom-sleepers")
            self.keep_running(self.sleepers.watch, name="loom-sleepers-due")
            self.keep_running(self.waker.revive, name="loom-revive")
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
        await self._quiet(within_s=grace_s)
        leaving = [task for cell in list(self._cells.values()) for task in cell.stop(Turn.shut_down)]
        await _gone([*leaving, *self._children], within_s=max(grace_s, 1.0))
        self._cells.clear()

    async def _quiet(self, *, within_s: float) -> None:
        """Wait until each turn has ended or is parked: one that parks now would take all of the time to end."""
        cells, until = self._cells.values, time.monotonic() + within_s
        while running := [
            turn.task for cell in cells() for turn in cell.turns.values() if turn.task is not None and not turn.parked
        ]:
            if (left_s := until - time.monotonic()) <= 0:
                return
            await asyncio.wait(running, timeout=min(left_s, _LOOK_S))

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
