"""What is kept of a call of a model: its messages or their digest, and nothing in clear that is to be sealed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from loom import Loom, LoomConfig
from loom.actors import Actor, Command
from loom.errors import ErasedError
from loom.journal import Recorded
from loom.sealing import MASTER_KEY, Sealed, SealingConfig, open_for_all
from loom.spans import instrument, uninstrument
from loom.spend.config import ModelsConfig
from tests.actors.model_support import Script, calls_in, loom_with, text
from tests.actors.support import entries, lay_down
from tests.on_postgres import stored

EMAIL = "ada@example.org"


class WriteTo(Command[str]):
    subject_field = "customer_id"

    customer_id: str
    email: Annotated[str, Sealed()]


class TellOf(Command[str]):
    words: str = "tell of the sea"


class Writer(Actor):
    script: Script

    async def execute(self, command: WriteTo | TellOf) -> str:
        prompt = command.words if isinstance(command, TellOf) else f"write to {command.email}"
        answer = await self.call_model(model=type(self).script.model(), prompt=prompt)
        await self.record_decision(rationale="so it is")
        return str(len(answer))


@pytest.mark.parametrize(
    ("models", "kept"),
    [
        ({}, False),
        ({"keep": "full"}, True),
        ({"keep": "full", "actors": {"writer": {"keep": "digest"}}}, False),
        ({"actors": {"writer": {"keep": "full"}}}, True),
    ],
)
async def test_messages_are_kept_as_the_config_says_and_their_digest_always(
    tmp_path: Path, models: dict[str, Any], kept: object
) -> None:
    Writer.script = Script(text("far out"))
    async with loom_with(tmp_path, Writer, models=models) as loom:
        await loom.actor(Writer, "one").ask(TellOf())
        await loom.actor(Writer, "two").ask(TellOf())
        await loom.actor(Writer, "three").ask(TellOf(words="another"))
        first, second, third = calls_in(await entries(loom))
    assert ("tell of the sea" in json.dumps(first.messages)) is kept
    assert first.messages_digest == second.messages_digest != third.messages_digest


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


def sealed_loom(path: Path, **models: Any) -> Loom:
    kept = ModelsConfig.model_validate({"keep": "full", **models})
    sections = {"sealing": SealingConfig(enabled=True), "models": kept}
    return Loom.open(LoomConfig(data=path, sections=sections), by="mira", actors=[Writer])


async def spoken(path: Path) -> list[Recorded]:
    Writer.script = Script(text(f"dear {EMAIL}"))
    async with sealed_loom(path) as loom:
        assert await loom.actor(Writer, "one").ask(WriteTo(customer_id="c-7", email=EMAIL), id="c") == "20"
        await loom.traces.find()
        return await entries(loom)


async def test_what_is_sealed_stays_sealed_in_messages_and_answer_and_the_turn_resumes(
    tmp_path: Path, master: None
) -> None:
    history = await spoken(tmp_path / "whole")
    assert EMAIL.encode() not in stored(tmp_path / "whole")
    [call] = calls_in(history)
    assert call.sealed
    assert "[sealed]" in json.dumps(call.messages)
    own = [each for each in history if each.journal == "writer/one"]
    cut = next(number for number, each in enumerate(own, 1) if each.kind == "model_called")
    others = [each for each in history if each.journal != "writer/one"]
    await lay_down(tmp_path / "cut", [*others, *own[:cut]])
    keys = next((tmp_path / "whole").rglob("journal.keys"))
    (tmp_path / "cut" / "default" / "journal.keys").write_bytes(keys.read_bytes())
    (tmp_path / "cut" / "default" / "journal.keys").chmod(0o600)
    before = Writer.script.asked
    async with sealed_loom(tmp_path / "cut") as loom:
        assert await loom.actor(Writer, "one").ask(WriteTo(customer_id="c-7", email=EMAIL), id="c") == "20"
    assert Writer.script.asked == before


@pytest.mark.parametrize(
    ("models", "sees"),
    [
        ({}, False),
        ({"protected": "plain"}, True),
        ({"protected": "plain", "actors": {"writer": {"protected": "sealed"}}}, False),
        ({"actors": {"writer": {"protected": "plain"}}}, True),
    ],
)
async def test_a_model_gets_what_is_sealed_as_sealed_unless_the_config_shows_it(
    tmp_path: Path, master: None, models: dict[str, Any], sees: object
) -> None:
    Writer.script = Script(text("dear"))
    async with sealed_loom(tmp_path, **models) as loom:
        await loom.actor(Writer, "one").ask(WriteTo(customer_id="c-7", email=EMAIL))
    [messages] = Writer.script.seen
    sent = str(messages)
    assert (EMAIL in sent) is sees
    assert ("write to [sealed]" in sent) is not sees


async def test_an_erasure_closes_the_answer_for_good(tmp_path: Path, master: None) -> None:
    await spoken(tmp_path)
    async with sealed_loom(tmp_path) as loom:
        vault = loom.subjects.vault
        assert vault is not None
        [call] = calls_in(await entries(loom))
        assert EMAIL.encode() in await open_for_all(vault, call.output, "model output")
        await loom.subjects.erase("c-7", by="mira", reason="asked for")
        with pytest.raises(ErasedError):
            await open_for_all(vault, call.output, "model output")
        why = [await loom.traces.explain(each.decision_id) for each in await loom.traces.find()]
    assert "(sealed)" in why[0].text()


async def test_a_call_is_a_span_with_the_names_of_the_convention_and_without_its_words(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, tracer, meter = InMemorySpanExporter(), TracerProvider(), MeterProvider()
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    instrument(tracer, meter)
    try:
        Writer.script = Script(text("far out", provider_response_id="r-1"))
        async with loom_with(tmp_path, Writer) as loom:
            await loom.actor(Writer, "one").ask(TellOf())
    finally:
        uninstrument()
        tracer.shutdown()
        meter.shutdown()
    [span] = [each for each in spans.get_finished_spans() if each.name == "loom.model"]
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "function",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.id": "r-1",
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.output_tokens": 100,
        "loom.outcome": "answered",
    }
    assert not any("the sea" in each.to_json() or "far out" in each.to_json() for each in spans.get_finished_spans())
