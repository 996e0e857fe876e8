"""What would come of changes to a request: the changed case, and what its rule says of it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors.services import Services
from loom.decisions.adjustable import checked_changes, following_approver
from loom.decisions.approvals import Approval
from loom.errors import ChangesRefusedError
from loom.identity import short
from loom.policies.evaluation import Evaluation
from loom.sealing.facts import placeholders_in

__all__ = ["ChangesPreview", "check_changes", "preview_changes"]


class ChangesPreview(BaseModel):
    """A request with changes: the case as it would be, its evaluation, and who else would have to approve it.

    `evaluation` is None where the rule cannot be tried here: without facts, with sealed ones, or without its code. The
    turn evaluates it in any case.
    """

    model_config = ConfigDict(frozen=True)

    changes: dict[str, JsonValue]
    facts: dict[str, JsonValue] | None
    arguments: dict[str, JsonValue] | None
    evaluation: Evaluation | None
    goes_to: str | None

    @property
    def refused(self) -> bool:
        """Whether the rule denies the changed case, or cannot say."""
        return self.evaluation is not None and not (self.evaluation.allowed or self.evaluation.needs_approval)


async def preview_changes(services: Services, approval: Approval, changes: Mapping[str, JsonValue]) -> ChangesPreview:
    """Return what would come of changes; raise `AdmissionError` for changes that the request does not permit."""
    checked = checked_changes(approval.adjustable, changes)
    facts = _with(approval.facts, checked)
    evaluation = None if facts is None or not checked else await _evaluated(services, approval, facts)
    return ChangesPreview(
        changes=checked,
        facts=facts,
        arguments=_with(approval.arguments, checked),
        evaluation=evaluation,
        goes_to=None if evaluation is None else following_approver(approval.evaluation, evaluation, approval.approver),
    )


async def check_changes(services: Services, approval: Approval, changes: Mapping[str, JsonValue]) -> None:
    """Refuse changes that the request does not permit, or its rule, as far as that can be known here.

    Raises `AdmissionError`, and `ChangesRefusedError` for what the rule refuses.
    """
    if not changes:
        return
    found = await preview_changes(services, approval, changes)
    if found.evaluation is not None and found.refused:
        said = ", ".join(f"{name}={value}" for name, value in found.changes.items())
        raise ChangesRefusedError(
            f"approval [{short(approval.approval_id)}] with [{said}] is refused by rule [{found.evaluation.rule}]: "
            f"{found.evaluation.why}; expected values that the rule permits: grant others, or deny it"
        )


async def _evaluated(services: Services, approval: Approval, facts: Mapping[str, JsonValue]) -> Evaluation | None:
    if approval.evaluation is None or any(True for _ in placeholders_in(facts)):
        return None
    assert approval.command_id is not None  # noqa: S101 - only turns ask
    marks = await services.store.marks([(approval.journal, approval.command_id)])
    pinned = next((each.policy_hash for each in marks if each.position == approval.position), None)
    if pinned is None:
        return None
    version = services.policies.resolve_hash(pinned)
    return services.policies.runnable(version).evaluate_json(facts) if services.policies.runs(version) else None


def _with(values: Mapping[str, JsonValue] | None, changes: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
    if values is None:
        return None
    return {name: changes.get(name, value) for name, value in values.items()}
