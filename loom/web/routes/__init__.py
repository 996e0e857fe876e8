"""The routes that read what a workspace holds, and those by which people answer approvals: a module for each noun."""

from __future__ import annotations

from fastapi import APIRouter

from loom.web.routes import approvals, decisions, journals, oversight, policies, replay, runs

__all__ = ["routes"]

routes = APIRouter(prefix="/api", tags=["loom"])

for each in (decisions, approvals, oversight, policies, runs, replay, journals):
    routes.include_router(each.routes)
