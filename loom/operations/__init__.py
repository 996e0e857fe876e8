"""Operations: what a running loom can be asked to do, by name."""

from __future__ import annotations

from loom.operations.policies import policy_as_json
from loom.operations.served import Operations, Served

__all__ = ["Operations", "Served", "policy_as_json"]
