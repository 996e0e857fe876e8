"""The document that decision traces were built from: its own calls, configs and steps, as they are written there.

Calls are written in TypeScript. Their arguments are read as they stand and handed to the verb of the same meaning; the
names differ as Python writes names: `recordDecision` is `record_decision`, `isException` is `is_exception`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import JsonValue

from loom import Actor, Command, Loom
from loom.config import LoomConfig, load_config
from loom.config.models import canonical_key
from loom.decisions import DecisionJournalEntry, DecisionTrace
from loom.enrichment import DecisionTracesConfig, ScriptedCritic
from loom.enrichment.config import CriticLlmConfig
from loom.enrichment.llm import LlmCritic
from loom.journal import Append
from loom.workspace import critic_of, sections
from tests.cli.support import run
from tests.enrichment.agents import opinion
from tests.projections.journals import decision

EXAMPLE = Path(__file__).parents[2] / "examples" / "loom.config.decision-traces.yaml"

RECORDING = """
await this.recordDecision({
  decisionType: 'exception',
  rationale: 'Healthcare customer with service issues deserves discount',
  reasoning: ['ARR: $500k', '3 SEV-1 tickets', 'VP approval'],
  inputs: [salesforceData, zendeskData],
  outcome: { approved: true, discount: 0.15 },
  isException: true
})
"""
GATHERING = """
const customer = await this.gatherContext({
  system: 'salesforce',
  entity: 'account',
  query: 'SELECT ARR, Industry',
  relevance: 'Customer ARR determines approval threshold',
  fetcher: async () => await salesforceClient.query(...)
})
"""
REAL_WORLD = """
{
     decisionType: 'exception',
     rationale: 'Healthcare customer with service issues deserves exception',
     reasoning: [
       'Customer ARR: $500k',
       'Industry: healthcare',
       'Policy limit: 10%',
       'Approved: 15%',
       '⚠\ufffd  3 critical support issues',
       '📋 2 similar precedents found',
       '✓ VP approval obtained'
     ],
     inputs: [salesforceData, zendeskData],
     outcome: { approved: true, discount: 0.15 },
     precedents: ['decision_abc', 'decision_def'],
     isException: true
}
"""
NEW_ACTOR = """
    await this.recordDecision({
      decisionType: 'policy_application',
      rationale: 'Standard policy applied',
      inputs: [data],
      outcome: decision,
      isException: false
    })
"""
EXISTING_ACTOR = """
await this.recordDecision({
  decisionType: 'policy_application',
  rationale: 'Within policy limits',
  inputs: gatheredContext,
  outcome,
  isException: false
})
"""
MODES = """
decisionTraces:
  llmEnrichment:
    mode: hybrid  # never | hybrid | always
    autoEnrichOn: [exception, approval, synthesis]
    async: true
    timeout: 5000
  budgets:
    maxEnrichmentsPerDay: 10000
    maxCostPerDay: 50
"""
CONFIGURATION = """
decisionTraces:
  llmEnrichment:
    mode: hybrid  # Start here
    autoEnrichOn: [exception, approval]
    critic:
      model: gpt-4o-mini
      temperature: 0.3
      maxTokens: 500
    async: true
    timeout: 5000
  budgets:
    maxEnrichmentsPerDay: 1000
    maxCostPerDay: 10  # Start small, scale up

critic-llm:
  provider: openai
  apiKey: ${OPENAI_API_KEY}
  model: gpt-4o-mini
"""
SALESFORCE = {"arr_usd": 500_000, "industry": "healthcare"}
ZENDESK = {"sev1_open": 3}


def arguments(written: str, **names: object) -> dict[str, Any]:
    """Return the arguments of a call of the document, by the names that Python gives them.

    `names` are what it refers to. A fetcher is code, so what is fetched is named in its place.
    """
    text = written[written.index("{") : written.rindex("}") + 1]
    text = re.sub(r"async \(\) => await [^\n]*", "fetched", text)
    text = re.sub(r"\b(true|false)\b", lambda found: found[0].capitalize(), text)
    text = re.sub(r"(?m)^( *)(\w+)(,?)$", r"\1\2: \2\3", text)  # { outcome } is { outcome: outcome }
    text = re.sub(r"(?m)(^ *|\{ |, )(\w+):(?= )", lambda found: f"{found[1]}'{canonical_key(found[2])}':", text)
    given: dict[str, Any] = eval(text, {"__builtins__": {}}, names)
    return given


class Work(Command[str]):
    pass


class Bookkeeper(Actor[None]):
    """Looks up what the document looks up, and decides by a call of it."""

    actor_type = "bookkeeper"
    call: ClassVar[str] = RECORDING

    async def execute(self, command: Work) -> str:
        customer = await self.gather_context(**arguments(GATHERING, fetched=lambda: SALESFORCE))
        tickets = await self.gather_context(system="zendesk", entity="tickets", query="SEV-1", fetcher=lambda: ZENDESK)
        names = {"salesforceData": customer, "zendeskData": tickets, "data": customer, "gatheredContext": [customer]}
        outcome = {"approved": True, "discount": 0.1}
        return await self.record_decision(**arguments(self.call, **names, decision=outcome, outcome=outcome))


async def decided(path: Path, call: str, *, earlier: Mapping[str, JsonValue] | None = None) -> DecisionTrace:
    """Let an actor make a call of the document, and return its trace; `earlier` are decisions by id, with outcomes."""

    class Clerk(Bookkeeper):
        actor_type = "bookkeeper"

    Clerk.call = call
    async with Loom.open(LoomConfig(data=path), actors=[Clerk], by="robin") as loom:
        for sequence, (decision_id, outcome) in enumerate((earlier or {}).items()):
            made = decision("earlier", decision_id=decision_id, outcome=outcome, precedent_class=None)
            await loom.store.append(
                Append("bookkeeper/before", sequence, (loom.draft(DecisionJournalEntry(decision=made)),))
            )
        return await loom.traces.get(await loom.actor(Clerk, "one").ask(Work(), by="ana"))


# --- 1 and 2: recording a decision, gathering context -----------------------------------------------


async def test_the_first_call_is_taken_as_it_stands(tmp_path: Path) -> None:
    trace = await decided(tmp_path, RECORDING)
    made = trace.decision
    assert (made.decision_type, made.is_exception) == ("exception", True)
    assert made.rationale == "Healthcare customer with service issues deserves discount"
    assert made.reasoning == ("ARR: $500k", "3 SEV-1 tickets", "VP approval")
    assert made.outcome == {"approved": True, "discount": 0.15}
    assert [(each.system, each.result, each.source) for each in made.inputs] == [
        ("salesforce", SALESFORCE, "look_up"),
        ("zendesk", ZENDESK, "look_up"),
    ]
    assert len(trace.decision_id) == 64, "an id is generated"
    assert trace.by == "ana"


async def test_a_look_up_is_recorded_with_what_it_was_for_and_how_long_it_took(tmp_path: Path) -> None:
    made = (await decided(tmp_path, RECORDING)).decision
    asked = made.inputs[0]
    assert (asked.entity, asked.query) == ("account", "SELECT ARR, Industry")
    assert asked.relevance == "Customer ARR determines approval threshold"
    assert asked.duration_ms is not None
    assert asked.retrieved_at is not None


# --- 4: the configuration ---------------------------------------------------------------------------


def loaded(path: Path, text: str) -> tuple[LoomConfig, DecisionTracesConfig]:
    file = path / "loom.config.yaml"
    file.write_text(text, encoding="utf-8")
    config = load_config(file, env={"OPENAI_API_KEY": "sk-here"}, sections=sections())
    traces = config.sections["decision_traces"]
    assert isinstance(traces, DecisionTracesConfig)
    return config, traces


def test_the_configs_load_as_they_are_written(tmp_path: Path) -> None:
    _, modes = loaded(tmp_path, MODES)
    assert (modes.llm_enrichment.mode, modes.llm_enrichment.auto_enrich_on) == (
        "hybrid",
        ("exception", "approval", "synthesis"),
    )
    assert (modes.llm_enrichment.in_background, modes.llm_enrichment.patience_s) == (True, 5.0)
    assert (modes.budgets.max_enrichments_per_day, modes.budgets.max_cost_per_day) == (10_000, 50.0)
    config, traces = loaded(tmp_path, CONFIGURATION)
    assert traces.llm_enrichment.auto_enrich_on == ("exception", "approval")
    critic = traces.llm_enrichment.critic
    assert (critic.model, critic.temperature, critic.max_tokens) == ("gpt-4o-mini", 0.3, 500)
    assert (traces.budgets.max_enrichments_per_day, traces.budgets.max_cost_per_day) == (1_000, 10.0)
    llm = config.sections["critic_llm"]
    assert isinstance(llm, CriticLlmConfig)
    assert llm.api_key is not None
    assert (llm.provider, llm.api_key.get_secret_value(), llm.model) == ("openai", "sk-here", "gpt-4o-mini")
    assert "sk-here" not in repr(config)
    assert isinstance(critic_of(config), LlmCritic)


# --- the real-world example -------------------------------------------------------------------------


async def test_the_real_world_call_names_its_precedents_by_id(tmp_path: Path) -> None:
    same: JsonValue = {"approved": True, "discount": 0.15}
    other: JsonValue = {"approved": False}
    abc, definite, stranger = (begin + "0" * (64 - len(begin)) for begin in ("abc", "def", "fee"))
    trace = await decided(tmp_path, REAL_WORLD, earlier={abc: same, definite: other, stranger: same})
    assert [(each.decision_id, each.relation) for each in trace.precedents] == [
        (abc, "followed"),
        (definite, "distinguished"),
    ]
    assert trace.decision.reasoning[4] == "⚠\ufffd  3 critical support issues"
    assert trace.departure is None, "no rule was asked: there is none to go against"


# --- the migration guide ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "rationale"), [(NEW_ACTOR, "Standard policy applied"), (EXISTING_ACTOR, "Within policy limits")]
)
async def test_new_actors_and_existing_ones_record_as_the_guide_says(tmp_path: Path, call: str, rationale: str) -> None:
    made = (await decided(tmp_path, call)).decision
    assert (made.rationale, made.decision_type, made.is_exception) == (rationale, "policy_application", False)
    assert made.outcome == {"approved": True, "discount": 0.1}
    assert [each.system for each in made.inputs] == ["salesforce"]


async def test_an_actor_that_records_nothing_works_unchanged(tmp_path: Path) -> None:
    class Plain(Actor[None]):
        actor_type = "plain"

        async def execute(self, command: Work) -> str:
            return "approved"

    async with Loom.open(LoomConfig(data=tmp_path), actors=[Plain], by="robin") as loom:
        assert await loom.actor(Plain, "one").ask(Work()) == "approved"
        assert await loom.traces.find() == ()


# --- the quick start --------------------------------------------------------------------------------


class DiscountDesk(Actor[None]):
    actor_type = "traced-desk"
    policy = "discount"

    async def execute(self, command: Work) -> str:
        said = self.evaluate({"percent": 15, "arr_usd": 500_000, "sev1_open": 3})
        assert said.needs_approval
        return await self.record_decision(rationale=said.why, outcome={"approved": False})


async def test_the_quick_start_copies_the_example_sets_the_key_and_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLE, tmp_path / "loom.config.decision-traces.yaml")
    shutil.copy(tmp_path / "loom.config.decision-traces.yaml", tmp_path / "loom.config.yaml")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-...")
    examined = run("doctor", cwd=tmp_path)
    assert examined.code == 0, examined
    critic = ScriptedCritic(opinion, cost_micro_usd=5_000, worst_case_micro_usd=9_000)
    config = tmp_path / "loom.config.yaml"
    async with Loom.open(config, actors=[DiscountDesk], by="robin", critic=critic) as loom:
        decision_id = await loom.actor(DiscountDesk, "one").ask(Work(), by="ana")
        assert loom.enricher is not None
        await loom.enricher.idle()
        trace = await loom.traces.get(decision_id)
        version = loom.policies.adopted("discount")
    assert version is not None
    assert (trace.policy_version, trace.rule) == (version.version, "over-limit")
    assert [each.status for each in trace.enrichments] == ["enriched"], "an exception is enriched by itself"
    monkeypatch.delenv("OPENAI_API_KEY")
    without = run("doctor", cwd=tmp_path)
    assert without.code == 1
    assert "OPENAI_API_KEY" in without.out
