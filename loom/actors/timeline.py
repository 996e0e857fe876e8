"""Timelines: when the turns of an actor ran, what they waited for, and where they were cut short or taken up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from loom.actors.change_entries import TurnTakenUpEntry
from loom.actors.wait_entries import WaitBegunEntry, WaitEndedEntry
from loom.decisions.entries import ApprovalRequestedEntry, ends_approval
from loom.journal.entry import Recorded, Step
from loom.journal.kinds import TurnDivergedEntry, TurnResumedEntry, TurnRetriedEntry

__all__ = ["Lane", "LaneStep", "Mark", "Stretch", "lane_of"]

L = TypeVar("L", bound=BaseModel)

StretchKind: TypeAlias = Literal["approval", "sleep", "message", "begin", "cut"]
MarkKind: TypeAlias = Literal["resumed", "retried", "taken_up", "diverged"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Stretch(_Part):
    """A time in which a turn did nothing: it waited, or was `cut` short and not resumed yet."""

    kind: StretchKind
    text: str
    began: datetime
    ended: datetime | None = None


class Mark(_Part):
    """A moment at which a turn was taken up again, or could not be."""

    kind: MarkKind
    text: str
    at: datetime


class LaneStep(_Part):
    """A recorded step: the sequence of its first entry, by which a fork names it."""

    sequence: int
    text: str


class Lane(_Part, Generic[L]):
    """One turn on a timeline: its listing, what it waited for, its marks, and its recorded steps."""

    turn: L
    stretches: tuple[Stretch, ...]
    marks: tuple[Mark, ...]
    steps: tuple[LaneStep, ...]


def lane_of(turn: L, entries: Iterable[Recorded], *, ended_at: datetime | None) -> Lane[L]:
    """Return the lane of a turn from its entries, in order."""
    folded = _Folded()
    for recorded in entries:
        folded.take(recorded)
    return Lane[Any](
        turn=turn,
        stretches=folded.stretches(ended_at),
        marks=tuple(folded.marks),
        steps=tuple(LaneStep(sequence=sequence, text=str(step)) for step, sequence in folded.steps.items()),
    )


class _Folded:
    """What the entries of one turn come to."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self.steps: dict[Step, int] = {}
        self._waits: dict[object, Stretch] = {}
        self._cuts: list[Stretch] = []
        self._last: datetime | None = None

    def take(self, recorded: Recorded) -> None:
        entry, at = recorded.entry, recorded.recorded_at
        self._end_sleeps(at)
        if entry.step is not None:
            self.steps.setdefault(entry.step, recorded.sequence)
        if isinstance(entry, ApprovalRequestedEntry):
            self._begin(entry.approval_id, "approval", f"waited for an answer of {entry.approver}", at)
        elif ends_approval(entry):
            self._end(entry.approval_id, at)
        elif isinstance(entry, WaitBegunEntry):
            words = {"sleep": "slept", "message": f"waited for {entry.message}", "begin": "waited for its time"}
            self._begin(entry.step, entry.what, words[entry.what], at)
        elif isinstance(entry, WaitEndedEntry):
            self._end(entry.wait, at)
        else:
            self._mark(entry, at)
        self._last = at

    def stretches(self, ended_at: datetime | None) -> tuple[Stretch, ...]:
        """Return what it waited for, in order; what was open at the end of the turn ended with it."""
        found = [*self._waits.values(), *self._cuts]
        closed = [each if each.ended else each.model_copy(update={"ended": ended_at}) for each in found]
        return tuple(sorted(closed, key=lambda each: each.began))

    def _mark(self, entry: object, at: datetime) -> None:
        if isinstance(entry, TurnResumedEntry):
            if self._last is not None:
                cut = Stretch(kind="cut", text="was cut short, and not resumed yet", began=self._last, ended=at)
                self._cuts.append(cut)
            self.marks.append(Mark(kind="resumed", text="resumed where it was cut short", at=at))
        elif isinstance(entry, TurnRetriedEntry):
            self.marks.append(Mark(kind="retried", text=_by("retried", entry.by, entry.reason), at=at))
        elif isinstance(entry, TurnTakenUpEntry):
            how = "a new attempt" if entry.how == "retry" else "a fork"
            self.marks.append(Mark(kind="taken_up", text=_by(f"begun as {how}", entry.by, entry.reason), at=at))
        elif isinstance(entry, TurnDivergedEntry):
            self.marks.append(Mark(kind="diverged", text=entry.in_words(), at=at))

    def _begin(self, key: object, kind: StretchKind, text: str, at: datetime) -> None:
        self._waits[key] = Stretch(kind=kind, text=text, began=at)

    def _end(self, key: object, at: datetime) -> None:
        known = self._waits.get(key)
        if known is not None and known.ended is None:
            self._waits[key] = known.model_copy(update={"ended": at})

    def _end_sleeps(self, at: datetime) -> None:
        """End the sleeps: no entry says so, but the turn wrote something, which it does after it woke."""
        for key, each in self._waits.items():
            if each.kind in ("sleep", "begin") and each.ended is None:
                self._waits[key] = each.model_copy(update={"ended": at})


def _by(what: str, by: str, reason: str | None) -> str:
    return f"{what} by {by}" + (f": {reason}" if reason else "")
