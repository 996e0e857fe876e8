"""Operations that judge recorded decisions again, on facts that a reader has opened where some are sealed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue

from loom.extension import installed
from loom.operations.arguments import AuditDecisions, Chosen, CompareDecisions, JudgeDecisions, Keep, Opening
from loom.replay import Replay, Selection
from loom.replay.audit import AuditedPolicies
from loom.replay.sealed import AsRecorded

__all__ = ["audit_decisions", "compare_decisions", "judge_decisions", "keep_judgement"]

_MOST_LISTED = 100_000


async def judge_decisions(replay: Replay, given: JudgeDecisions) -> JsonValue:
    """Return the judgement, and the cases that changed."""
    selection, under, what_if = _selection(given.selection), given.under, given.what_if
    opened = await _opened(replay, selection, given)
    found = await replay.judge(selection, under=under, what_if=what_if, gaps=given.gaps, opened=opened)
    listed: list[JsonValue] = []
    if given.listed:
        async for case in replay.cases(selection, under=under, what_if=what_if, gaps=given.gaps, opened=opened):
            if case.verdict != "unchanged" and len(listed) < _MOST_LISTED:
                listed.append(case._asdict())
    return {"found": found.model_dump(mode="json"), "listed": listed}


async def compare_decisions(replay: Replay, given: CompareDecisions) -> JsonValue:
    """Return what the rule says against what was done, and every case."""
    selection, mapping = _selection(given.selection), given.mapping
    per: Any = given.per
    opened = await _opened(replay, selection, given, against="outcome")
    found = await replay.judge(
        selection,
        under=given.under,
        against="outcome",
        mapping=mapping,
        per=per,
        weigh=given.weigh,
        gaps=given.gaps,
        opened=opened,
    )
    listed: list[JsonValue] = []
    if given.listed:
        every = replay.cases_against(selection, under=given.under, mapping=mapping, gaps=given.gaps, opened=opened)
        listed = [case._asdict() async for case in every]
    return {"found": found.model_dump(mode="json"), "listed": listed[:_MOST_LISTED]}


async def audit_decisions(policies: AuditedPolicies, replay: Replay, given: AuditDecisions) -> JsonValue:
    """Return the result of an audit."""
    for policy in (each for extension in installed().values() for each in extension.policies):
        policies.attach(policy)
    selection = _selection(given.selection)
    found = await policies.audit(selection, opened=await _opened(replay, selection, given, purpose="audit"))
    said: JsonValue = found.model_dump(mode="json")
    return said


async def keep_judgement(replay: Replay, given: Keep) -> JsonValue:
    """Judge decisions again, keep that as a run, and return the result."""
    selection = _selection(given.selection)
    opened = await _opened(replay, selection, given)
    judged = await replay.judge(
        selection, under=given.under, what_if=given.what_if, keep=True, by=given.by, opened=opened
    )
    said: JsonValue = judged.model_dump(mode="json")
    return said


def _selection(chosen: Chosen) -> Selection:
    return Selection(**chosen.model_dump(exclude_none=True))


async def _opened(
    replay: Replay,
    selection: Selection,
    given: Opening,
    *,
    against: Literal["outcome"] | None = None,
    purpose: Literal["judge", "audit"] = "judge",
) -> AsRecorded | None:
    if given.opened_by is None or given.opened_why is None:
        return None
    return await replay.opening(
        selection, by=given.opened_by, reason=given.opened_why, against=against, purpose=purpose
    )
