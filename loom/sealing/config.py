"""The section `sealing`: whether values are sealed, and where the master key is, if not in the environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr, field_validator, model_validator

from loom.config import Section
from loom.config.models import importable, refusal

__all__ = ["SealingConfig"]

_READER = re.compile(r"(?:api_key:[0-9a-f]{16}|os_user:(?:0|[1-9][0-9]{0,9}))\Z")


class SealingConfig(Section):
    """What sealing is set to: off, unless `enabled`. The key itself is never in a config."""

    enabled: bool = False
    """Seal the data of clients in the core circuits, and the fields that circuits of a user's name."""
    core_circuits: bool = True
    """Of the two, the first: false leaves the core circuits as they are where sealing is enabled."""
    key_file: Path | None = None
    keys_url: SecretStr | None = None
    """A database for the keys of subjects that several processes share, other than the journal's: `postgresql://…`."""
    key_store: Annotated[str, AfterValidator(importable)] | None = None
    """A function of yours that keeps the keys elsewhere, as in a key service: `package.module:function` takes the name
    of the workspace and returns a `KeyStore`."""
    late_writes: Literal["refuse", "new_generation"] = "refuse"
    """What becomes of something that is to be sealed for a subject who was erased: it is refused, or gets a new key."""
    keys_lost: bool = False
    """The file of keys is lost: create another, though values sealed before can then never be opened again."""
    readers: tuple[str, ...] = ()
    """Who may open what is sealed: `api_key:<id>` and `os_user:<uid>`. A name that is only claimed opens nothing."""

    @model_validator(mode="after")
    def _in_one_place(self) -> SealingConfig:
        if self.keys_url is not None and self.key_store is not None:
            raise refusal("one place for keys, keys_url or key_store", "remove one of them")
        return self

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
