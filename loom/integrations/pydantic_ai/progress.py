"""The text of a streamed request of a model, for those who watch its turn by `ref.stream`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.tools import RunContext

from loom.actors.progress import TextDelta
from loom.actors.turn import Turn

__all__ = ["watched_by"]


def watched_by(turn: Turn, handler: EventStreamHandler[Any] | None) -> EventStreamHandler[Any]:
    """Return a handler that notes the text of each event as progress of a turn, and hands the events on."""

    async def noted(events: AsyncIterable[AgentStreamEvent]) -> AsyncIterator[AgentStreamEvent]:
        async for event in events:
            if text := _text_in(event):
                turn.services.watchers.note(turn.host.journal, turn.command_id, TextDelta(text))
            yield event

    async def watching(context: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        every = noted(events)
        if handler is not None:
            await handler(context, every)
        async for _ in every:  # what the handler left
            pass

    return watching


def _text_in(event: AgentStreamEvent) -> str:
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""
