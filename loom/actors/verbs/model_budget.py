"""Whether a call of a model may be made: its maximum cost is reserved before it, and its cost settled after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from loom.actors.turn import Turn
from loom.actors.verbs.model_wire import Asked, asked_of, resolved, size_of
from loom.decisions.model_calls import AtLimit, CallProblem, ModelUsage, Price
from loom.errors import LoomError
from loom.spend.guard import Reservation, Settlement
from loom.spend.models import ModelSpend, NotReserved
from loom.spend.prices import FREE, Tokens, micro_usd, model_price_micro_usd, price_list, worst_micro_usd
from loom.telemetry import get_logger

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

__all__ = ["Cost", "Permit", "cost_of", "permitted", "settle"]

_NOT_BILLED: frozenset[CallProblem | None] = frozenset({"unknown_model", "refused", "rate_limited", "too_long"})
"""Failures by which the provider says that it did not answer."""


_log = get_logger("loom.actors")


@dataclass(frozen=True, slots=True)
class Permit:
    """Whether a call may be made, and of which model: refused where `allowed` is false."""

    model: Model
    asked: Asked
    allowed: bool = True
    reservation: Reservation | None = None
    at_limit: AtLimit | None = None
    detail: str | None = None
    approver: str | None = None
    instead_of: str | None = None


class Cost(NamedTuple):
    """The cost of a call, and how it is known."""

    price: Price = "unknown"
    micro_usd: int | None = None
    price_list: str | None = None


async def permitted(
    turn: Turn,
    model: Model,
    messages: Sequence[Any],
    parameters: ModelRequestParameters | None,
    settings: Mapping[str, Any] | None,
    *,
    granted: object,
) -> Permit:
    """Reserve the maximum cost of a call, and return whether it may be made. `granted`: a person has allowed it."""
    asked = asked_of(model)
    spend = turn.services.spend
    if spend is None or _is_free(model):
        return Permit(model, asked)
    output_tokens = int((settings or {}).get("max_tokens") or turn.services.models.max_output_tokens)
    input_tokens = size_of(messages, parameters)
    made = await _reserve(turn, spend, model, input_tokens, output_tokens, within_limits=not granted)
    if isinstance(made, Reservation):
        return Permit(model, asked, reservation=made, at_limit="asked" if granted else None)
    refused = Permit(model, asked, allowed=False, at_limit="refused", detail=made.detail)
    if made.reason == "unknown_price":
        return refused
    if spend.config.at_limit == "ask":
        return replace(refused, at_limit="asked", approver=spend.config.approver)
    if spend.config.at_limit == "fallback_model" and spend.config.fallback_model is not None:
        return await _fallen_back(turn, spend, refused, spend.config.fallback_model, input_tokens, output_tokens)
    return refused


async def _fallen_back(
    turn: Turn, spend: ModelSpend, refused: Permit, name: str, input_tokens: int, output_tokens: int
) -> Permit:
    """Reserve for the cheaper model in place of the one that there is no room for."""
    model = resolved(name)
    asked = asked_of(model)
    cheaper = replace(
        refused, model=model, asked=asked, allowed=True, at_limit="fallback", instead_of=str(refused.asked)
    )
    if _is_free(model):
        return cheaper
    made = await _reserve(turn, spend, model, input_tokens, output_tokens)
    if isinstance(made, Reservation):
        return replace(cheaper, reservation=made)
    return replace(refused, detail=f"{refused.detail}; of [{asked}]: {made.detail}")


async def _reserve(
    turn: Turn, spend: ModelSpend, model: Model, input_tokens: int, output_tokens: int, *, within_limits: bool = True
) -> Reservation | NotReserved:
    return await spend.reserve(
        turn.host.journal,
        model=str(asked_of(model)),
        worst_case_micro_usd=_worst(model, input_tokens, output_tokens),
        within_limits=within_limits,
    )


def cost_of(
    permit: Permit, response: ModelResponse | None, usage: ModelUsage | None, problem: CallProblem | None
) -> Cost:
    """Return the cost of a call that was made, or refused by its provider."""
    if not permit.allowed:
        return Cost("known", 0)
    if response is not None:
        return _cost(permit.model, response, usage)
    return Cost("known", 0) if problem in _NOT_BILLED else Cost()


async def settle(turn: Turn, permit: Permit, cost: Cost, *, answered: object) -> None:
    """Settle the reservation of a call by its cost; an unknown cost counts as what was reserved.

    Where that cannot be journaled, the reservation goes on to count in full, and the turn goes on with its answer: a
    replay of it, which settles nothing, does too.
    """
    if permit.reservation is None or turn.services.spend is None:
        return
    settlement: Settlement = "known"
    if cost.micro_usd is None:
        settlement = "unknown_price" if answered else "failed"
    try:
        await turn.services.spend.settle(permit.reservation, cost.micro_usd, settlement=settlement)
    except LoomError as error:  # the next process settles it as lost
        _log.warning("model_spend_not_settled", reservation=permit.reservation.reservation_id, error=str(error))


def _cost(model: Model, response: ModelResponse, usage: ModelUsage | None) -> Cost:
    if _is_free(model):
        return Cost("free", 0)
    if response.usage.cost is not None:  # a gateway has said it
        said = micro_usd(Decimal(str(response.usage.cost)))
        return Cost("unknown" if said is None else "known", said, "gateway")
    if usage is None:
        return Cost()
    asked = asked_of(model)
    price = model_price_micro_usd(
        Tokens(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        model=response.model_name or asked.name,
        provider=response.provider_name or asked.provider,
        base_url=response.provider_url or _base_url(model),
    )
    return Cost("unknown" if price is None else "known", price, None if price is None else price_list())


def _worst(model: Model, input_tokens: int, output_tokens: int) -> int | None:
    """Return the most that a call may cost; of a router, the sum over all models that it may ask."""
    worst = 0
    for each in _models(model):
        asked = asked_of(each)
        if asked.provider in FREE:
            continue
        price = worst_micro_usd(
            model=asked.name,
            provider=asked.provider,
            base_url=_base_url(each),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        if price is None:
            return None
        worst += price
    return worst


def _is_free(model: Model) -> bool:
    return all(asked_of(each).provider in FREE for each in _models(model))


def _models(model: Model) -> Sequence[Model]:
    """Return the models that a router asks, or the one model itself."""
    several = getattr(model, "models", None)
    return several if isinstance(several, list) and several else [model]


def _base_url(model: Model) -> str | None:
    try:
        return model.base_url
    except Exception:  # a model without an endpoint, or one that is made later
        return None
