"""Where time comes from: one protocol, so that tests and replays can bring their own.

Order never comes from a clock (design: Integrity); what a clock says is a claim that is recorded.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "datetime_from_us", "us_from_datetime"]


class Clock(Protocol):
    """Tells the time of day."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock; it may be wrong and may step backwards."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000


def datetime_from_us(us: int) -> datetime:
    """Return the aware UTC datetime of so many microseconds since 1970."""
    seconds, micros = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def us_from_datetime(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime; a naive one is a ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"datetime [{moment.isoformat()}] has no time zone; expected an aware one: add tzinfo=UTC")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
