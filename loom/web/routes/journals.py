"""Journals: their names, and their entries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from loom.journal.listing import journal_as_json
from loom.web.api import Workspace
from loom.web.guard import HttpRefusal
from loom.web.keys import KEYS_JOURNAL
from loom.web.routes.paging import Limit, page
from loom.web.session import Reads, Session, session_of
from loom.web.shapes import EntryAnswer, JournalAnswer, Page

__all__ = ["routes"]

routes = APIRouter(prefix="/journals")


@routes.get("")
async def journals(
    reads: Reads, limit: Limit = 50, after: Annotated[str, Query(max_length=300)] = ""
) -> Page[JournalAnswer]:
    """Return the names of journals, in order of them."""
    store = reads.loom.store
    found = await store.journals(after=after, limit=limit)
    items = [JournalAnswer.model_validate(await journal_as_json(store, name, entries)) for name, entries in found]
    return page(Page[JournalAnswer], items, limit, by="journal")


async def _reads_journal(request: Request, actor_type: str, key: str, workspace_id: Workspace = None) -> Session:
    """Let a key read a journal; who has keys is for those who give them."""
    return await session_of(request, "administer" if f"{actor_type}/{key}" == KEYS_JOURNAL else "read")


@routes.get("/{actor_type}/{key}")
async def journal(
    reads: Annotated[Session, Depends(_reads_journal)],
    actor_type: str,
    key: str,
    limit: Limit = 50,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Page[EntryAnswer]:
    """Return the entries of a journal, oldest first."""
    store, name = reads.loom.store, f"{actor_type}/{key}"
    entries = store.read(name, after=after, until=after + limit)
    items = [EntryAnswer.model_validate(each.as_json()) async for each in entries]
    if not items and not (await store.head(name)).sequence:
        raise HttpRefusal(404, "journal_not_found", "there is no such journal")
    return page(Page[EntryAnswer], items, limit, by="sequence")
