"""Clock, ids, salts and randomness that a test controls."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from loom.actors import Sources
from loom.clock import us_from_datetime

__all__ = ["FixedClock", "fixed_sources"]

_BEGINNING = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FixedClock:
    """A clock that does not move until a test moves it, in either direction."""

    def __init__(self, at: datetime = _BEGINNING) -> None:
        self._now_us = us_from_datetime(at)
        self._elapsed_us = 0

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return self._now_us

    def elapsed_us(self) -> int:
        """Return by how many microseconds the clock was advanced so far."""
        return self._elapsed_us

    def advance(self, by: timedelta | float) -> None:
        """Let so much time go by, or so many seconds; a negative amount sets the time of day back."""
        delta_us = _us(by)
        self._now_us += delta_us
        self._elapsed_us += max(0, delta_us)

    def set_by(self, by: timedelta | float) -> None:
        """Set the time of day by so much, or so many seconds, without any time going by: as when it was wrong."""
        self._now_us += _us(by)


def fixed_sources(clock: FixedClock | None = None, *, seed: str = "loom") -> Sources:
    """Return sources that give the same ids, salts and numbers in the same order, every time."""
    ids, salts, draws = itertools.count(1), itertools.count(1), itertools.count(1)

    def salt(size: int) -> bytes:
        return _bytes(seed, "salt", next(salts))[:size]

    def draw() -> float:
        return int.from_bytes(_bytes(seed, "draw", next(draws))[:6], "big") / 2**48

    new_id: Callable[[], str] = lambda: f"{seed}-{next(ids):06d}"  # noqa: E731 - one word less to know
    return Sources(clock=clock or FixedClock(), new_id=new_id, new_salt=salt, random=draw)


def _us(by: timedelta | float) -> int:
    delta = by if isinstance(by, timedelta) else timedelta(seconds=by)
    return delta // timedelta(microseconds=1)


def _bytes(seed: str, what: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
