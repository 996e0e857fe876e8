"""The routes that read what a workspace holds, and those by which people answer approvals."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import AwareDatetime

from loom.decisions import Approval, DecisionSummary, Explanation, Run
from loom.drift import DriftReport, Window
from loom.journal.listing import journal_as_json
from loom.operations import policy_as_json
from loom.precedents import FacetCounts
from loom.replay import Selection
from loom.reports import report
from loom.web.api import Api, Workspace, read_body, takes
from loom.web.guard import HttpRefusal
from loom.web.keys import KEYS_JOURNAL
from loom.web.shapes import (
    AnswerRequest,
    DenyRequest,
    EntryAnswer,
    ExplainedTrace,
    JournalAnswer,
    JudgementAnswer,
    JudgeRequest,
    Listed,
    OpenRequest,
    Page,
    PolicyAnswer,
)

__all__ = ["router"]

Limit = Annotated[int, Query(ge=1, le=1_000)]
After = Annotated[int | None, Query(ge=1, le=2**53, description="The position last seen: the page goes on there.")]
Id = Annotated[str, Query(max_length=200)]


def router(api: Api) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api", tags=["loom"])

    @routes.get("/decisions", response_model=Page[DecisionSummary])
    async def decisions(
        request: Request,
        workspaceId: Workspace,  # noqa: N803
        limit: Limit = 50,
        after: After = None,
        type: Annotated[str | None, Query(max_length=64)] = None,
        policy: Annotated[str | None, Query(max_length=64)] = None,
        run: Annotated[str | None, Query(max_length=200)] = None,
        actor_type: Annotated[str | None, Query(max_length=64)] = None,
        exception: bool | None = None,  # noqa: FBT001 - a parameter of the query
        since: AwareDatetime | None = None,
    ) -> JSONResponse:
        """Return decisions, newest first."""
        loom, _ = await api.caller(request, "read")
        found = await loom.traces.find(
            decision_type=type, policy=policy, run_id=run, actor_type=actor_type, is_exception=exception,
            since=since, limit=limit, after=after,
        )  # fmt: skip
        return JSONResponse(_page([each.model_dump(mode="json") for each in found], limit))

    @routes.get("/facets", response_model=FacetCounts)
    async def facets(
        request: Request,
        workspaceId: Workspace,  # noqa: N803
        name: Id,
        limit: Limit = 50,
        type: Annotated[str | None, Query(max_length=64)] = None,
        policy: Annotated[str | None, Query(max_length=64)] = None,
        actor_type: Annotated[str | None, Query(max_length=64)] = None,
        exception: bool | None = None,  # noqa: FBT001 - a parameter of the query
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
    ) -> JSONResponse:
        """Return how many decisions there are of each value of a fact; `complete` says whether all were read."""
        loom, _ = await api.caller(request, "read")
        found = await loom.precedents.facets(
            name, limit=limit, decision_type=type, policy=policy, actor_type=actor_type, is_exception=exception,
            since=since, until=until,
        )  # fmt: skip
        return JSONResponse(found.model_dump(mode="json"))

    @routes.get("/decisions/{decision_id}", response_model=ExplainedTrace)
    async def decision(request: Request, decision_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return a decision with everything that is joined to it."""
        loom, _ = await api.caller(request, "read")
        trace = await loom.traces.get(decision_id)
        explained = await loom.traces.explain(trace.decision_id)
        return JSONResponse({**trace.model_dump(mode="json"), "explanation": explained.model_dump(mode="json")})

    @routes.get("/decisions/{decision_id}/why", response_model=Explanation)
    async def why(request: Request, decision_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return a decision in the order in which a person asks."""
        loom, _ = await api.caller(request, "read")
        return JSONResponse((await loom.traces.explain(decision_id)).model_dump(mode="json"))

    @routes.get("/approvals", response_model=Page[Approval])
    async def approvals(
        request: Request,
        workspaceId: Workspace,  # noqa: N803
        limit: Limit = 50,
        after: After = None,
        status: Annotated[str | None, Query(max_length=20)] = "pending",
    ) -> JSONResponse:
        """Return what people are asked for, newest first; `status=all` brings also what was answered."""
        loom, _ = await api.caller(request, "read")
        wanted = None if status == "all" else status
        found = await loom.approvals.list(status=wanted, limit=limit, before=after)
        return JSONResponse(_page([each.model_dump(mode="json") for each in found], limit))

    @routes.get("/approvals/{approval_id}", response_model=Approval)
    async def approval(request: Request, approval_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return a request with everything that happened to it."""
        loom, _ = await api.caller(request, "read")
        return JSONResponse((await loom.approvals.get(approval_id)).model_dump(mode="json"))

    @routes.post("/approvals/{approval_id}/open", response_model=Approval, openapi_extra=takes(OpenRequest))
    async def opened(request: Request, approval_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return a request with what is sealed in it opened, to whom it names; that is journaled first."""
        loom, caller = await api.caller(request, "approve")
        given = await read_body(request, OpenRequest)
        shown = await loom.approvals.shown(approval_id, by=caller.identity, reason=given.reason)
        return JSONResponse(shown.model_dump(mode="json"))

    @routes.post("/approvals/{approval_id}/grant", response_model=Approval, openapi_extra=takes(AnswerRequest))
    async def grant(request: Request, approval_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Grant a request, in the name of the key."""
        loom, caller = await api.caller(request, "approve")
        given = await read_body(request, AnswerRequest)
        answered = await loom.approvals.grant(approval_id, by=caller.identity, comment=given.comment)
        return JSONResponse(answered.model_dump(mode="json"))

    @routes.post("/approvals/{approval_id}/deny", response_model=Approval, openapi_extra=takes(DenyRequest))
    async def deny(request: Request, approval_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Deny a request, in the name of the key, and say why."""
        loom, caller = await api.caller(request, "approve")
        given = await read_body(request, DenyRequest)
        answered = await loom.approvals.deny(approval_id, by=caller.identity, comment=given.comment)
        return JSONResponse(answered.model_dump(mode="json"))

    @routes.get("/policies", response_model=Listed[PolicyAnswer])
    async def policies(request: Request, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return every version of every policy."""
        loom, _ = await api.caller(request, "read")
        known = loom.policies
        return JSONResponse(
            {
                "items": [
                    policy_as_json(each, known.adoption(name))
                    for name in known.names()
                    for each in known.versions(name)
                ]
            }
        )

    @routes.get("/policies/{version}", response_model=PolicyAnswer)
    async def policy(request: Request, version: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return one version of a policy."""
        loom, _ = await api.caller(request, "read")
        found = loom.policies.resolve(version)
        return JSONResponse(policy_as_json(found, loom.policies.adoption(found.name)))

    @routes.get("/runs", response_model=Page[Run])
    async def runs(
        request: Request,
        workspaceId: Workspace,  # noqa: N803
        limit: Limit = 50,
        after: After = None,
    ) -> JSONResponse:
        """Return runs, newest first."""
        loom, _ = await api.caller(request, "read")
        found = await loom.runs.find(limit=limit, after=after)
        return JSONResponse(_page([each.model_dump(mode="json") for each in found], limit))

    @routes.get("/runs/{run_id}", response_model=Run)
    async def run(request: Request, run_id: str, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Return a run."""
        loom, _ = await api.caller(request, "read")
        return JSONResponse((await loom.runs.get(run_id)).model_dump(mode="json"))

    @routes.get("/runs/{run_id}/report", response_model=None, responses={200: {"content": {"text/html": {}}}})
    async def run_report(request: Request, run_id: str, workspaceId: Workspace) -> HTMLResponse:  # noqa: N803
        """Return the report of a run as a page."""
        loom, caller = await api.caller(request, "read")
        return HTMLResponse(await report(loom.queries, run_id, workspace=caller.workspace))

    @routes.post("/replay/judge", response_model=JudgementAnswer, openapi_extra=takes(JudgeRequest))
    async def judge(request: Request, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Judge recorded decisions again under another version; nothing is kept.

        With `open_why`, sealed facts are opened in memory for a key that `sealing.readers` names; that is journaled.
        """
        loom, caller = await api.caller(request, "read")
        given = await read_body(request, JudgeRequest)
        selection = Selection(run_id=given.run_id, policy=given.policy, ids=given.ids)
        opened = None
        if given.open_why is not None:
            opened = await loom.replay.opening(selection, by=caller.identity, reason=given.open_why)
        found = await loom.replay.judge(selection, under=given.under, opened=opened)
        return JSONResponse({**found.model_dump(mode="json"), "coverage": found.coverage})

    @routes.get("/drift", response_model=DriftReport)
    async def drift(request: Request, baseline: Id, current: Id, workspaceId: Workspace) -> JSONResponse:  # noqa: N803
        """Compare the decisions of two runs."""
        loom, _ = await api.caller(request, "read")
        found = await loom.drift.compare(Window(run=baseline), Window(run=current))
        return JSONResponse(found.model_dump(mode="json"))

    @routes.get("/journals", response_model=Page[JournalAnswer])
    async def journals(
        request: Request,
        workspaceId: Workspace,  # noqa: N803
        limit: Limit = 50,
        after: Annotated[str, Query(max_length=300)] = "",
    ) -> JSONResponse:
        """Return the names of journals, in order of them."""
        loom, _ = await api.caller(request, "read")
        found = await loom.store.journals(after=after, limit=limit)
        items = [await journal_as_json(loom.store, name, entries) for name, entries in found]
        return JSONResponse({"items": items, "next_after": found[-1][0] if len(found) == limit else None})

    @routes.get("/journals/{actor_type}/{key}", response_model=Page[EntryAnswer])
    async def journal(
        request: Request, actor_type: str, key: str, workspaceId: Workspace, limit: Limit = 50,  # noqa: N803
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> JSONResponse:  # fmt: skip
        """Return the entries of a journal, oldest first."""
        # Who has keys is for those who give them.
        loom, _ = await api.caller(request, "administer" if f"{actor_type}/{key}" == KEYS_JOURNAL else "read")
        entries = loom.store.read(f"{actor_type}/{key}", after=after, until=after + limit)
        items = [each.as_json() async for each in entries]
        if not items and not (await loom.store.head(f"{actor_type}/{key}")).sequence:
            raise HttpRefusal(404, "journal_not_found", "there is no such journal")
        return JSONResponse({"items": items, "next_after": items[-1]["sequence"] if len(items) == limit else None})

    return routes


def _page(items: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    return {"items": items, "next_after": items[-1]["position"] if len(items) == limit else None}
