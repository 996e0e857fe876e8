"""Runs: a page of them, one, and its report."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from loom.decisions import Run
from loom.reports import report
from loom.web.routes.paging import After, Limit, page
from loom.web.session import Reads
from loom.web.shapes import Page

__all__ = ["routes"]

routes = APIRouter(prefix="/runs")


@routes.get("")
async def runs(reads: Reads, limit: Limit = 50, after: After = None) -> Page[Run]:
    """Return runs, newest first."""
    return page(Page[Run], await reads.loom.runs.find(limit=limit, after=after), limit)


@routes.get("/{run_id}")
async def run(reads: Reads, run_id: str) -> Run:
    """Return a run."""
    return await reads.loom.runs.get(run_id)


@routes.get("/{run_id}/report", response_model=None, responses={200: {"content": {"text/html": {}}}})
async def run_report(reads: Reads, run_id: str) -> HTMLResponse:
    """Return the report of a run as a page."""
    return HTMLResponse(await report(reads.loom.queries, run_id, workspace=reads.caller.workspace))
