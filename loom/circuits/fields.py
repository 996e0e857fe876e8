"""What circuits are given and come to, protected for their client as `loom.sealing` does it, opened, and shown.

A value is sealed at the path of its own name, as `/email`. A later step of the chain gets it as it is written, and it
opens at the path that it names itself: nothing that a caller sends in sealed gets that far.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.circuits.chain import RunChain
from loom.errors import ErasedError
from loom.journal.admission import json_value
from loom.sealing import Erasures, Handling, Leaf, Parts, SealedValue, Vault, Withheld, is_sealed, open_sealed, protect
from loom.sealing.markers import placeholder_of

__all__ = ["ClientFields", "Protected", "is_of_before", "protect_as_before", "worded_fields"]

_MASK = "***"


class Protected(NamedTuple):
    """Values as they may be written, and which of them are not what they were."""

    values: dict[str, JsonValue]
    changed: tuple[str, ...]


class ClientFields:
    """Protects fields by what is said of each, and opens what was sealed; without a vault it shows, and no more."""

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
        names: Collection[str] = (),
    ) -> Protected:
        """Return values as they may be written; see `loom.sealing.protect`. What is kept must not look protected."""
        declared = Parts({name: Leaf(handling.get(name, "keep")) for name in values})
        kept: Any = await protect(dict(values), declared, vault=self.vault, subject=subject, once=once, names=names)
        return Protected(kept, tuple(name for name, value in kept.items() if placeholder_of(value) is not None))

    async def reveal(self, values: Mapping[str, Any], *, subject: str) -> dict[str, Any]:
        """Return values with what was sealed for a subject opened; raise `ErasedError` where that is gone."""
        sealed = {name: value for name, value in values.items() if is_sealed(value)}
        found = {name: placeholder_of(value) for name, value in sealed.items()}
        for each in found.values():
            if not isinstance(each, SealedValue) or each.subject != subject:
                raise ErasedError(f"what was sealed does not open for [{subject:.80}]; it was sealed for another")
        declared = Parts(dict.fromkeys(sealed, Leaf("seal")))
        opened: Any = await open_sealed(sealed, declared, vault=self.vault, as_named=True)
        for each in found.values():
            if isinstance(each, SealedValue):  # an erasure may have begun meanwhile
                self.erasures.check(subject, generation=each.generation)
        return {**values, **opened}

    def shown(self, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return values as anyone may see them: `sealed`, `erased`, `***`, a hash; what was dropped is not there."""
        return {name: self.erasures.shown(value) for name, value in worded_fields(values).items()}


def worded_fields(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return fields with what was masked as `***`, and hashed as its hash; what was dropped is not there."""
    said: dict[str, JsonValue] = {}
    for name, value in values.items():
        match placeholder_of(value):
            case Withheld(how="drop"):
                continue
            case Withheld(digest=digest):
                said[name] = _MASK if digest is None else digest
            case _:
                said[name] = value
    return said


# --- what an earlier loom wrote -------------------------------------------------------------------


def is_of_before(chain: RunChain) -> bool:
    """Tell whether a chain was recorded by a loom that wrote `***` and bare hashes, and sealed at names, not paths."""
    for step in chain.steps:
        if any(not isinstance(placeholder_of(step.inputs.get(name)), Withheld) for name in step.unwritten):
            return True
        sealed = (placeholder_of(value) for value in step.inputs.values())
        if any(isinstance(each, SealedValue) and not each.about.startswith("/") for each in sealed):
            return True
    return False


async def protect_as_before(
    vault: Vault | None,
    values: Mapping[str, JsonValue],
    handling: Mapping[str, Handling],
    *,
    subject: str,
    once: str,
) -> Protected:
    """Return values as an earlier loom wrote them: a chain that it recorded is compared so when it is sent again."""
    written: dict[str, JsonValue] = {}
    changed = []
    for name, value in values.items():
        how = handling.get(name, "keep")
        if how == "keep":
            written[name] = value
            continue
        json_value(value)
        changed.append(name)
        if how == "mask":
            written[name] = _MASK
        elif vault is not None and how == "hash":
            written[name] = await vault.hashed(subject, value, about=name)
        elif vault is not None and how == "seal":
            written[name] = await vault.seal(subject, value, about=name, once=once)
    return Protected(written, tuple(changed))
