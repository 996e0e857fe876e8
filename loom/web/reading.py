"""The routes that read what a workspace holds, and those by which people answer approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from loom.drift import Window
from loom.journal.listing import journal_as_json
from loom.operations.served import policy_as_json
from loom.replay import Selection
from loom.reports import report
from loom.web.app import Api, read_body
from loom.web.circuits import Workspace, _takes
from loom.web.keys import KEYS_JOURNAL

__all__ = ["router"]

Limit = Annotated[int, Query(ge=1, le=1_000)]
After = Annotated[int | None, Query(ge=1, le=2**53, description="The position last seen: the page goes on there.")]
Id = Annotated[str, Query(max_length=200)]


class AnswerRequest(BaseModel):
    """What somebody has to say to a request for approval. Who it is, the key says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    comment: str | None = Field(default=None, max_length=10_000)


class JudgeRequest(BaseModel):
    """Which decisions are judged again, under which version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    under: str = Field(min_length=1, max_length=200)
    policy: str | None = None
    run_id: str | None = None
    ids: tuple[str, ...] = ()


def router(api: Api) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api", tags=["loom"])

    @routes.get("/decisions")
    async def decisions(
        request: Request,
        workspaceId: Workspace = "",  # noqa: N803
        limit: Limit = 50,
        after: After = None,
        type: Annotated[str | None, Query(max_length=64)] = None,
        policy: Annotated[str | None, Query(max_length=64)] = None,
        run: Annotated[str | None, Query(max_length=200)] = None,
        actor_type: Annotated[str | None, Query(max_length=64)] = None,
        exception: bool | None = None,  # noqa: FBT001 - a parameter of the query
        since: datetime | None = None,
    ) -> dict[str, Any]:
        """Return decisions, newest first."""
        loom, _ = await api.caller(request, "read")
        found = await loom.traces.find(
            decision_type=type, policy=policy, run_id=run, actor_type=actor_type, is_exception=exception,
            since=since, limit=limit, after=after,
        )  # fmt: skip
        return _page([each.model_dump(mode="json") for each in found], limit)

    @routes.get("/decisions/{decision_id}")
    async def decision(request: Request, decision_id: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Return a decision with everything that is joined to it."""
        loom, _ = await api.caller(request, "read")
        trace = await loom.traces.get(decision_id)
        explained = await loom.traces.explain(trace.decision_id)
        return {**trace.model_dump(mode="json"), "explanation": explained.model_dump(mode="json")}

    @routes.get("/decisions/{decision_id}/why")
    async def why(request: Request, decision_id: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Return a decision in the order in which a person asks."""
        loom, _ = await api.caller(request, "read")
        return (await loom.traces.explain(decision_id)).model_dump(mode="json")

    @routes.get("/approvals")
    async def approvals(
        request: Request,
        workspaceId: Workspace = "",  # noqa: N803
        limit: Limit = 50,
        after: After = None,
        status: Annotated[str | None, Query(max_length=20)] = "pending",
    ) -> dict[str, Any]:
        """Return what people are asked for, newest first; `status=all` brings also what was answered."""
        loom, _ = await api.caller(request, "read")
        wanted = None if status == "all" else status
        found = await loom.approvals.list(status=wanted, limit=limit, before=after)
        return _page([each.model_dump(mode="json") for each in found], limit)

    @routes.get("/approvals/{approval_id}")
    async def approval(request: Request, approval_id: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Return a request with everything that happened to it."""
        loom, _ = await api.caller(request, "read")
        return (await loom.approvals.get(approval_id)).model_dump(mode="json")

    @routes.post("/approvals/{approval_id}/grant", openapi_extra=_takes(AnswerRequest))
    async def grant(request: Request, approval_id: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Grant a request, in the name of the key."""
        loom, caller = await api.caller(request, "approve")
        given = await read_body(request, AnswerRequest)
        answered = await loom.approvals.grant(approval_id, by=caller.key.name, comment=given.comment)
        return answered.model_dump(mode="json")

    @routes.post("/approvals/{approval_id}/deny", openapi_extra=_takes(AnswerRequest))
    async def deny(request: Request, approval_id: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Deny a request, in the name of the key."""
        loom, caller = await api.caller(request, "approve")
        given = await read_body(request, AnswerRequest)
        comment = given.comment or "denied"
        return (await loom.approvals.deny(approval_id, by=caller.key.name, comment=comment)).model_dump(mode="json")

    @routes.get("/policies")
    async def policies(request: Request, workspaceId: Workspace = "") -> dict[str, Any]:  # noqa: N803
        """Return every version of every policy."""
        loom, _ = await api.caller(request, "read")
        known = loom.policies
        return {
            "items": [
                policy_as_json(each, adopted=known.adopted(name) == each)
                for name in known.names()
                for each in known.versions(name)
            ]
        }

    @routes.get("/policies/{version}")
    async def policy(request: Request, version: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Return one version of a policy."""
        loom, _ = await api.caller(request, "read")
        found = loom.policies.resolve(version)
        return policy_as_json(found, adopted=loom.policies.adopted(found.name) == found)

    @routes.get("/runs")
    async def runs(
        request: Request,
        workspaceId: Workspace = "",  # noqa: N803
        limit: Limit = 50,
        after: After = None,
    ) -> dict[str, Any]:
        """Return runs, newest first."""
        loom, _ = await api.caller(request, "read")
        found = await loom.runs.find(limit=limit, after=after)
        return _page([each.model_dump(mode="json") for each in found], limit)

    @routes.get("/runs/{run_id}")
    async def run(request: Request, run_id: str, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Return a run."""
        loom, _ = await api.caller(request, "read")
        return (await loom.runs.get(run_id)).model_dump(mode="json")

    @routes.get("/runs/{run_id}/report", response_class=HTMLResponse)
    async def run_report(request: Request, run_id: str, workspaceId: Workspace = "") -> HTMLResponse:  # noqa: N803
        """Return the report of a run as a page."""
        loom, caller = await api.caller(request, "read")
        return HTMLResponse(await report(loom.queries, run_id, workspace=caller.workspace))

    @routes.post("/replay/judge", openapi_extra=_takes(JudgeRequest))
    async def judge(request: Request, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Judge recorded decisions again under another version; nothing is kept."""
        loom, _ = await api.caller(request, "read")
        given = await read_body(request, JudgeRequest)
        selection = Selection(run_id=given.run_id, policy=given.policy, ids=given.ids)
        found = await loom.replay.judge(selection, under=given.under)
        return {**found.model_dump(mode="json"), "coverage": found.coverage}

    @routes.get("/drift")
    async def drift(request: Request, baseline: Id, current: Id, workspaceId: Workspace = "") -> Any:  # noqa: N803
        """Compare the decisions of two runs."""
        loom, _ = await api.caller(request, "read")
        found = await loom.drift.compare(Window(run=baseline), Window(run=current))
        return found.model_dump(mode="json")

    @routes.get("/journals")
    async def journals(
        request: Request,
        workspaceId: Workspace = "",  # noqa: N803
        limit: Limit = 50,
        after: Annotated[str, Query(max_length=300)] = "",
    ) -> dict[str, Any]:
        """Return the names of journals, in order of them."""
        loom, _ = await api.caller(request, "read")
        found = await loom.store.journals(after=after, limit=limit)
        items = [await journal_as_json(loom.store, name, entries) for name, entries in found]
        return {"items": items, "next_after": found[-1][0] if len(found) == limit else None}

    @routes.get("/journals/{actor_type}/{key}")
    async def journal(
        request: Request, actor_type: str, key: str, workspaceId: Workspace = "", limit: Limit = 50,  # noqa: N803
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the entries of a journal, oldest first."""
        # Who has keys is for those who give them.
        loom, _ = await api.caller(request, "administer" if f"{actor_type}/{key}" == KEYS_JOURNAL else "read")
        entries = loom.store.read(f"{actor_type}/{key}", after=after, until=after + limit)
        items = [each.as_json() async for each in entries]
        return {"items": items, "next_after": items[-1]["sequence"] if len(items) == limit else None}

    return routes


def _page(items: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    return {"items": items, "next_after": items[-1]["position"] if len(items) == limit else None}
