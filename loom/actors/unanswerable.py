"""Requests for approval that cannot be answered any more: they are denied before their turn ends (law 6)."""

from __future__ import annotations

from loom.actors.turn import Turn
from loom.decisions.entries import UNANSWERABLE, ApprovalAnsweredEntry
from loom.errors import LoomError
from loom.telemetry import get_logger

__all__ = ["deny_unanswerable"]

_log = get_logger("loom.actors")


async def deny_unanswerable(turn: Turn) -> None:
    """Deny the requests of a turn, as one of its subjects was erased. Unreadable ones end with the turn."""
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
