"""Policies: their versions, and which one new turns pin."""

from __future__ import annotations

from fastapi import APIRouter

from loom.operations import policy_as_json
from loom.web.session import Reads
from loom.web.shapes import Listed, PolicyAnswer

__all__ = ["routes"]

routes = APIRouter(prefix="/policies")


@routes.get("")
async def policies(reads: Reads) -> Listed[PolicyAnswer]:
    """Return every version of every policy."""
    known = reads.loom.policies
    found = [(each, known.adoption(name)) for name in known.names() for each in known.versions(name)]
    return Listed(items=[PolicyAnswer.model_validate(policy_as_json(*each)) for each in found])


@routes.get("/{version}")
async def policy(reads: Reads, version: str) -> PolicyAnswer:
    """Return one version of a policy."""
    found = reads.loom.policies.resolve(version)
    return PolicyAnswer.model_validate(policy_as_json(found, reads.loom.policies.adoption(found.name)))
