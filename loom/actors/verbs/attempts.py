"""The attempts of a step that acts outside: those that failed are journaled, and the next one waits for its time."""

from __future__ import annotations

from datetime import timedelta

from pydantic_core import to_json

from loom.actors.entries import AttemptFailedEntry
from loom.actors.protected import NOT_KEPT
from loom.actors.retrying import Retry
from loom.actors.steps import attempt_phase
from loom.actors.turn import Turn
from loom.actors.verbs.shared import expect
from loom.actors.verbs.wait import wait_out
from loom.clock import datetime_from_us, instant
from loom.decisions.decision import Failure
from loom.journal.entry import Step

__all__ = ["Attempts"]


class Attempts:
    """The attempts of one step of a turn: make it with `begin`, then call `again` after each one that failed."""

    def __init__(self, turn: Turn, step: Step, retry: Retry | None) -> None:
        self._turn = turn
        self._step = step
        self._retry = retry
        self.failed: list[str] = []
        """The types of the errors of the attempts that failed and were repeated."""

    @classmethod
    async def begin(cls, turn: Turn, step: Step, retry: Retry | None) -> Attempts:
        """Return the attempts of a step; those that its journal has are over; the delay after the last may not be."""
        attempts = cls(turn, step, retry)
        steps = turn.recorded_steps
        while steps is not None and steps.has(step, attempt_phase(len(attempts.failed) + 1)):
            recorded = await steps.take(step, attempt_phase(len(attempts.failed) + 1))
            entry = expect(recorded.entry, AttemptFailedEntry, turn)
            attempts.failed.append(entry.failure.type_name)
            await wait_out(turn, entry.back_off)
        return attempts

    @property
    def text(self) -> dict[str, bytes]:
        """The failed attempts as the field of the entry that ends the step, as JSON text; none where none failed."""
        return {"failed_attempts": to_json(self.failed)} if self.failed else {}

    async def again(self, error: BaseException | None, failure: Failure | None) -> bool:
        """Journal a failed attempt and wait, if another attempt follows; else return False.

        `error` is None where the attempt is not one to repeat; `failure` is what is journaled of it.
        """
        attempt, retry = len(self.failed) + 1, self._retry
        if retry is None or error is None or failure is None or attempt >= retry.attempts or not retry.repeats(error):
            return False
        turn = self._turn
        delay_s = retry.delay_s(attempt, turn.services.sources.random())
        if turn.withholds_words:
            failure = failure.model_copy(update={"message": NOT_KEPT})
        entry = AttemptFailedEntry(step=self._step, attempt=attempt, failure=failure, delay_s=delay_s)
        now = instant(turn.services.sources.clock)
        until = datetime_from_us(now.now_us) + timedelta(seconds=delay_s)
        turn.services.timer.set((turn.host.journal, turn.command_id), entry.back_off, until, at=now)
        turn.write(turn.draft(entry))
        self.failed.append(failure.type_name)
        await turn.durable()
        await wait_out(turn, entry.back_off)
        return True
