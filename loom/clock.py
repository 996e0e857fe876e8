"""The source of time: one protocol, so that tests and replays can supply their own clock.

Order never comes from a clock (design: Integrity); the time of a clock is a claim that is recorded.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = [
    "AHEAD_US",
    "Clock",
    "ElapsedClock",
    "Instant",
    "SystemClock",
    "datetime_from_us",
    "elapsed_us",
    "instant",
    "left_us",
    "us_from_datetime",
]

AHEAD_US = 10 * 60 * 1_000_000
"""How far an entry may be ahead of the time of day before its clock counts as wrong: 10 minutes."""

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that counts while the machine is suspended, if the system has one, as Linux does."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Returns the time of day."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        ...


@runtime_checkable
class ElapsedClock(Clock, Protocol):
    """A clock that also measures elapsed time, independent of changes to the time of day."""

    def elapsed_us(self) -> int:
        """Return microseconds since a moment that is fixed for the life of the process. The value never decreases."""
        ...


class Instant(NamedTuple):
    """One moment on both clocks, in microseconds: the time of day, and the elapsed time."""

    now_us: int
    elapsed_us: int


def elapsed_us(clock: Clock) -> int:
    """Return the elapsed time; a clock without one gives its time of day."""
    return clock.elapsed_us() if isinstance(clock, ElapsedClock) else clock.now_us()


def instant(clock: Clock) -> Instant:
    """Return the present moment of a clock."""
    return Instant(clock.now_us(), elapsed_us(clock))


def left_us(until_us: int, *, now_us: int, said_us: int) -> tuple[int, int]:
    """Return how much of a wait is left that was set when the clock said `said_us`, and how far that clock was ahead.

    If the clock was ahead when it was set, the time of day would reach it too late, and the true time of its beginning
    is unknown. So it ends, at the latest, after the whole duration that it had when it was set. Both are microseconds;
    the second is 0 for a clock that was right.
    """
    left = until_us - now_us
    if said_us - now_us <= AHEAD_US:
        return left, 0
    return min(left, max(0, until_us - said_us)), said_us - now_us


class SystemClock:
    """The machine's clock. Its time of day may be wrong and may step; elapsed time includes suspension if possible."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000

    def elapsed_us(self) -> int:
        """Return microseconds since the machine was started."""
        return time.clock_gettime_ns(_ELAPSED) // 1_000


def datetime_from_us(us: int) -> datetime:
    """Return microseconds since 1970 as an aware UTC datetime."""
    return _BEGINNING + timedelta(microseconds=us)


def us_from_datetime(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime; a naive one is a ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"datetime [{moment.isoformat()}] has no time zone; expected an aware one: add tzinfo=UTC")
    delta = moment - _BEGINNING
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
