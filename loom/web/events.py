"""What streams of events send: the entries of a turn with its progress, and the entries of a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict
from typing import Any, Final

from loom.actors.progress import LeftOut, Progress, StepBegan, StepEnded, TextDelta
from loom.actors.turn_ends import end_of
from loom.journal.entry import Recorded
from loom.runtime import Loom
from loom.web.commands import turn_answer
from loom.web.live import Commits, Frame

__all__ = ["entry_frames", "latest_entries", "turn_frames"]

_PAGE = 200
_PAUSE_S = 0.02
"""Entries that are appended within this time are read together."""

_NAMES: Final[dict[type[Progress], str]] = {
    StepBegan: "step_began",
    StepEnded: "step_ended",
    TextDelta: "text",
    LeftOut: "left_out",
}


async def turn_frames(
    loom: Loom, commits: Commits, journal: str, command_id: str, *, after: int
) -> AsyncGenerator[Frame, None]:
    """Yield the entries of a turn after a sequence, its progress as it comes, and its end; then nothing more."""
    received = await loom.store.find_command(journal, command_id)
    seen = max(after, 0 if received is None else received.sequence - 1)
    news = asyncio.Event()
    with loom.actors.services.watchers.watch(journal, command_id, news=news) as watch, commits.setting(news):
        while True:
            news.clear()
            for item in watch.taken():
                yield Frame("progress", {"type": _NAMES[type(item)], **asdict(item)})
            # Looked at first: an entry of the turn that is not read below comes with a commit, or came before its end.
            end = await end_of(loom.store, journal, command_id, subjects=loom.subjects)
            async for recorded in loom.store.read(journal, after=seen):
                seen = recorded.sequence
                if recorded.command_id == command_id:
                    yield Frame("entry", recorded.as_json(), recorded.sequence)
            if end is not None:
                for item in watch.taken():
                    yield Frame("progress", {"type": _NAMES[type(item)], **asdict(item)})
                answer = await turn_answer(loom, command_id, journal=journal)
                yield Frame("turn", answer.model_dump(mode="json"))
                return
            await news.wait()
            await asyncio.sleep(_PAUSE_S)


async def entry_frames(
    loom: Loom,
    commits: Commits,
    *,
    after: int | None,
    hidden: frozenset[str] = frozenset(),
    worded: Callable[[dict[str, Any]], Any] = dict,
) -> AsyncGenerator[Frame, None]:
    """Yield the entries of a workspace after a position, by default those to come, without their bodies.

    `worded` makes of a header what is sent.
    """
    seen = loom.store.acknowledged if after is None else after
    news = asyncio.Event()
    with commits.setting(news):
        while True:
            news.clear()
            until = min(seen + _PAGE, loom.store.acknowledged)
            async for recorded in loom.store.read_all(after=seen, until=until):
                if recorded.journal not in hidden:
                    yield Frame("entry", worded(_header(recorded)), recorded.position)
            seen = max(seen, until)
            if seen >= loom.store.acknowledged:
                await news.wait()
                await asyncio.sleep(_PAUSE_S)


async def latest_entries(loom: Loom, *, limit: int, hidden: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """Return the headers of the last entries of a workspace, newest first."""
    last = loom.store.acknowledged
    read = loom.store.read_all(after=max(0, last - limit), until=last)
    return [_header(each) async for each in read if each.journal not in hidden][::-1]


def _header(recorded: Recorded) -> dict[str, Any]:
    header = recorded.as_json()
    del header["body"]
    return header
