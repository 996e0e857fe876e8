"""The section `sealing`: whether values are sealed, and where the master key is, if not in the environment."""

from __future__ import annotations

from pathlib import Path

from loom.config import Section

__all__ = ["SealingConfig"]


class SealingConfig(Section):
    """What sealing is set to. The key itself is never in a config."""

    enabled: bool = False
    key_file: Path | None = None
