"""Run again: drive the code of an actor again under another version of its policy.

Every look-up, precedent and approval gets its result from the journal; nothing is fetched, performed or written
(law 5). Only the rule runs for real. Code that reaches a step which was never recorded, because the other version leads
it elsewhere, stops there: loom does not invent the result. Steps that the code no longer reaches are listed as
leftovers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors.recovery import replayed_turn
from loom.actors.system import ActorSystem
from loom.actors.turn import Turn
from loom.decisions.decision import Decision
from loom.decisions.entries import DecisionJournalEntry
from loom.errors import LoomError, NotReplayableError, UnknownActorError
from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS, CommandReceivedEntry
from loom.journal.store import JournalStore
from loom.policies.evaluation import Evaluation
from loom.policies.registry import PolicyVersion
from loom.replay.selection import Recalled
from loom.replay.turn_verification import drive

__all__ = ["Rerun", "RerunCase", "rerun"]


class RerunCase(BaseModel):
    """One decision made again by the present code: what the rule said and what was done, then and now.

    `reason` is stable: `<verb>_never_recorded`, `not_decided_again`, `no_command`, `no_code`, `other_policy`,
    `code_changed`, `erased`, or what the turn raised. `leftovers` are recorded steps that the code did not reach.
    """

    model_config = ConfigDict(frozen=True)

    decision_id: str
    journal: str
    verdict: Literal["unchanged", "flipped", "not_replayable"]
    old: str | None
    new: str | None
    old_outcome: dict[str, JsonValue]
    new_outcome: dict[str, JsonValue] | None
    reason: str | None = None
    leftovers: tuple[str, ...] = ()


class Rerun(BaseModel):
    """The result of running again; `coverage` is the share of cases that could be run to their decision."""

    model_config = ConfigDict(frozen=True)

    policy: str
    under: str
    hash: str
    cases: tuple[RerunCase, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of cases by verdict."""
        return dict(Counter(case.verdict for case in self.cases))

    @property
    def coverage(self) -> float | None:
        """The share of cases that could be run to their decision."""
        if not self.cases:
            return None
        return 1 - self.counts.get("not_replayable", 0) / len(self.cases)


async def rerun(
    store: JournalStore, system: ActorSystem, recalled: Iterable[Recalled], under: PolicyVersion
) -> AsyncIterator[RerunCase]:
    """Drive the turn of each decision again under a version, and yield the result for the decision."""
    driven: dict[tuple[str, str], _Driven] = {}
    for each in recalled:
        entries = await _turn_of(store, each)
        if not entries:
            yield _not_replayable(each, None, "no_command")
            continue
        key = each.journal, str(entries[0].command_id)
        if key not in driven:
            driven.clear()  # decisions come in order: a turn does not return once another one began
            driven[key] = await _drive(system, each, entries, under)
        yield driven[key].case(each)


class _Driven:
    """What a turn decided the first time, and what it decides under the other version."""

    def __init__(
        self, before: list[Decision], after: list[Decision], reason: str | None, left: tuple[str, ...]
    ) -> None:
        self._before = before
        self._after = after
        self._reason = reason
        self._left = left

    def case(self, recalled: Recalled) -> RerunCase:
        """Return the result for one of its decisions: the first is compared with the first, and so on."""
        place = next(
            (index for index, each in enumerate(self._before) if each.decision_id == recalled.decision_id), None
        )
        before = None if place is None else self._before[place]
        if before is None or place is None or place >= len(self._after):
            return _not_replayable(recalled, before, self._reason or "not_decided_again", self._left)
        after = self._after[place]
        old, new = _label(before.evaluation), _label(after.evaluation)
        same = old == new and before.outcome == after.outcome
        return RerunCase(
            decision_id=recalled.decision_id,
            journal=recalled.journal,
            verdict="unchanged" if same else "flipped",
            old=old,
            new=new,
            old_outcome=before.outcome,
            new_outcome=after.outcome,
            leftovers=self._left,
        )


async def _drive(system: ActorSystem, recalled: Recalled, entries: list[Recorded], under: PolicyVersion) -> _Driven:
    before = [each.entry.decision for each in entries if isinstance(each.entry, DecisionJournalEntry)]
    after: list[Decision] = []
    turn: Turn | None = None
    reason: str | None = None
    if recalled.policy_name != under.name:
        return _Driven(before, after, "other_policy", ())
    try:
        cell = system.detached_cell(recalled.journal)
        turn = await replayed_turn(cell, entries, compare=_do_not_compare, under=under)
        turn.decided = after.append
        ending, detail = await drive(turn)
        reason = None if ending == "replied" else str(detail)
    except NotReplayableError as error:
        reason = error.reason
    except UnknownActorError:
        reason = "no_code"
    except LoomError as error:
        reason = "code_changed" if type(error).__name__ == "PolicyCodeChangedError" else type(error).__name__
    left = () if turn is None or turn.recorded_steps is None else tuple(turn.recorded_steps.expected())
    return _Driven(before, after, reason, left)


async def _turn_of(store: JournalStore, recalled: Recalled) -> list[Recorded]:
    """Return the entries of the turn that made a decision; empty if no turn made it, or the turn has not ended."""
    command_id: str | None = None
    async for recorded in store.read(recalled.journal, after=recalled.sequence - 1, until=recalled.sequence):
        command_id = recorded.command_id
    received = None if command_id is None else await store.find_command(recalled.journal, command_id)
    if received is None or not isinstance(received.entry, CommandReceivedEntry):
        return []
    entries: list[Recorded] = []
    async for recorded in store.read(recalled.journal, after=received.sequence - 1):
        if recorded.command_id == command_id:
            entries.append(recorded)
            if recorded.kind in ENDINGS:
                return entries
    return []


def _not_replayable(recalled: Recalled, before: Decision | None, reason: str, left: tuple[str, ...] = ()) -> RerunCase:
    return RerunCase(
        decision_id=recalled.decision_id,
        journal=recalled.journal,
        verdict="not_replayable",
        old=None if before is None else _label(before.evaluation),
        new=None,
        old_outcome={} if before is None else before.outcome,
        new_outcome=None,
        reason=reason,
        leftovers=left,
    )


def _label(evaluation: Evaluation | None) -> str | None:
    if evaluation is None:
        return None
    return evaluation.effect if evaluation.tier is None else f"{evaluation.effect}:{evaluation.tier}"


def _do_not_compare(*_: object) -> None:
    """A run under another version is not compared entry by entry: it may differ everywhere."""
