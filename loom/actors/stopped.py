"""Actors that take no commands: those that are stopped for a time, and those that are blocked permanently.

A stopped actor resumes by itself after a back-off. The back-off doubles with every stop that follows soon, up to a
limit, and has a random part, so that actors that failed together do not resume together. Nothing of this is durable:
another process begins without it.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from loom.actors.services import ActorOptions
from loom.errors import ActorStoppedError, LoomError

__all__ = ["StoppedActor", "StoppedActors"]

_CHANCE = random.SystemRandom()
_JITTER = 0.5
"""A back-off is between this share of its length and its length."""
_SOON = 2
"""A stop follows soon if it comes within this multiple of the last back-off, or within the window of failures."""


@dataclass(slots=True)
class StoppedActor:
    """Why an actor takes no commands. `stops` is the number of its recent stops, each soon after the one before."""

    why: LoomError
    stops: int = 0
    delay_s: float | None = None
    """How long it takes no commands; None until a person restarts it."""
    since: float = 0.0
    """When it was stopped, by the monotonic clock; `until` is when it resumes."""
    timer: asyncio.TimerHandle | None = None
    turns: int = 0
    """The number of begun turns that continue as soon as it resumes, as far as it is known."""
    failures: int = 0
    """The number of its turns that had failed within the window when it was stopped."""
    back: bool = False
    """Whether it has resumed, and is only remembered."""

    @property
    def until(self) -> float | None:
        """When it resumes by itself, by the monotonic clock; None if it does not."""
        return None if self.delay_s is None else self.since + self.delay_s


class StoppedActors:
    """The actors of a loom that take no commands; `comes_back` is called with the journal of each that resumes."""

    def __init__(
        self,
        options: ActorOptions,
        comes_back: Callable[[str, StoppedActor], None],
        *,
        chance: Callable[[], float] = _CHANCE.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._comes_back = comes_back
        self._chance = chance
        self._clock = clock
        self._actors: dict[str, StoppedActor] = {}

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[tuple[str, StoppedActor]]:
        return iter([(journal, each) for journal, each in self._actors.items() if not each.back])

    def __contains__(self, journal: object) -> bool:
        found = self._actors.get(str(journal))
        return found is not None and not found.back

    def get(self, journal: str) -> StoppedActor | None:
        """Return why an actor takes no commands, or None if it does."""
        found = self._actors.get(journal)
        return None if found is None or found.back else found

    def now(self) -> float:
        """Return the monotonic time in seconds by which stops are measured; only differences have a meaning."""
        return self._clock()

    def check(self, journal: str) -> None:
        """Raise the error for which an actor takes no commands, if there is one."""
        found = self.get(journal)
        if found is None:
            return
        if isinstance(found.why, ActorStoppedError) and found.until is not None:
            found.why.retry_after_s = max(0.0, found.until - self._clock())
        raise found.why.with_traceback(None)

    def stop(self, journal: str, why: LoomError, *, turns: int = 0, failures: int = 0) -> None:
        """Accept no more commands for an actor, until its back-off is over or it is released."""
        self._forget_old()
        now, before = self._clock(), self._actors.pop(journal, None)
        stops = 1 if before is None else before.stops + 1
        _cancel(before)
        stopped = self._actors[journal] = StoppedActor(
            why,
            stops=stops,
            delay_s=None if why.gone else self._delay_s(stops),
            since=now,
            turns=turns,
            failures=failures,
        )
        if stopped.delay_s is not None:
            # Not in the context of the turn that failed: the actor that resumes is no part of it.
            stopped.timer = asyncio.get_running_loop().call_later(
                stopped.delay_s, partial(self._back, journal), context=contextvars.Context()
            )

    def block(self, journal: str, why: LoomError) -> bool:
        """Block an actor permanently; False for one that is stopped for another reason, which is kept."""
        found = self.get(journal)
        if found is not None and not isinstance(found.why, type(why)):
            return False
        self.release(journal)
        self._actors[journal] = StoppedActor(why)
        return True

    def release(self, journal: str) -> None:
        """Let an actor take commands again at once, and forget why it was stopped."""
        _cancel(self._actors.pop(journal, None))

    def close(self) -> None:
        """Let no actor resume any more."""
        for each in self._actors.values():
            _cancel(each)

    def _delay_s(self, stops: int) -> float | None:
        least, most = self._options.backoff_min_s, self._options.backoff_max_s
        if not least:
            return None
        longest = max(least, most)
        doubled = least * 2.0 ** min(stops - 1, 60)
        return min(longest, doubled) * (_JITTER + (1 - _JITTER) * self._chance())

    def _back(self, journal: str) -> None:
        stopped = self._actors[journal]
        stopped.back, stopped.timer = True, None
        self._comes_back(journal, stopped)

    def _forget_old(self) -> None:
        """Forget actors that resumed long ago: their next stop has another cause."""
        now, window_s = self._clock(), self._options.failure_window_s
        old = [
            journal
            for journal, each in self._actors.items()
            if each.back and each.until is not None and now - each.until > _SOON * max(window_s, each.delay_s or 0.0)
        ]
        for journal in old:
            del self._actors[journal]


def _cancel(stopped: StoppedActor | None) -> None:
    if stopped is not None and stopped.timer is not None:
        stopped.timer.cancel()
        stopped.timer = None
