"""The routes that read, send commands, and let people answer and step in: a module for each noun."""

from __future__ import annotations

from fastapi import APIRouter

from loom.web.routes import (
    actors,
    approvals,
    contradictions,
    decisions,
    journals,
    oversight,
    people,
    policies,
    replay,
    runs,
    standings,
    switches,
    turns,
)

__all__ = ["routes"]

routes = APIRouter(prefix="/api", tags=["loom"])

_NOUNS = (
    actors,
    turns,
    decisions,
    approvals,
    contradictions,
    oversight,
    people,
    policies,
    runs,
    replay,
    journals,
    standings,
    switches,
)

for each in _NOUNS:
    routes.include_router(each.routes)
