"""Requests for approval that no one can answer any more: denied before their turn ends (law 6)."""

from __future__ import annotations

from loom.actors.turn import Turn
from loom.decisions.entries import UNANSWERABLE, ApprovalAnsweredEntry
from loom.errors import LoomError
from loom.telemetry import get_logger

__all__ = ["deny_unanswerable"]

_log = get_logger("loom.actors")


async def deny_unanswerable(turn: Turn) -> None:
    """Deny what a turn waits for, as a subject of it was erased. What cannot be read now is moot when the turn ends."""
    try:
        waiting = await turn.services.requests.pending()
    except LoomError as error:
        _log.warning("approvals_not_denied", journal=turn.host.journal, turn=turn.command_id, error=str(error))
        return
    for each in waiting:
        if (each.journal, each.command_id) == (turn.host.journal, turn.command_id):
            answered = ApprovalAnsweredEntry(
                approval_id=each.approval_id, granted=False, by=None, comment=UNANSWERABLE, shown=each.shown
            )
            turn.write(turn.draft(answered))
