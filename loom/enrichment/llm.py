"""The critic that asks a language model, with pydantic-ai: any endpoint with OpenAI's chat completions.

Pydantic-ai, openai and genai-prices come with the extra `llm`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loom.decisions.analysis import Analysis
from loom.enrichment.config import CriticConfig, CriticLlmConfig
from loom.enrichment.critic import CriticAnswer, CriticRequest
from loom.errors import ConfigError, CriticError
from loom.spend.prices import Tokens, listed_micro_usd

if TYPE_CHECKING:
    from pydantic_ai import Agent

__all__ = ["LlmCritic", "price_micro_usd"]

_ENDPOINTS = {
    "ollama": "http://127.0.0.1:11434/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai/",
}
_REQUESTS = 2
"""One answer, and one more try if the first does not fit the schema."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    base_url: str | None
    api_key: str
    model: str


class LlmCritic:
    """Asks a model for an `Analysis`. Its answer is validated, and requested once more if it does not fit."""

    def __init__(self, critic: CriticConfig, llm: CriticLlmConfig) -> None:
        """Prepare to ask; raise `ConfigError` where the key or the extra is missing. Nothing is sent yet."""
        self._critic = critic
        self._endpoint = _endpoint(critic, llm)
        self._agent = _agent(self._endpoint, critic)
        most = {"input_tokens": critic.max_input_tokens, "output_tokens": critic.max_tokens}
        listed = _at_endpoint(self._endpoint.model, self._endpoint.base_url, **most)
        elsewhere = price_micro_usd(self._endpoint.model, self._endpoint.base_url, **most) or 0
        # The price of a model elsewhere says little about its maximum price at the user's own endpoint.
        configured = max(math.ceil(critic.worst_case_usd * 1_000_000), elsewhere * _REQUESTS)
        self._worst_case = configured if listed is None else listed * _REQUESTS

    @property
    def worst_case_micro_usd(self) -> int:
        """The maximum cost of one call, in millionths of a dollar."""
        return self._worst_case

    async def analyse(self, request: CriticRequest) -> CriticAnswer:
        """Ask the model. A failure is a `CriticError` with a text that contains no secret."""
        from pydantic_ai.exceptions import AgentRunError, UserError
        from pydantic_ai.usage import RunUsage, UsageLimits

        usage = RunUsage()
        limits = UsageLimits(request_limit=_REQUESTS)
        try:
            result = await self._agent.run(
                request.content, instructions=request.instructions, usage=usage, usage_limits=limits
            )
        except (AgentRunError, UserError, OSError) as error:
            raise CriticError(
                f"critic [{self._endpoint.model}] failed with [{type(error).__name__}: {self._safe(error)}]; "
                "expected an analysis: nothing else happens; check its endpoint",
                cost_micro_usd=self._price(usage) if usage.requests else 0,
            ) from None
        model = str(getattr(result.response, "model_name", None) or self._endpoint.model)[:200]
        return CriticAnswer(result.output, model=model, cost_micro_usd=self._price(usage))

    def _price(self, usage: Any) -> int | None:
        return price_micro_usd(
            self._endpoint.model,
            self._endpoint.base_url,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )

    def _safe(self, error: BaseException) -> str:
        """Return the text of an error without the key, in case an endpoint sends it back."""
        words = str(error).replace(self._endpoint.api_key, "**********") if self._endpoint.api_key else str(error)
        return words[:500]


def price_micro_usd(model: str, base_url: str | None, *, input_tokens: int, output_tokens: int) -> int | None:
    """Return the cost of tokens by genai-prices, in millionths of a dollar, rounded up; None if it is unknown.

    At an unknown endpoint, a known model has the price of its own provider.
    """
    listed = _at_endpoint(model, base_url, input_tokens=input_tokens, output_tokens=output_tokens)
    if listed is not None or base_url is None:
        return listed
    # A price of 0 is an offer of that provider, and is not valid at another one.
    return listed_micro_usd(model, {}, Tokens(input_tokens, output_tokens)) or None


def _at_endpoint(model: str, base_url: str | None, *, input_tokens: int, output_tokens: int) -> int | None:
    """Return the cost of tokens at this endpoint."""
    where = {"provider_id": "openai"} if base_url is None else {"provider_api_url": base_url}
    return listed_micro_usd(model, where, Tokens(input_tokens, output_tokens))


def _endpoint(critic: CriticConfig, llm: CriticLlmConfig) -> _Endpoint:
    base_url = llm.base_url or _ENDPOINTS.get(llm.provider) or os.environ.get("OPENAI_BASE_URL") or None
    key = "" if llm.api_key is None else llm.api_key.get_secret_value()
    key = key or (os.environ.get("OPENAI_API_KEY", "") if llm.provider in ("openai", "openai-compatible") else "")
    if not key and (llm.provider == "ollama" or (base_url is not None and llm.provider == "openai-compatible")):
        key = "none"  # the client needs one; such an endpoint ignores it
    if not key:
        raise ConfigError(
            f"critic_llm.api_key is [missing] for provider [{llm.provider}]; expected a key: write "
            "api_key: ${OPENAI_API_KEY} and set that variable, or set the mode to never"
        )
    if llm.provider == "openai-compatible" and base_url is None:
        raise ConfigError(
            "critic_llm.base_url is [missing] for provider [openai-compatible]; expected a URL: write base_url: "
            "http://127.0.0.1:8000/v1, or set OPENAI_BASE_URL"
        )
    return _Endpoint(base_url, key, critic.model or llm.model)


def _agent(endpoint: _Endpoint, critic: CriticConfig) -> Agent[object, Analysis]:
    try:
        from openai import AsyncOpenAI
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider
    except ImportError as error:
        raise ConfigError(
            f"the critic needs a package that is not installed [{error.name}]; expected the extra [llm]: "
            "pip install 'loom-journal[llm]', or set the mode to never"
        ) from error
    # No retries by the client: each would cost, and the budget has only reserved for loom's own.
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0)
    model = OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=client))
    return Agent(
        model,
        output_type=Analysis,
        retries=_REQUESTS - 1,
        model_settings={"temperature": critic.temperature, "max_tokens": critic.max_tokens},
    )
