"""Reactors: entries in, commands out. They are the only way in which journal entries lead to further actions.

Each follows the journal in order, from its last position. The id of a command that it sends consists of the reactor,
the position of the entry, and the command's place among those of that entry. If the command is sent again after a
crash, it is answered from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from loom.actors.actor import Actor
from loom.actors.command import Command
from loom.actors.system import ActorSystem
from loom.background import Background, Child, stopped
from loom.errors import (
    ActorFailedError,
    DuplicateKindError,
    LoomClosedError,
    LoomError,
    ReactorLagError,
    TurnAbandonedError,
)
from loom.identity import derived_id
from loom.journal.entry import Entry, Recorded
from loom.journal.kinds import OWN_IDS
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore
from loom.projections.joining import OpenTurns
from loom.telemetry import get_logger

__all__ = ["REACTORS_JOURNAL", "Reaction", "Reactor", "ReactorReachedEntry", "Reactors"]

REACTORS_JOURNAL = "loom/reactors"

_PAGE = 500
_NOTE_EVERY = 1_000
_WORTH_NOTING = 50
_AGAIN_S = 0.1
_AGAIN_AT_LEAST_EVERY_S = 5.0

_log = get_logger("loom.actors")


class Reaction(NamedTuple):
    """A command to an actor."""

    actor: type[Actor[Any]]
    key: str
    command: Command[Any]


class Reactor(Protocol):
    """Reads entries and returns commands. It is pure: the actors that receive the commands act.

    Imported entries are history, and are passed to no reactor.
    """

    @property
    def name(self) -> str:
        """Its name, unique in a workspace. It must never change: the reactor's position is stored under it."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of entries that it reads."""
        ...

    def react(self, recorded: Recorded) -> Sequence[Reaction]:
        """Return the commands that follow from an entry."""
        ...


class ReactorReachedEntry(Entry):
    """A reactor has handled all entries up to a position."""

    kind: ClassVar[str] = "reactor_reached"

    reactor: str
    position: int


class Reactors:
    """Runs reactors along the journal: `add` one, `reached` waits for all, `close` stops them."""

    def __init__(
        self,
        store: JournalStore,
        actors: ActorSystem,
        *,
        make_draft: Callable[[Entry], Draft],
        background: Background | None = None,
    ) -> None:
        self._background = background or Background()
        self._store = store
        self._actors = actors
        self._journal = SingletonJournal(store, REACTORS_JOURNAL, self._fold, make_draft=make_draft)
        self._noted: dict[str, int] = {}
        self._following: dict[str, _Following] = {}

    async def load(self) -> None:
        """Read the last position of each reactor."""
        await self._journal.load()
        self._store.on_commit(self._tell)

    def add(self, reactor: Reactor) -> None:
        """Begin to follow the journal from the reactor's last position; a new reactor starts at the first entry."""
        if reactor.name in self._following:
            raise DuplicateKindError(
                f"reactor [{reactor.name}] is registered twice; expected [each name once]: rename one"
            )
        following = _Following(
            self._store, self._actors, reactor, after=self._noted.get(reactor.name, 0), note=self._note
        )
        following.start(self._background)
        self._following[reactor.name] = following

    def position(self, name: str) -> int:
        """Return the position of a reactor."""
        return self._following[name].position

    async def reached(self, position: int | None = None, *, timeout_s: float = 30.0) -> None:
        """Wait until every reactor has handled a position, by default the last acknowledged one.

        A reaction may write entries that reactors read too: they have later positions. Raises `ReactorLagError`
        where it takes too long.
        """
        wanted = self._store.acknowledged if position is None else position
        for following in self._following.values():
            await following.reached(wanted, timeout_s=timeout_s)

    async def close(self) -> None:
        """Stop following, and store the position of each reactor."""
        for following in self._following.values():
            await following.close()
        for name, following in self._following.items():
            if following.position - self._noted.get(name, 0) < _WORTH_NOTING:
                continue
            with contextlib.suppress(LoomError):  # the next start sends the commands after the stored position again
                await self._note(name, following.position)

    async def _note(self, name: str, position: int) -> None:
        entry = ReactorReachedEntry(reactor=name, position=position)
        await self._journal.append_if_missing(lambda: entry if position > self._noted.get(name, 0) else None)

    def _tell(self, _: int) -> None:
        for following in self._following.values():
            following.wake.set()

    def _fold(self, recorded: Recorded) -> None:
        if isinstance(recorded.entry, ReactorReachedEntry):
            self._noted[recorded.entry.reactor] = recorded.entry.position


class _Following:
    """One reactor on its way through the journal."""

    def __init__(
        self, store: JournalStore, actors: ActorSystem, reactor: Reactor, *, after: int, note: Callable[[str, int], Any]
    ) -> None:
        self._store = store
        self._actors = actors
        self._reactor = reactor
        self._note = note
        self._noted = after
        self.position = after
        self.wake = asyncio.Event()
        self.wake.set()
        self._moved = asyncio.Condition()
        self._turns = OpenTurns(store)
        self._task: Child[None] | None = None

    def start(self, background: Background) -> None:
        self._task = background.keep_running(self._follow, name=f"loom-reactor {self._reactor.name}")

    async def reached(self, position: int, *, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self.position >= position or self._task is None or self._task.done())
        except TimeoutError:
            pass
        if self.position < position:
            raise ReactorLagError(
                f"reactor [{self._reactor.name}] is at [{self.position}]; expected [{position}] within [{timeout_s:g}] "
                "s: look at the actors that it commands"
            )

    async def close(self) -> None:
        await stopped(self._task)

    async def _follow(self) -> None:
        pause_s = _AGAIN_S
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                while self.position < self._store.acknowledged:
                    await self._page()
                pause_s = _AGAIN_S
            except LoomClosedError:
                return
            except Exception as error:  # any error: what was not handled is handled again
                _log.warning("reactor_stalled", reactor=self._reactor.name, error=repr(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _AGAIN_AT_LEAST_EVERY_S)
                self.wake.set()

    async def _page(self) -> None:
        until = min(self._store.acknowledged, self.position + _PAGE)
        asked: dict[tuple[type[Actor[Any]], str], list[tuple[str, Command[Any]]]] = defaultdict(list)
        page = [recorded async for recorded in self._store.read_all(after=self.position, until=until)]
        await self._turns.take(page)
        for recorded in page:
            if recorded.kind in self._reactor.kinds and recorded.kind not in OWN_IDS:  # nothing acts on history
                for place, reaction in enumerate(self._reactor.react(recorded)):
                    command_id = derived_id("reaction", self._reactor.name, str(recorded.position), str(place))
                    asked[reaction.actor, reaction.key].append((command_id, reaction.command))
        async with asyncio.TaskGroup() as group:
            for (cls, key), commands in asked.items():
                group.create_task(self._command(cls, key, commands))
        async with self._moved:
            self.position = until
            self._moved.notify_all()
        if self.position - self._noted >= _NOTE_EVERY:
            await self._note(self._reactor.name, self.position)
            self._noted = self.position

    async def _command(self, cls: type[Actor[Any]], key: str, commands: Sequence[tuple[str, Command[Any]]]) -> None:
        """Send the commands to one actor, in order. A failed turn is journaled, and not sent again."""
        for command_id, command in commands:
            try:
                await self._actors.messenger.ask(
                    cls, key, command, command_id=command_id, by=f"reactor {self._reactor.name}"
                )
            except (ActorFailedError, TurnAbandonedError) as error:
                _log.error("reaction_failed", reactor=self._reactor.name, actor=key, error=str(error))
