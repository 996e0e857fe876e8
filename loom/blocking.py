"""A loom for code that is not asynchronous: scripts, notebooks, Django. It runs in a thread of its own."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from loom.actors import Actor, ActorRef, Command, TellReceipt
from loom.actors.command import Handles, Sent
from loom.errors import LoomClosedError
from loom.identity import By

__all__ = ["BlockingLoom", "BlockingRef"]

A = TypeVar("A", bound=Actor[Any])
A_co = TypeVar("A_co", covariant=True)
C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")


class _Opened(Protocol):
    def actor(self, cls: type[A], key: str, /) -> ActorRef[A]: ...


L = TypeVar("L", bound=_Opened)


class BlockingRef(Generic[A_co]):
    """A reference to one actor for code that is not asynchronous: typed as `ActorRef` is."""

    def __init__(self, portal: BlockingPortal, ref: ActorRef[Any]) -> None:
        self._portal = portal
        self._ref = ref
        self.journal = ref.journal
        """The name of the actor's journal."""

    def __repr__(self) -> str:
        return f"<BlockingRef {self.journal}>"

    def ask(
        self: BlockingRef[Handles[C]],
        command: Sent[C, R],
        *,
        id: str | None = None,
        by: By | None = None,
        timeout_s: float | None = None,
    ) -> R:
        """Send a command and return its reply: see `ActorRef.ask`. An interrupt ends the wait, never the turn."""
        sent = cast("Command[R]", command)
        reply: R = self._portal.call(lambda: self._ref.ask(sent, id=id, by=by, timeout_s=timeout_s))
        return reply

    def tell(
        self: BlockingRef[Handles[C]], command: Sent[C, Any], *, id: str | None = None, by: By | None = None
    ) -> TellReceipt:
        """Send a command and return once it is durable; its turn runs by itself."""
        sent = cast("Command[Any]", command)
        return self._portal.call(lambda: self._ref.tell(sent, id=id, by=by))


class BlockingLoom(Generic[L]):
    """A loom to be entered with `with`; it may be used from any thread until it is closed."""

    def __init__(self, opening: AbstractAsyncContextManager[L]) -> None:
        self._opening = opening
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._loom: L | None = None

    def __repr__(self) -> str:
        return f"<Blocking {self._opening!r}>"

    def __enter__(self) -> BlockingLoom[L]:
        if self._portal is not None:
            raise LoomClosedError("loom was opened before; expected to open it once: call Loom.open_sync again")
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal("asyncio"))
            self._loom = stack.enter_context(self._portal.wrap_async_context_manager(self._opening))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loom = None
        self._stack.close()

    def stay_open(self) -> BlockingLoom[L]:
        """Open it for as long as the process lives, and close it at the end: where there is no place for a `with`.

        The end is that of the main thread. A process that is killed closes nothing: its turns resume at the next start.
        """
        opened = self.__enter__()
        # What `atexit` calls comes too late: by then pools of threads refuse work, and closing needs one.
        register = getattr(threading, "_register_atexit", atexit.register)
        register(self.__exit__, None, None, None)
        return opened

    def actor(self, cls: type[A], key: str) -> BlockingRef[A]:
        """Return the handle of one actor; it wakes with its first command."""
        portal, loom = self._entered()
        return BlockingRef(portal, portal.call(lambda: _async(lambda: loom.actor(cls, key))))

    def run(self, function: Callable[[L], Awaitable[T]]) -> T:
        """Call a function with the loom, in its thread, and return its result: `run(lambda loom: loom.traces.find())`.

        It must not block: actors run in the same thread.
        """
        portal, loom = self._entered()

        async def called() -> T:
            return await function(loom)

        return portal.call(called)

    def _entered(self) -> tuple[BlockingPortal, L]:
        if self._portal is None or self._loom is None:
            raise LoomClosedError("the loom is not open; expected [with Loom.open_sync(…) as loom]: write that")
        return self._portal, self._loom


async def _async(function: Callable[[], T]) -> T:
    return function()
