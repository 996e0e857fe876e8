"""Background work: the task group of an open loom, whose children have names and whose failures are heard.

An asyncio task of its own enters the task group, and leaves it: anyio has a group left by the task that entered it, and
a loom may be closed in another task than it was opened in. That task lives as long as there are children. A child that
fails ends alone: its failure is logged with its name, and is listed until the loom closes. What a failure means is
decided where the child is started: what is `started` ends, what is to `keep_running` begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar

import anyio
from anyio.abc import TaskGroup

from loom.telemetry import get_logger

__all__ = ["Background", "Child", "Failure", "awaiting", "done_before", "finished", "stopped", "to_its_end"]

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]

_AGAIN_S = 0.1
_AGAIN_AT_LEAST_EVERY_S = 30.0
_MOST_FAILURES = 100
_CLOSE_S = 5.0

_log = get_logger("loom.background")


class Failure(NamedTuple):
    """A child that failed: its name, its last error, how often it failed, and whether it was started again."""

    name: str
    error: str
    times: int
    runs_again: bool


class Child(asyncio.Future[T]):
    """The result of background work. To cancel it is to cancel the work, as with a task."""

    def __init__(self, name: str, work: Coroutine[Any, Any, T], context: Context, *, awaited: bool) -> None:
        super().__init__()
        self.name = name
        self.awaited = awaited
        self.context = context
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def get_name(self) -> str:
        """Return its name, as a task does."""
        return self.name

    def cancel(self, msg: object = None) -> bool:
        """Cancel the work; the result is there once the work has ended."""
        if self.done():
            return False
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()
        return True

    def drop(self) -> None:
        """Cancel work that was not begun."""
        self._work.close()
        super().cancel()

    async def run(self) -> None:
        """Do the work, and keep its result; a failure is kept and not raised, as it would end the whole group."""
        self._task = asyncio.current_task()
        try:
            if self._is_cancelled:
                self.drop()
            else:
                self.set_result(await self._work)
        except asyncio.CancelledError:
            super().cancel()
        except Exception as error:
            self.set_exception(error)
            self.exception()  # it is logged by its owner, and not again as never retrieved
        except BaseException:
            super().cancel()
            raise


class Background:
    """Owns background work. `close` it; one that has no children holds no task, so that it may also be left."""

    def __init__(self) -> None:
        self._children: set[Child[Any]] = set()
        self._waiting: list[Child[Any]] = []
        self._group: TaskGroup | None = None
        self._host: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._failures: dict[str, Failure] = {}
        self._closed = False

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the children that run, in order."""
        return tuple(sorted(each.name for each in self._children))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The children that failed, the last hundred by name."""
        return tuple(self._failures.values())

    def start(
        self, work: Coroutine[Any, Any, T], *, name: str, context: Context | None = None, awaited: bool = False
    ) -> Child[T]:
        """Begin something that runs once; its failure is logged and listed, unless its result is `awaited`.

        It runs in a copy of `context`, by default of the caller's. After the end it is cancelled at once.
        """
        child = Child(name, work, copy_context() if context is None else context, awaited=awaited)
        if self._closed:
            child.drop()
            return child
        self._children.add(child)
        child.add_done_callback(self._ended)
        if self._group is not None and asyncio.current_task() is not None:
            self._begin(self._group, child)
            return child
        self._waiting.append(child)  # a callback of the event loop has no task, and a group takes none without
        if self._host is None:
            self._changed = asyncio.Event()
            self._host = asyncio.get_running_loop().create_task(self._own(self._changed), name="loom-background")
        self._changed.set()
        return child

    def keep_running(self, work: Work[None], *, name: str, context: Context | None = None) -> Child[None]:
        """Begin something that follows what happens: where it fails, it is begun again after a pause that grows."""
        return self.start(self._again_and_again(work, name), name=name, context=context)

    async def close(self, *, within_s: float = _CLOSE_S) -> None:
        """Cancel what still runs, and wait for its end; what ignores the cancellation is named and left."""
        self._closed = True
        for child in self._children:
            child.cancel()
        if self._host is not None and self._host is not asyncio.current_task():
            await asyncio.wait([self._host], timeout=within_s)
        if self._children:
            _log.error("tasks_ignore_cancellation", tasks=self.running)

    async def _own(self, changed: asyncio.Event) -> None:
        """Hold the task group from the first child to the last."""
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                while self._host is asyncio.current_task():
                    changed.clear()
                    while self._waiting:
                        self._begin(group, self._waiting.pop(0))
                    await changed.wait()
        finally:
            for child in self._waiting if self._host is asyncio.current_task() else ():  # the event loop is torn down
                child.drop()

    @staticmethod
    def _begin(group: TaskGroup, child: Child[Any]) -> None:
        child.context.run(partial(group.start_soon, child.run, name=child.name))

    def _ended(self, child: asyncio.Future[Any]) -> None:
        assert isinstance(child, Child)  # noqa: S101 - narrows: added by `start`
        self._children.discard(child)
        if not child.cancelled() and (error := child.exception()) is not None and not child.awaited:
            self._note(child.name, error, runs_again=False)
        if not self._children:
            self._group = self._host = None
            self._changed.set()

    async def _again_and_again(self, work: Work[None], name: str) -> None:
        pause_s = _AGAIN_S
        while True:
            try:
                return await work()
            except Exception as error:
                self._note(name, error, runs_again=True)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _AGAIN_AT_LEAST_EVERY_S)

    def _note(self, name: str, error: BaseException, *, runs_again: bool) -> None:
        before = self._failures.pop(name, None)
        while len(self._failures) >= _MOST_FAILURES:
            del self._failures[next(iter(self._failures))]
        times = 1 if before is None else before.times + 1
        self._failures[name] = Failure(name, f"{type(error).__name__}: {error}", times, runs_again)
        _log.error("background_task_failed", task=name, error=repr(error), runs_again=runs_again, exc_info=error)


async def finished(work: Awaitable[T]) -> T:
    """Await work, or its task, that is done to its end: a cancellation ends the wait at once, and never the work.

    Should the work then fail, that is logged, as no one else hears of it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_heard)
        raise


async def stopped(*work: asyncio.Future[Any] | None) -> None:
    """Cancel work and wait until it has ended, whatever it raises then; None is work that was never begun."""
    begun = [each for each in work if each is not None]
    for each in begun:
        each.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not stop halfway: a cancellation is passed on once the work is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        _heard(task)
        raise


@contextlib.asynccontextmanager
async def awaiting(work: Coroutine[Any, Any, T], *, context: Context | None = None) -> AsyncIterator[asyncio.Task[T]]:
    """Yield the task of work that is done meanwhile, to be awaited; on the way out it is cancelled, and has ended."""
    task = asyncio.get_running_loop().create_task(work, context=context)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at: the caller had the result, or has left


async def done_before(work: Coroutine[Any, Any, object], ended: asyncio.Event) -> bool:
    """Do what may take long; return False, and leave it undone, where `ended` is set before it is done."""
    async with awaiting(work) as doing, awaiting(ended.wait()) as ending:
        await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        await doing
        return True


def _heard(task: asyncio.Future[Any]) -> None:
    """Log the failure of work whose caller has gone."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("failed_after_its_caller_left", error=repr(error))
