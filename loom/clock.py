"""Where time comes from: one protocol, so that tests and replays can bring their own.

Order never comes from a clock (design: Integrity); what a clock says is a claim that is recorded.
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
    "us_from_datetime",
]

AHEAD_US = 10 * 60 * 1_000_000
"""How far an entry may be ahead of the time of day until it counts as written by a clock that was wrong: 10 minutes."""

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts while the machine is suspended where the system has such a clock, as Linux does."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time of day."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        ...


@runtime_checkable
class ElapsedClock(Clock, Protocol):
    """A clock that also tells how much time has gone by, whatever becomes of the time of day."""

    def elapsed_us(self) -> int:
        """Return microseconds since some moment that stays the same while the process lives. It never falls."""
        ...


class Instant(NamedTuple):
    """One moment by both clocks, in microseconds: the time of day, and the time that has gone by."""

    now_us: int
    elapsed_us: int


def elapsed_us(clock: Clock) -> int:
    """Return how much time has gone by; a clock that tells the time of day alone is taken at its word."""
    return clock.elapsed_us() if isinstance(clock, ElapsedClock) else clock.now_us()


def instant(clock: Clock) -> Instant:
    """Return what a clock says right now."""
    return Instant(clock.now_us(), elapsed_us(clock))


class SystemClock:
    """The machine's clock. Its time of day may be wrong and may step; elapsed time counts suspension where it can."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000

    def elapsed_us(self) -> int:
        """Return microseconds that have gone by since the machine was started."""
        return time.clock_gettime_ns(_ELAPSED) // 1_000


def datetime_from_us(us: int) -> datetime:
    """Return the aware UTC datetime of so many microseconds since 1970."""
    return _BEGINNING + timedelta(microseconds=us)


def us_from_datetime(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime; a naive one is a ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"datetime [{moment.isoformat()}] has no time zone; expected an aware one: add tzinfo=UTC")
    delta = moment - _BEGINNING
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
