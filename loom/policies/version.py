"""A version of a policy, as the registry knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["PolicyVersion"]


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A version that is registered: `number` counts from 1 per name, `hash` is its identity, `version` for people."""

    name: str
    number: int
    version: str
    hash: str
    document: Mapping[str, Any]
    about: Mapping[str, Any]
    by: str
    reason: str | None
    registered_at: datetime

    @property
    def hash_bytes(self) -> bytes:
        """The hash as the 32 bytes that entry headers carry."""
        return bytes.fromhex(self.hash)

    @property
    def has_rule(self) -> bool:
        """Whether there is anything to evaluate; the implicit version of a class has nothing."""
        return self.document.get("language") != "none"
