"""The section `sealing`: whether values are sealed, and where the master key is, if not in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from loom.config import Section

__all__ = ["SealingConfig"]


class SealingConfig(Section):
    """What sealing is set to: off, unless `enabled`. The key itself is never in a config."""

    enabled: bool = False
    """Seal the data of clients in the core circuits, and the fields that circuits of a user's name."""
    core_circuits: bool = True
    """Of the two, the first: false leaves the core circuits as they are where sealing is enabled."""
    key_file: Path | None = None
    late_writes: Literal["refuse", "new_generation"] = "refuse"
    """What becomes of something that is to be sealed for a subject who was erased: it is refused, or gets a new key."""
