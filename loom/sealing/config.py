"""The section `sealing`: whether values are sealed, and where the master key is, if not in the environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from loom.config import Section

__all__ = ["SealingConfig"]

_READER = re.compile(r"(?:api_key:[0-9a-f]{16}|os_user:(?:0|[1-9][0-9]{0,9}))\Z")


class SealingConfig(Section):
    """What sealing is set to: off, unless `enabled`. The key itself is never in a config."""

    enabled: bool = False
    """Seal the data of clients in the core circuits, and the fields that circuits of a user's name."""
    core_circuits: bool = True
    """Of the two, the first: false leaves the core circuits as they are where sealing is enabled."""
    key_file: Path | None = None
    late_writes: Literal["refuse", "new_generation"] = "refuse"
    """What becomes of something that is to be sealed for a subject who was erased: it is refused, or gets a new key."""
    keys_lost: bool = False
    """The file of keys is lost: create another, though values sealed before can then never be opened again."""
    readers: tuple[str, ...] = ()
    """Who may open what is sealed: `api_key:<id>` and `os_user:<uid>`. A name that is only claimed opens nothing."""

    @field_validator("readers")
    @classmethod
    def _are_established(cls, readers: tuple[str, ...]) -> tuple[str, ...]:
        for reader in readers:
            if not _READER.match(reader):
                raise ValueError(
                    f"reader [{reader:.60}] is none; expected [api_key:<id of 16 hex digits>] or [os_user:<uid>]: "
                    "names that are only claimed open nothing"
                )
        return readers
