"""Calls of models that other code makes come into the journal by their OpenTelemetry spans."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra [otel] is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode

from loom import Actor, Command, Loom
from loom.decisions import ModelObservedEntry
from loom.integrations.otel_intake import OBSERVED_JOURNAL, GenAiSpans

PROVIDER = TracerProvider()
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
ANSWERED: dict[str, Any] = {
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.usage.input_tokens": 1_000,
    "gen_ai.usage.output_tokens": 100,
    "gen_ai.response.finish_reasons": ("stop",),
}


def call_a_model(provider: TracerProvider = PROVIDER) -> None:
    with provider.get_tracer("a-framework").start_as_current_span("chat gpt-4o-mini", attributes=CHAT) as span:
        span.set_attributes(ANSWERED)


class Ask(Command[None]):
    command_type = "otel_intake_ask"


class Foreign(Actor):
    actor_type = "otel-intake-foreign"

    async def execute(self, command: Ask) -> None:
        call_a_model(self.provider)

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider


async def observed(loom: Loom) -> list[ModelObservedEntry]:
    found = [recorded.entry async for recorded in loom.store.read(OBSERVED_JOURNAL)]
    assert all(isinstance(each, ModelObservedEntry) for each in found)
    return [each for each in found if isinstance(each, ModelObservedEntry)]


async def test_a_call_within_a_turn_names_the_turn_its_tokens_and_what_it_cost(tmp_path: Path) -> None:
    provider = TracerProvider()
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    async with Loom.open(url, actors=[Foreign.using(provider)], by="robin") as loom, GenAiSpans(loom) as spans:
        provider.add_span_processor(spans)
        await loom.actor(Foreign, "a").ask(Ask(), id="one")
        await asyncio.to_thread(call_a_model, provider)  # a span may end in another thread, outside any turn
        await spans.flushed()

        within, outside = await observed(loom)

    assert (within.journal, within.command_id, within.source) == ("otel-intake-foreign/a", "one", "a-framework")
    assert within.usage is not None
    assert (within.usage.input_tokens, within.usage.output_tokens, within.finish_reason) == (1_000, 100, "stop")
    assert within.price == "known"
    assert within.cost_micro_usd == 210
    assert outside.journal is None


async def test_spans_of_tools_of_agents_and_of_loom_itself_are_not_taken(tmp_path: Path) -> None:
    provider = TracerProvider()
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    async with Loom.open(url, by="robin") as loom, GenAiSpans(loom) as spans:
        provider.add_span_processor(spans)
        for source, operation in (("a-framework", "execute_tool"), ("a-framework", "invoke_agent"), ("loom", "chat")):
            about = {**CHAT, "gen_ai.operation.name": operation}
            provider.get_tracer(source).start_span("x", attributes=about).end()
        provider.get_tracer("a-framework").start_span("GET /").end()
        await spans.flushed()

        assert await observed(loom) == []


async def test_a_failed_call_says_its_kind_and_not_its_words(tmp_path: Path) -> None:
    provider = TracerProvider()
    async with Loom.open(f"sqlite:///{tmp_path / 'journal.db'}", by="robin") as loom, GenAiSpans(loom) as spans:
        provider.add_span_processor(spans)
        span = provider.get_tracer("a-framework").start_span("chat", attributes={**CHAT, "error.type": "RateLimit"})
        span.set_status(Status(StatusCode.ERROR, "the prompt was: a secret"))
        span.end()
        await spans.flushed()

        [failed] = await observed(loom)

    assert failed.failure is not None
    assert failed.failure.type_name == "RateLimit"
    assert "secret" not in failed.model_dump_json()
    assert failed.price == "unknown"


async def test_what_does_not_fit_in_memory_is_counted_and_the_next_entry_says_it(tmp_path: Path) -> None:
    provider = TracerProvider()
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    async with Loom.open(url, by="robin") as loom, GenAiSpans(loom, at_most=2) as spans:
        provider.add_span_processor(spans)
        for _ in range(5):
            call_a_model(provider)
        await spans.flushed()
        call_a_model(provider)
        await spans.flushed()

        assert [each.lost_before for each in await observed(loom)] == [0, 0, 3]
