"""What becomes of a field before it is written: kept, masked, hashed, dropped, or sealed for its subject."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.errors import AdmissionError, ConfigError
from loom.journal.admission import json_value
from loom.sealing.erasures import Erasures
from loom.sealing.markers import Handling, is_sealed
from loom.sealing.vault import Vault

__all__ = ["Fields", "Protected"]

_MASK = "***"


class Protected(NamedTuple):
    """Values as they may be written, and which of them are not what they were."""

    values: dict[str, JsonValue]
    changed: tuple[str, ...]


class Fields:
    """Protects fields by what is said of each, and opens what was sealed."""

    def __init__(self, erasures: Erasures, vault: Vault | None = None) -> None:
        self.vault = vault
        self.erasures = erasures

    async def protect(
        self,
        values: Mapping[str, JsonValue],
        handling: Mapping[str, Handling],
        *,
        subject: str,
        once: str | None = None,
    ) -> Protected:
        """Return values as they may be written; with `once`, sealed values come out the same for the same one.

        Raises `AdmissionError` for a value that looks as if it were sealed: opening it would open
        any sealed value of which the sender has a copy.
        """
        written: dict[str, JsonValue] = {}
        changed = []
        for name, value in values.items():
            how = handling.get(name, "keep")
            if is_sealed(value):
                raise AdmissionError(f"field [{name:.80}] looks like a sealed value; expected a plain one: send that")
            if how == "keep":
                written[name] = value
                continue
            json_value(value)  # what is not written is not looked at by the journal's own gate
            changed.append(name)
            if how == "mask":
                written[name] = _MASK
            elif how == "hash":
                written[name] = await self._hashed(subject, name, value)
            elif how == "seal":
                written[name] = await self._sealing().seal(subject, value, about=name, once=once)
        return Protected(written, tuple(changed))

    async def reveal(self, values: Mapping[str, Any], *, subject: str) -> dict[str, Any]:
        """Return values with what was sealed for a subject opened; raise `ErasedError` where that is gone."""
        return {
            name: await self._sealing().open(value, subject=subject) if is_sealed(value) else value
            for name, value in values.items()
        }

    def shown(self, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return values as anyone may see them: `sealed`, or `erased`."""
        return {name: self.erasures.shown(value) for name, value in values.items()}

    async def _hashed(self, subject: str, name: str, value: JsonValue) -> str:
        """Return a hash that is the same for equal values; with a vault it is keyed, so that it cannot be guessed."""
        if self.vault is not None:
            return await self.vault.hashed(subject, value, about=name)
        plain = json.dumps([subject, name, value], sort_keys=True, ensure_ascii=False)
        return f"sha256:{hashlib.sha256(plain.encode()).hexdigest()}"

    def _sealing(self) -> Vault:
        if self.vault is None:
            raise ConfigError(
                "a field is to be sealed, and there is no vault; expected a master key: fill in sealing: in the config"
            )
        return self.vault
