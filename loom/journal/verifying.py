"""Verify a journal wherever it lies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from loom.journal.findings import Verification
from loom.journal.places import NodeFiles, check_installed
from loom.journal.roots import Root, RootsSeen
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.verify import Progress, verify

__all__ = ["verify_journal"]


async def verify_journal(
    files: JournalFiles,
    *,
    workspace: str | None = None,
    roots: Sequence[Root] = (),
    anchored: Sequence[Root] = (),
    signed: Sequence[Root] = (),
    progress: Progress | None = None,
) -> Verification:
    """Verify the journal of these files: a file in a thread, a journal on a server on the event loop.

    Raises `JournalNotFoundError` if there is no file, and what a server that cannot be asked is about.
    """
    if isinstance(files, NodeFiles):
        check_installed()
        from loom.journal.postgres.verify import verify_server

        seen = RootsSeen(roots, anchored=anchored, signed=signed)
        return await verify_server(files.url, files.heads, workspace=workspace, roots=seen, progress=progress)
    return await asyncio.to_thread(
        verify,
        files.journal,
        workspace=workspace,
        roots=roots,
        anchored=anchored,
        signed=signed,
        progress=progress,
    )
