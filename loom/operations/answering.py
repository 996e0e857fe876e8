"""Operations on approvals: what people are asked for, and their answers."""

from __future__ import annotations

from pydantic import JsonValue

from loom.actors import Approvals
from loom.decisions import Approval
from loom.operations.arguments import Deny, Grant, Inform, ListApprovals, SendBack, ShowApproval

__all__ = ["deny", "grant", "inform", "list_approvals", "send_back", "show_approval"]


async def grant(approvals: Approvals, given: Grant) -> JsonValue:
    """Grant a request, as it is or with changes."""
    changes: dict[str, JsonValue] = {}
    if given.set:
        fields = {each.name: each for each in (await approvals.get(given.id)).adjustable}
        changes = {name: fields[name].read(text) if name in fields else text for name, text in given.set.items()}
    return _approval_json(
        await approvals.grant(
            given.id, by=given.by, comment=given.comment, changes=changes, distinguished=given.distinguished
        )
    )


async def deny(approvals: Approvals, given: Deny) -> JsonValue:
    """Deny a request."""
    return _approval_json(
        await approvals.deny(given.id, by=given.by, comment=given.comment, distinguished=given.distinguished)
    )


async def send_back(approvals: Approvals, given: SendBack) -> JsonValue:
    """Send a request back with a question."""
    return _approval_json(await approvals.send_back(given.id, by=given.by, question=given.question))


async def inform(approvals: Approvals, given: Inform) -> JsonValue:
    """Answer the question with which a request was sent back."""
    return _approval_json(await approvals.inform(given.id, by=given.by, information=given.information))


async def show_approval(approvals: Approvals, given: ShowApproval) -> JsonValue:
    """Return a request with what is sealed in it opened, to whom it names."""
    return _approval_json(await approvals.shown(given.id, by=given.by))


async def list_approvals(approvals: Approvals, given: ListApprovals) -> JsonValue:
    """Return requests: for accounts that may ask a running loom and cannot read its files."""
    if given.id is not None:
        return [_approval_json(await approvals.get(given.id))]
    if not given.every:
        return [_approval_json(each) for each in await approvals.pending(given.approver, limit=given.limit)]
    return [_approval_json(each) for each in await approvals.list(approver=given.approver, limit=given.limit)]


def _approval_json(approval: Approval) -> JsonValue:
    plain: JsonValue = approval.model_dump(mode="json")
    return plain
