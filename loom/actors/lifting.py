"""The success of a new attempt ends the failed turns that it takes up, and lifts the mark from their decisions."""

from __future__ import annotations

from collections import defaultdict

from loom.actors.change_entries import FailureLiftedEntry
from loom.actors.turn import Turn
from loom.decisions.entries import DecisionJournalEntry
from loom.journal.kinds import TurnCompletedEntry
from loom.journal.store import Draft

__all__ = ["lifting"]


def lifting(turn: Turn) -> tuple[Draft, ...]:
    """Return what the success of a turn means for failed turns: nothing, but for a new attempt."""
    earlier = turn.taken_up
    if earlier is None or not earlier.entry.recovers:
        return ()
    overruled: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for recorded in earlier.entries:
        if isinstance(recorded.entry, DecisionJournalEntry):
            decision = recorded.entry.decision
            found = tuple(each.decision_id for each in decision.precedents if each.relation == "overruled")
            if found:
                overruled[str(recorded.command_id)][decision.decision_id] = found
    drafts: list[Draft] = []
    for failed in earlier.entry.recovers:
        end = TurnCompletedEntry(reply=None, attempt=turn.command_id)
        lifted = FailureLiftedEntry(attempt=turn.command_id, overruled=overruled[failed])
        drafts += [
            turn.host.draft(each, command_id=failed, policy_hash=turn.policy.hash_bytes) for each in (end, lifted)
        ]
    return tuple(drafts)
