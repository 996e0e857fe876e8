"""Spans and metrics: a turn and what it waits for, ids and outcomes only, and nothing at all until it is turned on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom, LoomConfig
from loom.enrichment import DecisionTracesConfig, EnrichmentConfig, ScriptedCritic
from loom.errors import ActorFailedError
from loom.spans import instrument, span, uninstrument
from tests.enrichment.agents import opinion
from tests.test_readme import ROOT

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

SECRET = "the customer's diagnosis"


class Spanned(Command[str]):
    fails: bool = False


class Spanner(Actor[None]):
    actor_type = "spanner"

    async def execute(self, command: Spanned) -> str:
        await self.gather_context(system="crm", entity="account", query=SECRET, fetcher=lambda: {"is": SECRET})
        if command.fails:
            raise RuntimeError(SECRET)
        await self.request_approval(approver="vp", reason=SECRET)
        return await self.record_decision(rationale=SECRET, decision_type="exception", outcome={"said": SECRET})


@pytest.fixture
def seen() -> Iterator[tuple[Any, Any]]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, metrics, tracer = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    meter = MeterProvider(metric_readers=[metrics])
    instrument(tracer, meter)
    yield spans, metrics
    uninstrument()
    tracer.shutdown()
    meter.shutdown()


async def run(path: Path) -> str:
    traces = DecisionTracesConfig(llm_enrichment=EnrichmentConfig(mode="always"))
    config = LoomConfig(data=path, sections={"decision_traces": traces})
    async with Loom.open(config, actors=[Spanner], by="robin", critic=ScriptedCritic(opinion)) as loom:
        told = asyncio.create_task(loom.actor(Spanner, "one").ask(Spanned(), id="first", by="bob"))
        while not (waiting := await loom.approvals.pending()):
            await asyncio.sleep(0.01)
        await loom.approvals.grant(waiting[0].approval_id, by="vera")
        decision_id = await told
        with pytest.raises(ActorFailedError):
            await loom.actor(Spanner, "two").ask(Spanned(fails=True), id="second")
        assert loom.enricher is not None
        await loom.enricher.idle()
        return decision_id


async def test_a_turn_is_a_span_with_what_it_waited_for_below_it(tmp_path: Path, seen: tuple[Any, Any]) -> None:
    await run(tmp_path)
    spans = {(each.name, each.attributes.get("loom.turn", "")): each for each in seen[0].get_finished_spans()}
    turn = spans["loom.turn", "first"]
    assert turn.attributes["loom.outcome"] == "replied"
    assert turn.attributes["loom.journal"] == "spanner/one"
    below = [
        each for each in seen[0].get_finished_spans() if each.parent and each.parent.span_id == turn.context.span_id
    ]
    assert [each.name for each in below] == ["loom.lookup", "loom.approval"]
    assert below[1].attributes["loom.granted"] is True
    failed = spans["loom.turn", "second"]
    assert (failed.attributes["loom.outcome"], failed.attributes["loom.error"]) == ("failed", "RuntimeError")
    assert any(each.name == "loom.enrichment" for each in seen[0].get_finished_spans())


async def test_no_span_and_no_metric_holds_what_was_looked_up_decided_or_said(
    tmp_path: Path, seen: tuple[Any, Any]
) -> None:
    await run(tmp_path)
    spans = [span_.to_json() for span_ in seen[0].get_finished_spans()]
    assert spans
    assert not any(SECRET in each for each in spans)
    data = seen[1].get_metrics_data()
    names = {metric.name for r in data.resource_metrics for s in r.scope_metrics for metric in s.metrics}
    assert names == {
        "loom.decisions",
        "loom.lookup.duration",
        "loom.enrichment.duration",
        "loom.enrichment.confidence",
        "loom.budget.left",
    }
    assert SECRET not in data.to_json()


def test_every_metric_is_named_on_the_page_about_operations() -> None:
    made = re.compile(r"""(?:\bcount|create_\w+)\(\s*"(loom\.[a-z_.]+)\"""")
    names = {name for path in (ROOT / "loom").rglob("*.py") for name in made.findall(path.read_text(encoding="utf-8"))}
    assert {"loom.decisions", "loom.routing.shadow"} <= names
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert {each for each in names if f"`{each}`" not in page} == set(), "name the metric in docs/operations.md"


async def test_without_being_turned_on_there_is_nothing(tmp_path: Path) -> None:
    with span("loom.turn", {}) as nothing:
        nothing.set_attribute("loom.outcome", "ignored")
    await run(tmp_path)
