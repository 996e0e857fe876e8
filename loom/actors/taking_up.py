"""Turns that take up the recorded steps of an earlier turn: a new attempt of one that failed, or a fork of any.

They are turns of their own, with a command id of their own, and refer to the steps: nothing is copied, and nothing
that was paid for is paid again. Steps that failed last are done again; those that have no result are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from loom.actors.change_entries import TurnTakenUpEntry
from loom.actors.entries import AskedEntry, AttemptFailedEntry, EffectIntendedEntry
from loom.actors.steps import phase_of, step_of
from loom.decisions.entries import DecisionJournalEntry, ends_approval
from loom.errors import NotReplayableError
from loom.journal.entry import Recorded, Step
from loom.journal.kinds import (
    ENDINGS,
    CommandReceivedEntry,
    TurnDivergedEntry,
    TurnResumedEntry,
    TurnRetriedEntry,
)
from loom.journal.store import JournalReader

__all__ = ["TakenUp", "kept_steps", "taken_up", "turn_entries", "unsure_effect"]

_MAX_DEPTH = 100
_LEFT_OUT = ENDINGS | {TurnDivergedEntry.kind, TurnResumedEntry.kind, TurnRetriedEntry.kind}


class TakenUp(NamedTuple):
    """What a turn takes up: who did it, how, and the entries of the earlier turn, oldest first."""

    entry: TurnTakenUpEntry
    entries: tuple[Recorded, ...]
    """The beginning of the earlier turn, and its steps that are kept."""
    steps: frozenset[Step]
    renewed: frozenset[Step]
    """Steps that failed last, and are done again."""
    approvals: frozenset[str]
    """Answers that were given to the earlier turn."""
    decision: str | None
    """The last decision of the earlier turn."""

    @property
    def is_fork(self) -> bool:
        """Whether it is another turn than the earlier one, with effects of its own."""
        return self.entry.how == "fork"


async def taken_up(store: JournalReader, entries: Sequence[Recorded], *, depth: int = 0) -> TakenUp | None:
    """Return what a turn takes up, from the entries of the turn itself; None for a turn that begins from nothing."""
    entry = next((each.entry for each in entries if isinstance(each.entry, TurnTakenUpEntry)), None)
    if entry is None:
        return None
    journal = entries[0].journal
    earlier = await turn_entries(store, journal, entry.command_id)
    if not earlier or depth > _MAX_DEPTH or any(each.body is None for each in earlier):
        raise NotReplayableError(
            f"turn [{journal}#{entries[0].command_id}] takes up turn [{entry.command_id}], which is gone; expected its "
            "entries: abandon the turn",
            reason="not_resumable: erased",
        )
    before = await taken_up(store, earlier, depth=depth + 1)
    whole = [*(before.entries if before else ()), *earlier]
    kept, renewed = kept_steps(whole, before=entry.before, fork=entry.how == "fork")
    decided = [each.entry.decision.decision_id for each in whole if isinstance(each.entry, DecisionJournalEntry)]
    return TakenUp(
        entry=entry,
        entries=tuple(kept),
        steps=frozenset(step for each in kept if (step := step_of(each)) is not None),
        renewed=renewed,
        approvals=frozenset(each.entry.approval_id for each in kept if ends_approval(each.entry)),
        decision=decided[-1] if decided else None,
    )


async def turn_entries(store: JournalReader, journal: str, command_id: str) -> list[Recorded]:
    """Return the entries of a turn up to its first end, oldest first; none where there is no such turn."""
    received = await store.find_command(journal, command_id)
    found: list[Recorded] = []
    if received is None:
        return found
    async for recorded in store.read(journal, after=received.sequence - 1):
        if recorded.command_id == command_id:
            found.append(recorded)
            if recorded.kind in ENDINGS:
                break
    return found


def kept_steps(
    entries: Iterable[Recorded], *, before: int | None, fork: bool
) -> tuple[list[Recorded], frozenset[Step]]:
    """Return the entries of an earlier turn that are kept, and the steps that are done again because they failed last.

    `before` is the sequence of the first entry that is left out; None takes up all of the turn.
    """
    kept = [each for each in entries if each.kind not in _LEFT_OUT and (before is None or each.sequence < before)]
    kept = [each for at, each in enumerate(kept) if at == 0 or each.kind != CommandReceivedEntry.kind]
    renewed: set[Step] = set()
    ended = [each for each in kept if step_of(each) is not None and phase_of(each) == "end"]
    while before is None and ended and getattr(ended[-1].entry, "failure", None) is not None:
        renewed.add(_step(ended.pop()))
    over = {_step(each) for each in ended}
    asked = {_step(each) for each in kept if isinstance(each.entry, AskedEntry) and not fork} - renewed
    waits = {each.entry.back_off for each in kept if isinstance(each.entry, AttemptFailedEntry)} - over

    def is_kept(each: Recorded) -> bool:
        step, entry = step_of(each), each.entry
        if isinstance(entry, AttemptFailedEntry):
            return entry.back_off not in waits and (_step(each) in over)
        if step is not None and step.verb == "back_off":
            return any(str(done) == step.key for done in over)
        return step is None or step in over or step in asked

    return [each for each in kept if is_kept(each)], frozenset(renewed)


def unsure_effect(entries: Iterable[Recorded], kept: Iterable[Recorded]) -> str | None:
    """Return the action of an effect that would be done again, may have happened, and must not happen twice."""
    done = {step_of(each) for each in kept}
    for each in entries:
        entry = each.entry
        if isinstance(entry, EffectIntendedEntry) and not entry.repeatable and step_of(each) not in done:
            return entry.action
    return None


def _step(recorded: Recorded) -> Step:
    step = step_of(recorded)
    assert step is not None  # noqa: S101 - only entries with a step are asked
    return step
