"""What a config says about keeping data, as `loom doctor` shows it."""

from __future__ import annotations

from collections.abc import Iterator

from loom.config import LoomConfig
from loom.extension import Check

__all__ = ["check_keeping"]


def check_keeping(config: LoomConfig) -> Iterator[Check]:
    """Say for how long journals are kept."""
    retention = config.retention
    others = [f"{name} {days:g}" for name, days in sorted(retention.kinds.items())]
    kinds = f" ({', '.join(others)})" if others else ""
    yield Check(
        "ok",
        "retention",
        f"{retention.keep_days:g} days after the last entry{kinds}",
        "nothing younger is archived for pruning or pruned, unless a person overrides it by name",
    )
