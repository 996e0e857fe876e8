"""The count of an actor's failures, and the errors of an actor that is stopped for them."""

from __future__ import annotations

import time

from loom.actors.services import ActorOptions
from loom.errors import ActorStoppedError

__all__ = ["Failures", "construction_failed"]


class Failures:
    """The times of an actor's failures within its window."""

    __slots__ = ("_options", "_times")

    def __init__(self, options: ActorOptions) -> None:
        self._options = options
        self._times: list[float] = []

    @property
    def recent(self) -> int:
        """Return the number of failures within the window."""
        now = time.monotonic()
        return sum(1 for each in self._times if now - each <= self._options.failure_window_s)

    def too_many(self, journal: str) -> ActorStoppedError | None:
        """Count one more, and return the error of an actor that has failed too often within its window."""
        now = time.monotonic()
        self._times = [*self._times, now][-self._options.max_failures - 1 :]
        most, window_s = self._options.max_failures, self._options.failure_window_s
        if len(self._times) <= most or now - self._times[0] > window_s:
            return None
        return ActorStoppedError(
            f"actor [{journal}] failed [{len(self._times)}] times within [{window_s:g}] s; expected at most [{most}]: "
            "it is stopped; correct the cause: `loom actors` shows when it resumes, and restarts it"
        )


def construction_failed(journal: str, error: Exception) -> ActorStoppedError:
    """Return the error of an actor that cannot be made at all."""
    stopped = ActorStoppedError(
        f"actor [{journal}] cannot be made [{type(error).__name__}: {error}]; expected a constructor, or factory, and "
        "an initial state that do not fail: correct them; `loom actors` shows when it resumes, and restarts it"
    )
    stopped.__cause__ = error
    return stopped
