"""What becomes of a field before it is written: kept, masked, hashed, dropped, or sealed for its subject."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.errors import ConfigError
from loom.sealing.vault import Vault, is_sealed

__all__ = ["Fields", "Handling", "Protected"]

Handling: TypeAlias = Literal["keep", "mask", "hash", "drop", "seal"]

_MASK = "***"


class Protected(NamedTuple):
    """Values as they may be written, and which of them are not what they were."""

    values: dict[str, JsonValue]
    changed: tuple[str, ...]


class Fields:
    """Protects fields by what is said of each, and opens what was sealed."""

    def __init__(self, vault: Vault | None = None) -> None:
        self.vault = vault

    def protect(
        self,
        values: Mapping[str, JsonValue],
        handling: Mapping[str, Handling],
        *,
        subject: str,
        once: str | None = None,
    ) -> Protected:
        """Return values as they may be written; with `once`, sealed values come out the same for the same one."""
        written: dict[str, JsonValue] = {}
        changed = []
        for name, value in values.items():
            how = handling.get(name, "keep")
            if how == "keep" or is_sealed(value):
                written[name] = value
                continue
            changed.append(name)
            if how == "mask":
                written[name] = _MASK
            elif how == "hash":
                plain = json.dumps(value, sort_keys=True, ensure_ascii=False)
                written[name] = f"sha256:{hashlib.sha256(f'{subject}|{name}|{plain}'.encode()).hexdigest()}"
            elif how == "seal":
                written[name] = self._sealing().seal(subject, value, about=name, once=once)
        return Protected(written, tuple(changed))

    def reveal(self, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return values with what was sealed opened; raise `ErasedError` where that is gone."""
        return {name: self._sealing().open(value) if is_sealed(value) else value for name, value in values.items()}

    def shown(self, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return values as anybody may see them: `sealed`, or `erased`."""
        if self.vault is None:
            return {name: "sealed" if is_sealed(value) else value for name, value in values.items()}
        return {name: self.vault.shown(value) for name, value in values.items()}

    def _sealing(self) -> Vault:
        if self.vault is None:
            raise ConfigError(
                "a field is to be sealed, and there is no vault; expected a master key: fill in sealing: in the config"
            )
        return self.vault
