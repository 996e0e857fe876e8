"""What an engine is made from."""

from __future__ import annotations

from typing import NamedTuple

from loom.background import Background
from loom.clock import Clock
from loom.config import LoomConfig
from loom.journal.store import JournalStore

__all__ = ["Surroundings"]


class Surroundings(NamedTuple):
    """What an engine is made from."""

    config: LoomConfig
    store: JournalStore
    clock: Clock
    background: Background
