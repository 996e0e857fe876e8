"""The section `care_optimization`: whether history may change a choice, and how far."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from loom.config import Section

__all__ = ["OPTIMIZING", "CareOptimizationConfig", "Mode", "mode_of"]

Mode: TypeAlias = Literal["disabled", "shadow", "active", "stable"]
"""Baseline only; compared and not used; used where it differs; the same once that is the default and no trial."""

OPTIMIZING: frozenset[Mode] = frozenset({"active", "stable"})
"""The modes in which history may change a choice: each time it does, that is a decision."""


class CareOptimizationConfig(Section):
    """What routing begins with. What was set at run time is journaled, and beats this."""

    enabled: bool = False
    mode: Literal["shadow", "active", "stable"] = "shadow"
    source: Literal["contracts.execution_metrics"] = "contracts.execution_metrics"
    """Where signals come from, where the router is handed no other source."""
    version: str = Field(default="v1.0", min_length=1, max_length=64)
    kill_switch: Literal[True] = True
    """There is one, always; this does not say that it is engaged."""


def mode_of(config: CareOptimizationConfig) -> Mode:
    """Return the mode that a config asks for."""
    return config.mode if config.enabled else "disabled"
