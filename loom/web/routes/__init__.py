"""The routes that read, send commands, and let people answer and step in: a module for each noun."""

from __future__ import annotations

from fastapi import APIRouter

from loom.web.routes import (
    actors,
    approvals,
    decisions,
    journals,
    oversight,
    people,
    policies,
    replay,
    runs,
    standings,
    turns,
)

__all__ = ["routes"]

routes = APIRouter(prefix="/api", tags=["loom"])

for each in (actors, turns, decisions, approvals, oversight, people, policies, runs, replay, journals, standings):
    routes.include_router(each.routes)
