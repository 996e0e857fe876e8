"""The API's part in a loom: its section of the config, and its keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict, JsonValue

import loom.web.refusals  # noqa: F401 - its kind is known wherever a journal is read
from loom.extension import Extension, Host, Named, Operation
from loom.web.config import WebConfig
from loom.web.keys import Keys, Role

__all__ = ["extension"]


class Issue(BaseModel):
    """Who gets a key, for what, and who gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: Role
    by: Named


class Revoke(BaseModel):
    """Which key is revoked, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_id: str
    by: Named
    reason: str


@contextlib.asynccontextmanager
async def _start(host: Host) -> AsyncIterator[Keys]:
    keys = Keys(host.store, make_draft=host.draft)
    await keys.load()
    yield keys


async def _issue(keys: Keys, given: Issue) -> JsonValue:
    return {"key": await keys.issue(given.name, given.role, by=given.by), "name": given.name, "role": given.role}


async def _revoke(keys: Keys, given: Revoke) -> JsonValue:
    return {"key_id": (await keys.revoke(given.key_id, by=given.by, reason=given.reason)).key_id}


extension = Extension(
    name="web",
    sections={"web": WebConfig},
    operations={
        "issue": Operation(Issue, _issue),
        "revoke": Operation(Revoke, _revoke),
    },
    start=_start,
)
