"""The verb of an actor that asks people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast

from pydantic import BaseModel

from loom.actors import verbs
from loom.actors.turn_context import current_turn
from loom.decisions.decision import ApprovalGiven

if TYPE_CHECKING:
    from loom.actors.ports import Decider

__all__ = ["ConsentVerbs"]


class ConsentVerbs:
    """What an actor asks people for: base of `Actor`."""

    async def request_approval(
        self,
        *,
        approver: str,
        reason: str,
        timeout_s: float | None = None,
        deadline: datetime | None = None,
        on_deadline: Literal["deny", "escalate"] = "deny",
        escalate_to: Sequence[str] = (),
        key: str | None = None,
        action: str | None = None,
        arguments: Mapping[str, object] | None = None,
        quorum: int = 1,
        deny_quorum: int = 1,
        adjustable: type[BaseModel] | None = None,
        on_question: Literal["park", "return"] = "park",
    ) -> ApprovalGiven:
        """Request an approval and wait for the answer, for seconds or for days; a restart in between loses nothing.

        `action` and `arguments` name the effect to come: they are shown, and `perform(…, under=)` compares them.

        At the deadline (UTC, or `timeout_s` from now) the request is denied, or passed on to the next of `escalate_to`,
        and is denied after the last of them. A deadline never grants a request.

        `approver` is a role or a person. `quorum` distinct persons of the directory have to grant it, none of them the
        requester; one denial denies it, or `deny_quorum` of them. Too few of them are a `NoEligibleApproverError`.

        `adjustable` is a model of facts and arguments that the person may change, within its bounds: `changes` of the
        answer has the values that were granted. The changed case is evaluated again, and goes to whom the rule names
        then. A question of the approver is answered by `loom approvals inform`; or with `on_question="return"` it is a
        `NeedsInformation`, and the actor may ask again.
        """
        return await verbs.request_approval(
            current_turn(cast("Decider", self), "request_approval"),
            approver=approver,
            reason=reason,
            timeout_s=timeout_s,
            deadline=deadline,
            on_deadline=on_deadline,
            escalate_to=tuple(escalate_to),
            key=key,
            action=action,
            arguments=arguments,
            quorum=quorum,
            deny_quorum=deny_quorum,
            adjustable=adjustable,
            on_question=on_question,
        )
