"""Recorded decisions under another version, and the decisions of two runs compared."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from loom.drift import DriftReport, Window
from loom.replay import Selection
from loom.web.api import takes
from loom.web.routes.paging import Id
from loom.web.session import Reads, body
from loom.web.shapes import JudgementAnswer, JudgeRequest

__all__ = ["routes"]

routes = APIRouter()


@routes.post("/replay/judge", openapi_extra=takes(JudgeRequest))
async def judge(reads: Reads, given: Annotated[JudgeRequest, body(JudgeRequest)]) -> JudgementAnswer:
    """Judge recorded decisions again under another version; nothing is kept.

    With `open_why`, sealed facts are opened in memory for a key that `sealing.readers` names; that is journaled.
    """
    replay = reads.loom.replay
    selection = Selection(run_id=given.run_id, policy=given.policy, ids=given.ids)
    opened = None
    if given.open_why is not None:
        opened = await replay.opening(selection, by=reads.by, reason=given.open_why)
    found = await replay.judge(selection, under=given.under, opened=opened)
    return JudgementAnswer.model_validate({**dict(found), "coverage": found.coverage})


@routes.get("/drift")
async def drift(reads: Reads, baseline: Id, current: Id) -> DriftReport:
    """Compare the decisions of two runs."""
    return await reads.loom.drift.compare(Window(run=baseline), Window(run=current))
