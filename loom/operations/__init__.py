"""Operations: what a running loom can be asked to do, by name."""

from __future__ import annotations

from loom.operations.by_name import Operations, Served
from loom.operations.policies import policy_as_json

__all__ = ["Operations", "Served", "policy_as_json"]
