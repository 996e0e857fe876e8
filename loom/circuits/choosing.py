"""The core circuits that know which strategy is in use: retrieval reads it, selection uses what is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from loom.circuits.definition import Circuit, Result, circuit
from loom.circuits.strategies import Strategies, StrategyState
from loom.errors import InvalidNameError

__all__ = ["retrieve_strategy", "select_strategy", "with_strategies"]


async def _known(strategies: Strategies | None, client: object, segment: object) -> StrategyState | None:
    """Return the strategies of a client and segment; None where nothing is known of them, or no name was given."""
    if strategies is None or not isinstance(client, str) or not isinstance(segment, str):
        return None
    try:
        return await strategies.of(client, segment)
    except InvalidNameError:
        return None


async def _retrieve(strategies: Strategies | None, inputs: Mapping[str, Any]) -> Result:
    """Return the strategy that is in use; nothing is made up for a client who was never seen."""
    known = await _known(strategies, inputs["client_id"], inputs["audience_segment"])
    if known is None:
        raise LookupError("no strategy is known of this client and segment")
    return Result(outputs={"prior_strategy": known.current}, confidence=0.9)


async def _select(strategies: Strategies | None, inputs: Mapping[str, Any]) -> Result:
    """Return the strategy that was retrieved, or is in use; where none is known, the one for intent and segment."""
    intent, segment = inputs["intent"], inputs["segment"]
    if not isinstance(intent, str) or not isinstance(segment, str) or not intent.strip() or not segment.strip():
        raise ValueError("intent and segment have to be known")
    prior = inputs.get("prior_strategy")
    if isinstance(prior, str) and prior.strip():
        return Result(outputs={"content_strategy_id": prior})
    known = await _known(strategies, inputs.get("client_id"), segment)
    if known is not None:
        return Result(outputs={"content_strategy_id": known.current})
    return Result(outputs={"content_strategy_id": f"strategy-{intent}-{segment}".replace("_", "-")}, confidence=0.9)


async def _other(strategies: Strategies | None, inputs: Mapping[str, Any]) -> Result:
    """Return the best other strategy of the client and segment."""
    known = await _known(strategies, inputs.get("client_id"), inputs["segment"])
    other = None if known is None else known.best_other()
    if other is None:
        raise LookupError("no other strategy is known of this client and segment")
    return Result(outputs={"content_strategy_id": other}, confidence=0.9)


retrieve_strategy: Circuit = circuit(
    "CX03_PRIOR_STRATEGY_RETRIEVAL",
    category="state_memory",
    purpose="Retrieve prior strategies",
    inputs=("client_id", "audience_segment"),
    outputs=("prior_strategy",),
    aliases={"prior_strategy": ("prior_strategy_signature", "strategy_id")},
    failure_mode="proceed_without_state",
    success_metric="retrieval_hit_rate",
)(partial(_retrieve, None))

select_strategy: Circuit = circuit(
    "CX04_CONTENT_STRATEGY_SELECTION",
    category="decision",
    purpose="Choose content strategy",
    inputs=("intent", "segment"),
    optional=("prior_strategy", "client_id"),
    input_aliases={"prior_strategy": ("prior_strategy_signature",)},
    outputs=("content_strategy_id",),
    aliases={"content_strategy_id": ("strategy_id",)},
    failure_mode="rotate_to_alternate",
    success_metric="strategy_engagement",
    alternates=(partial(_other, None),),
)(partial(_select, None))


def with_strategies(strategies: Strategies) -> dict[str, Circuit]:
    """Return the same circuits, by id, reading the strategies of a workspace."""
    found = (
        dataclasses.replace(retrieve_strategy, run=partial(_retrieve, strategies)),
        dataclasses.replace(
            select_strategy, run=partial(_select, strategies), alternates=(partial(_other, strategies),)
        ),
    )
    return {each.definition.circuit_id: each for each in found}
