"""Retries of what acts outside: how often, after which errors, and how long after each.

A failed attempt that will be repeated is an entry, `attempt_failed`, with its error and the delay before the next
attempt. The delay is a wait: the turn may be parked in it, other turns of its actor may run, and a turn that is resumed
continues with the rest of the delay and the attempts that are left. The recorded attempts decide this, and not the
`Retry` at hand, so code that changed its retries still follows its journal. The last failure is in the entry of the
step, as a failure without retries is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from loom.errors import AdmissionError

__all__ = ["Backoff", "Exponential", "Retry", "exponential"]

MAX_ATTEMPTS = 100
MAX_DELAY_S = 366 * 86_400
_FIXED = 0.5
"""The share of an exponential delay that chance does not change."""

Backoff: TypeAlias = Callable[[int, float], float]
"""Returns the delay in seconds after attempt number n, from 1; the second argument is a random number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """A delay that doubles after every attempt, up to a limit; see `exponential`."""

    first_s: float
    maximum_s: float
    jitter: bool

    def __call__(self, attempt: int, chance: float) -> float:
        """Return the delay in seconds after an attempt, which is numbered from 1."""
        delay_s = min(self.maximum_s, self.first_s * 2.0 ** min(attempt - 1, 60))
        return delay_s * (_FIXED + (1 - _FIXED) * chance) if self.jitter else delay_s


def exponential(first_s: float, *, maximum: float = 30.0, jitter: bool = True) -> Exponential:
    """Return delays of `first_s` seconds, then twice as long each time, `maximum` seconds at most.

    With `jitter` each delay is a random part of its length, half of it at least, so that turns that failed together do
    not try again together.
    """
    if not 0 <= first_s <= maximum <= MAX_DELAY_S:
        raise AdmissionError(
            f"back-off is [{first_s} s, {maximum} s at most]; expected [0 ≤ first ≤ maximum ≤ {MAX_DELAY_S}]: "
            "correct the two numbers"
        )
    return Exponential(first_s, maximum, jitter)


@dataclass(frozen=True, slots=True)
class Retry:
    """How a verb repeats an attempt that raised; pass it as `retry=`.

    `attempts` counts the first attempt too. `on` names the exceptions that are worth another attempt: by default every
    `Exception`. An exception group is, if each exception in it is. A value that came but is no JSON is never retried:
    what was to happen did happen.
    """

    attempts: int = 3
    backoff: Backoff = Exponential(0.2, 30.0, jitter=True)
    on: tuple[type[BaseException], ...] | None = None

    def __post_init__(self) -> None:
        """Raise `AdmissionError` where a value cannot be one."""
        if isinstance(self.attempts, bool) or not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise AdmissionError(
                f"retry has [{self.attempts}] attempts; expected [1 to {MAX_ATTEMPTS}], the first one included: "
                "correct attempts="
            )
        named = self.on
        if named is not None and not (named and all(isinstance(each, type) for each in named)):
            raise AdmissionError(
                f"retry is on [{named}]; expected a tuple of exception classes: leave out on= for every Exception"
            )

    def repeats(self, error: BaseException) -> bool:
        """Tell whether an exception is worth another attempt."""
        if isinstance(error, BaseExceptionGroup):
            return all(self.repeats(each) for each in error.exceptions)
        return isinstance(error, self.on or (Exception,))

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the delay after an attempt; raise `AdmissionError` where the back-off returns no delay."""
        delay_s = self.backoff(attempt, chance)
        if not 0 <= delay_s <= MAX_DELAY_S:
            raise AdmissionError(
                f"back-off after attempt [{attempt}] is [{delay_s}]; expected [0 to {MAX_DELAY_S}] seconds, a year: "
                "correct backoff="
            )
        return float(delay_s)
