"""What a person says to a request for approval, and its entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pydantic import JsonValue

from loom.decisions.adjustable import checked_changes
from loom.decisions.approvals import Approval
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry, ApprovalRequestedEntry
from loom.decisions.shown import Shown
from loom.errors import AdmissionError, ApprovalMismatchError
from loom.identity import Identity, derived_id, short
from loom.text import compact

__all__ = ["Answer", "Intervention", "delivered_again", "informed"]

Intervention: TypeAlias = ApprovalAnsweredEntry | ApprovalEscalatedEntry | ApprovalRequestedEntry
"""What happens to a request: it is answered, passed on, or asked again with information."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a person: granted, as it is or with changes; denied; or a question."""

    granted: bool
    comment: str | None = None
    question: str | None = None
    changes: Mapping[str, JsonValue] = field(default_factory=dict)
    shown: Shown | None = None
    distinguished: str | None = None
    against: tuple[str, ...] = ()

    def entry(self, approval: Approval, who: Identity) -> ApprovalAnsweredEntry:
        """Return its entry; raise `AdmissionError` for changes that the request does not permit.

        Raises `ApprovalMismatchError` where the person saw a request that has changed since.
        """
        shown = self.shown
        if shown is not None and shown.basis not in (None, approval.shown):
            raise ApprovalMismatchError(
                f"approval [{short(approval.approval_id)}] has changed since it was shown; expected an answer to "
                "what it asks now: look at it again, then answer"
            )
        changes = checked_changes(approval.adjustable, self.changes)
        if self.granted:
            _check_agrees(approval, changes)
        return ApprovalAnsweredEntry(
            **who.written(),
            approval_id=approval.approval_id,
            granted=self.granted,
            comment=self.comment,
            shown=approval.shown,
            changes=changes,
            question=self.question,
            decides=self.question is None or approval.on_question == "return",
            rendering=None if shown is None else shown.rendering,
            rendered=None if shown is None else shown.digest,
            distinguished=self.distinguished,
            against=self.against,
        )


def _check_agrees(approval: Approval, changes: Mapping[str, JsonValue]) -> None:
    """Refuse to grant with other values than the persons before: a quorum grants one thing."""
    for each in approval.counted:
        if each.event == "granted" and dict(each.changes) != dict(changes):
            raise AdmissionError(
                f"approval [{short(approval.approval_id)}] was granted by [{each.identity}] with "
                f"[{compact(each.changes) if each.changes else 'no changes'}]; expected the same values, as several "
                "persons have to grant one thing: grant it with these, or deny it"
            )


def informed(approval: Approval, who: Identity, information: str) -> ApprovalRequestedEntry:
    """Return the entry that asks a request again, with the information; its answer binds that, too."""
    return ApprovalRequestedEntry(
        **who.written("requested_by"),
        approval_id=approval.approval_id,
        approver=approval.approver,
        reason=approval.reason,
        shown=derived_id("shown again", approval.shown, information),
        deadline=approval.deadline,
        on_deadline=approval.on_deadline,
        escalate_to=approval.escalate_to,
        information=information,
    )


def delivered_again(approval: Approval, request: ApprovalRequestedEntry) -> ApprovalRequestedEntry:
    """Return a request that is asked again as the messenger gets it: with all that the approver has to know."""
    return request.model_copy(
        update={
            "facts": approval.facts,
            "evaluation": approval.evaluation,
            "requested_by": approval.requested_by,
            "identity_source": approval.requested_identity_source,
            "via": approval.requested_via,
            "action": approval.action,
            "arguments": approval.arguments,
            "adjustable": approval.adjustable,
        }
    )
