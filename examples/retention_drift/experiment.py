"""The experiment: what is read from its YAML files, the curve of the offers, and the models that make them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from loom.gate import Model

HERE = Path(__file__).resolve().parent


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Normal(_Section):
    """Offers before anything drifts."""

    count: int = Field(ge=0)
    mean: float
    peak_to_peak: float


class Drift(_Section):
    """Offers that creep up, along a power of the time."""

    start: float
    end: float
    exponent: float


class Simulation(_Section):
    """The curve of the offers, and what falsifies it."""

    run_id: str
    seed: int
    inputs: int = Field(ge=1)
    normal: Normal
    drift: Drift
    noise: float = 0.0
    volatility: float = 0.0
    clamp: tuple[float, float] = (0.0, 15.0)

    def offer(self, index: int) -> float:
        """Return the offer for an input in percent, the same on every machine and interpreter."""
        if index < self.normal.count:
            raw = self.normal.mean + self.normal.peak_to_peak / 2 * _uniform(self.seed, "normal", index)
            raw += self.noise * _uniform(self.seed, "noise", index)
        else:
            t = (index - self.normal.count) / (self.inputs - self.normal.count - 1)
            raw = self.drift.start + (self.drift.end - self.drift.start) * t**self.drift.exponent
            raw += self.noise * _uniform(self.seed, "noise", index)
            raw += self.volatility * _uniform(self.seed, "volatility", index)
        low, high = self.clamp
        return round(min(max(raw, low), high), 4)


class Watch(_Section):
    """What the monitor is set to."""

    window: int
    threshold: float
    reason: str


class Llm(_Section):
    """Which model speaks for the agent."""

    provider: str = "mock"
    model: str = "llama3.2"
    base_url: str = "http://127.0.0.1:11434/v1"
    timeout: float = 20.0


class Agent(_Section):
    """An agent, and the contract that it says it knows."""

    id: str
    contract: str
    requirement: str


class Experiment(_Section):
    """All of it."""

    database: Path
    results: Path
    llm: Llm
    agent: Agent
    contract: Path
    inputs: tuple[dict[str, Any], ...]
    simulation: Simulation
    monitor: Watch

    @classmethod
    def read(cls, config: Path) -> Experiment:
        """Return what the config file, and the files that it names, say."""
        written = yaml.safe_load(config.read_text(encoding="utf-8"))
        beside = config.resolve().parent
        simulated = yaml.safe_load((beside / written["simulation_config"]).read_text(encoding="utf-8"))
        [agent] = written["agents"]
        return cls(
            database=beside / written["database"]["path"],
            results=beside / "results",
            llm=Llm.model_validate(written["llm_defaults"]),
            agent=Agent.model_validate(agent),
            contract=beside / agent["contract"],
            inputs=tuple(json.loads((beside / written["data"]).read_text(encoding="utf-8"))),
            simulation=Simulation.model_validate(simulated["simulation"]),
            monitor=Watch.model_validate(simulated["monitor"]),
        )


def _uniform(*parts: object) -> float:
    """Return a number from -1 to 1 that the parts alone decide."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**63 - 1


class MockModel:
    """Stands for a language model: chatty, and it offers what the going rate is."""

    async def complete(self, prompt: str) -> str:
        """Return what a model would say."""
        session = json.loads(prompt[prompt.index("Context: ") + len("Context: ") :])["session"]
        if prompt.startswith("EXPLAIN"):
            said = {
                "narrative": f"{session['customer']}, {session['tenure_months']} months: {session['reason']}",
                "identified_signals": [session["reason"], f"plan {session['plan']}"],
                "risks": ["a discount that was not needed"],
                "opportunities": ["a subscriber who stays"],
            }
            return f"Let me think about this.\n```json\n{json.dumps(said)}\n```"
        proposal = {
            "policy_kind": "retention_discount",
            "params": {"discount_offered": session["going_rate_pct"], "customer": session["customer"]},
            "justification": f"{session['reason']}: worth {session['going_rate_pct']} % to keep",
            "confidence": 0.8,
        }
        return f"I would offer this: {json.dumps(proposal)} That should do."


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint: Ollama, Gemini, or any other."""

    def __init__(self, llm: Llm) -> None:
        self._llm = llm
        self._key = next(
            (os.environ[name] for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY") if name in os.environ),
            "none",
        )

    async def complete(self, prompt: str) -> str:
        """Return what the model says."""
        messages = [{"role": "user", "content": prompt}]
        body = {"model": self._llm.model, "messages": messages, "temperature": 0.2}
        answer = await asyncio.to_thread(self._call, "chat/completions", body, self._llm.timeout)
        return str(answer["choices"][0]["message"]["content"])

    def reachable(self) -> bool:
        """Tell whether anybody is there."""
        try:
            self._call("models", None, 2.0)
        except (OSError, ValueError):
            return False
        return True

    def _call(self, path: str, body: object, timeout_s: float) -> Any:
        request = urllib.request.Request(
            f"{self._llm.base_url.rstrip('/')}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)


def shows() -> bool:
    """Tell whether a report is to be opened in a browser: where OPEN_REPORT_HTML=1 asks for it, and not otherwise."""
    return os.environ.get("OPEN_REPORT_HTML") == "1"


def model_of(llm: Llm) -> tuple[Model, str]:
    """Return the model that speaks, and which it is in words."""
    if llm.provider == "mock" or os.environ.get("USE_MOCK_LLM") == "1":
        return MockModel(), "a mock model"
    endpoint = EndpointModel(llm)
    if endpoint.reachable():
        return endpoint, f"{llm.model} at {llm.base_url}"
    return MockModel(), f"a mock model, as nobody answers at {llm.base_url}"
