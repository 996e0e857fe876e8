"""What tokens cost, by genai-prices, which comes with the extra `llm`; in millionths of a dollar, rounded up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from typing import NamedTuple

__all__ = ["FREE", "Tokens", "listed_micro_usd", "micro_usd", "model_price_micro_usd", "price_list", "worst_micro_usd"]

FREE = frozenset({"function", "test"})
"""Providers that are functions of this process: pydantic-ai's `FunctionModel` and `TestModel`."""


class Tokens(NamedTuple):
    """Tokens of one call; those of a cache are among the input tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


def price_list() -> str:
    """Return the name and the version of the price list."""
    return f"genai-prices {version('genai-prices')}"


def model_price_micro_usd(tokens: Tokens, *, model: str, provider: str | None, base_url: str | None) -> int | None:
    """Return what tokens cost at the endpoint that was called; None where no price is known there.

    An endpoint that the price list does not know has no price, also for a model whose name it knows.
    """
    return next(
        (
            price
            for where in _places(provider, base_url)
            if (price := listed_micro_usd(model, where, tokens)) is not None
        ),
        None,
    )


def worst_micro_usd(
    *, model: str, provider: str | None, base_url: str | None, input_tokens: int, output_tokens: int
) -> int | None:
    """Return the most that a call may cost: its input read plainly, or written to a cache, whichever costs more."""
    at_most = (
        Tokens(input_tokens, output_tokens),
        Tokens(input_tokens, output_tokens, cache_write_tokens=input_tokens),
    )
    prices = [model_price_micro_usd(each, model=model, provider=provider, base_url=base_url) for each in at_most]
    return max((price for price in prices if price is not None), default=None)


def listed_micro_usd(model: str, where: Mapping[str, str], tokens: Tokens) -> int | None:
    """Return the price of tokens of a model at a place in the list; None where there is none, or none were counted."""
    from genai_prices import Usage, calc_price

    if not tokens.input_tokens and not tokens.output_tokens:
        return None  # the endpoint did not count
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            usage = Usage(**{name: value for name, value in tokens._asdict().items() if value})
            price: Decimal = calc_price(usage, model, **where).total_price  # type: ignore[call-overload]
    except (LookupError, ValueError):
        return None
    return micro_usd(price)


def micro_usd(price: Decimal) -> int | None:
    """Return a price in millionths of a dollar, rounded up; None for a price that makes no sense."""
    if not price.is_finite() or price < 0:
        return None
    return int((price * 1_000_000).to_integral_value(ROUND_CEILING))


def _places(provider: str | None, base_url: str | None) -> Iterator[Mapping[str, str]]:
    if base_url is not None:
        yield {"provider_api_url": base_url}
    elif provider is not None:
        yield {"provider_id": provider}
