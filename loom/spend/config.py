"""What calls of models may cost, and how they are kept: the sections `budgets` and `models` of the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from loom.config import Section
from loom.config.models import refusal

__all__ = ["ActorModelsConfig", "Keep", "ModelBudgetConfig", "ModelsConfig", "SpendConfig", "TimeZone"]

Keep: TypeAlias = Literal["full", "digest"]
Shown: TypeAlias = Literal["sealed", "plain"]
"""What is kept of the messages to a model: all of them, or their digest."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise refusal("the name of a time zone", "write one such as UTC or Europe/Zurich") from None
    return name


TimeZone = Annotated[str, AfterValidator(_zone)]
"""The name of a time zone."""

_Usd = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]


class ModelBudgetConfig(Section):
    """What calls of models by actors may cost on one day of a time zone, and what happens at the limit.

    The maximum cost of a call is reserved before it. A model that runs in this process costs nothing, and reserves
    nothing.
    """

    max_usd_per_day: _Usd = 50.0
    max_usd_per_actor_per_day: _Usd | None = None
    """The limit of each single actor; none: the day's limit alone."""
    unknown_price_usd: _Usd | None = None
    """What is reserved, and counted, for a call whose price is unknown; none: such a call is refused."""
    at_limit: Literal["refuse", "ask", "fallback_model"] = "refuse"
    approver: str | None = Field(default=None, min_length=1, max_length=200)
    """Who is asked for a call over the limit, with `at_limit: ask`."""
    fallback_model: str | None = Field(default=None, min_length=1, max_length=200)
    """The cheaper model that is called in place, as `provider:name`, with `at_limit: fallback_model`."""
    time_zone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.at_limit == "ask" and self.approver is None:
            raise refusal("an approver for at_limit: ask", "write approver: and who is asked")
        if self.at_limit == "fallback_model" and self.fallback_model is None:
            raise refusal("a model for at_limit: fallback_model", "write fallback_model: and its name")
        return self


class SpendConfig(Section):
    """The section `budgets`."""

    models: ModelBudgetConfig = ModelBudgetConfig()


class ActorModelsConfig(Section):
    """What is different for the actors of one type."""

    keep: Keep | None = None
    protected: Shown | None = None


class ModelsConfig(Section):
    """The section `models`: what is kept of calls, and their bounds.

    `max_output_tokens` is the longest answer that is asked for, and reserved for, where a call sets no `max_tokens`.
    """

    keep: Keep = "digest"
    protected: Shown = "sealed"
    """How a model gets the protected values that its turn has handled: as `[sealed]`, or in plain."""
    actors: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")], ActorModelsConfig] = Field(
        default_factory=dict
    )
    """By the type of the actor."""
    timeout_s: float | None = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    output_retries: int = Field(default=1, ge=0, le=10)
    max_output_tokens: int = Field(default=4_096, ge=1, le=1_000_000)
    max_calls_per_turn: int = Field(default=200, ge=1, le=1_000_000)

    def hides_from(self, actor_type: str) -> bool:
        """Return whether the models of an actor of a type get protected values as `[sealed]`."""
        own = self.actors.get(actor_type)
        return (self.protected if own is None or own.protected is None else own.protected) == "sealed"

    def keep_of(self, actor_type: str) -> Keep:
        """Return what is kept of the messages of an actor of a type."""
        own = self.actors.get(actor_type)
        return self.keep if own is None or own.keep is None else own.keep
