"""An answer that goes against those to earlier cases of its class says why this case differs."""

from __future__ import annotations

from dataclasses import replace

from loom.actors.answers import Answer
from loom.actors.services import Services
from loom.decisions.approvals import Approval
from loom.errors import DistinctionRequiredError, LoomError
from loom.identity import short
from loom.precedents.answered import EarlierAnswers
from loom.telemetry import get_logger

__all__ = ["distinguished", "earlier_cases"]

_log = get_logger("loom.actors")


async def earlier_cases(services: Services, approval: Approval) -> EarlierAnswers:
    """Return how people answered earlier cases of the class of a request; none where it has no class."""
    if approval.situation is None:
        return EarlierAnswers()
    return await services.precedents.answers(
        approval.situation, exclude_turn=(approval.journal, str(approval.command_id))
    )


async def distinguished(services: Services, approval: Approval, given: Answer) -> Answer:
    """Return an answer with the earlier decisions that it goes against.

    Raises `DistinctionRequiredError` where it goes against most of them and does not say why. An index that does not
    answer holds no one up.
    """
    if given.question is not None or approval.situation is None:
        return given
    try:
        earlier = await earlier_cases(services, approval)
    except LoomError as error:
        _log.warning("earlier_answers_not_found", approval=approval.approval_id, error=str(error))
        return given
    against = earlier.against(granted=given.granted)
    if against and not (given.distinguished or "").strip():
        answered = f"{earlier.denied} of {len(earlier.answers)} were denied"
        if not given.granted:
            answered = f"{earlier.granted} of {len(earlier.answers)} were granted"
        raise DistinctionRequiredError(
            f"approval [{short(approval.approval_id)}] is {'granted' if given.granted else 'denied'} against earlier "
            f"cases of its class [{answered}, as {short(against[0])}]; expected one sentence that says why this case "
            "differs: give [distinguished] (on the shell, --distinguished)"
        )
    return replace(given, against=against)
