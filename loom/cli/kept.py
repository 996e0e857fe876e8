"""What a config says about keeping data: for how long, and whether it is encrypted. `loom doctor` shows it."""

from __future__ import annotations

from collections.abc import Iterator

from loom.circuits.core import CLIENT_DATA
from loom.cli.checks import Check
from loom.config import LoomConfig
from loom.sealing import SealingConfig

__all__ = ["check_keeping"]


def check_keeping(config: LoomConfig) -> Iterator[Check]:
    """Say for how long journals are kept, and whether what circuits are given of clients is encrypted."""
    retention = config.retention
    others = [f"{name} {days:g}" for name, days in sorted(retention.kinds.items())]
    kinds = f" ({', '.join(others)})" if others else ""
    yield Check(
        "ok", "retention", f"{retention.keep_days:g} days after the last entry{kinds}",
        "nothing younger is archived for pruning or pruned, unless somebody overrides it by name",
    )  # fmt: skip
    section = config.sections.get("sealing")
    if not isinstance(section, SealingConfig) or not section.enabled:
        yield Check(
            "ok", "sealing", "off: what circuits are given and come to is written as it is, but for their own fields",
            "sealing: {enabled: true} encrypts the data of clients at rest; see `loom docs circuits`",
        )  # fmt: skip
    elif not section.core_circuits:
        yield Check("ok", "sealing", "on for fields of your circuits; core_circuits: false leaves the core as it is")
    else:
        count = sum(map(len, CLIENT_DATA.values()))
        yield Check("ok", "sealing", f"on: {count} fields of the core circuits, and those of yours, are encrypted")
