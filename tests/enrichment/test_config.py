"""How enrichment is configured, in either spelling, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loom.config import LoomConfig, load_config
from loom.enrichment import CriticLlmConfig, DecisionTracesConfig
from loom.enrichment.critic import DeferredCritic
from loom.errors import ConfigError
from loom.routing import CareOptimizationConfig
from loom.sealing import SealingConfig
from loom.web.config import WebConfig
from loom.workspace import critic_of, sections

OLD = """
decisionTraces:
  llmEnrichment:
    mode: hybrid
    autoEnrichOn: [exception, approval]
    critic:
      model: gpt-4o-mini
      temperature: 0.3
      maxTokens: 500
    async: true
    timeout: 5000
  budgets:
    maxEnrichmentsPerDay: 1000
    maxCostPerDay: 10

critic-llm:
  provider: openai
  apiKey: ${OPENAI_API_KEY}
  model: gpt-4o-mini
"""


def loaded(tmp_path: Path, text: str, **env: str) -> LoomConfig:
    path = tmp_path / "loom.config.yaml"
    path.write_text(text)
    return load_config(path, env=env, sections=sections())


def test_a_file_in_the_older_spelling_loads_unchanged(tmp_path: Path) -> None:
    config = loaded(tmp_path, OLD, OPENAI_API_KEY="sk-secret")
    traces, llm = config.sections["decision_traces"], config.sections["critic_llm"]
    assert isinstance(traces, DecisionTracesConfig)
    assert isinstance(llm, CriticLlmConfig)
    assert traces.llm_enrichment.mode == "hybrid"
    assert traces.llm_enrichment.auto_enrich_on == ("exception", "approval")
    assert traces.llm_enrichment.patience_s == 5.0
    assert traces.llm_enrichment.critic.max_tokens == 500
    assert traces.budgets.max_enrichments_per_day == 1000
    assert traces.budgets.max_cost_per_day == 10
    assert llm.api_key is not None
    assert llm.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(config)


def test_a_missing_variable_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        loaded(tmp_path, OLD)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("decisionTraces: {llmEnrichment: {mode: sometimes}}", "mode"),
        ("decisionTraces: {llmEnrichment: {async: sometimes}}", "async"),
        ("decisionTraces: {llmEnrichment: {timeout: soon}}", "timeout"),
        ("decisionTraces: {llmEnrichment: {timeout: -1}}", "timeout"),
        ("decisionTraces: {budgets: {maxCostPerDay: -1}}", "max_cost_per_day|maxCostPerDay"),
        ("decisionTraces: {budgets: {maxCostPerDay: .nan}}", "max_cost_per_day|maxCostPerDay"),
        ("decisionTraces: {budgets: {timeZone: Mars/Olympus}}", "time_zone|timeZone"),
        ("critic-llm: {provider: telepathy}", "provider"),
        ("critic-llm: {key: x}", "key"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path: Path, line: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        loaded(tmp_path, line)


def test_without_a_mode_or_a_model_there_is_no_critic(tmp_path: Path) -> None:
    assert critic_of(LoomConfig()) is None
    assert critic_of(loaded(tmp_path, "decisionTraces: {llmEnrichment: {mode: hybrid}}")) is None


@pytest.mark.parametrize("mode", ["", "decisionTraces: {llmEnrichment: {mode: never}}\n"])
def test_a_mode_of_never_needs_no_key_and_no_variable(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    llm = "critic-llm: {provider: openai, baseUrl: '${OPENAI_BASE_URL}', api-key: '${OPENAI_API_KEY}'}"
    config = loaded(tmp_path, mode + llm)
    assert isinstance(critic_of(config), DeferredCritic), "it is made when a decision asks for it"
    for needed in ("hybrid", "always"):
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            loaded(tmp_path, f"decisionTraces: {{llmEnrichment: {{mode: {needed}}}}}\n{llm}")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("critic-llm: {model: '${UNSET}'}", "UNSET"),
        ("critic-llm: {apiKey: '${UNSET} and ${ more'}", r"\$\{ that begins no variable"),
        ("critic-llm: {apiKey: '${UNSET}', provider: telepathy}", "provider"),
        ("decision-traces: {budgets: {time_zone: '${UNSET}'}}", "UNSET"),
    ],
)
def test_nothing_else_is_spared(tmp_path: Path, line: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        loaded(tmp_path, line)


def test_an_endpoint_without_keys_needs_none(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")
    text = "decisionTraces: {llmEnrichment: {mode: always}}\ncritic-llm: {provider: ollama, model: llama3}"
    critic = critic_of(loaded(tmp_path, text))
    assert critic is not None
    assert critic.worst_case_micro_usd > 0


def test_what_the_shipped_file_shows_is_what_the_defaults_are(tmp_path: Path) -> None:
    shipped = (Path(__file__).parents[2] / "loom.config.yaml").read_text(encoding="utf-8")
    commented = shipped[shipped.index("# decision_traces:") :]
    keys = [line for line in commented.splitlines() if re.match(r"# +[a-z_]+:", line)]
    text = "\n".join(line.removeprefix("# ") for line in keys)
    config = loaded(tmp_path, text, OPENAI_API_KEY="sk-secret")
    traces, llm = config.sections["decision_traces"], config.sections["critic_llm"]
    assert traces == DecisionTracesConfig()
    assert config.sections["care_optimization"] == CareOptimizationConfig()
    assert config.sections["web"] == WebConfig()
    assert config.sections["sealing"] == SealingConfig()
    assert isinstance(llm, CriticLlmConfig)
    assert llm.model_copy(update={"api_key": None}) == CriticLlmConfig()
