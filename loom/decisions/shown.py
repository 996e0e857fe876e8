"""What a person saw when answering: which version of which page, and a digest of the fields on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.journal.admission import json_value

__all__ = ["Shown"]


class Shown(BaseModel):
    """A rendering of a request: an id with a version, as `explorer/decision/1`, and the SHA-256 of its fields in hex.

    `basis` is the `shown` of the request as it was on the page: an answer to a request that has changed since is
    refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rendering: str = Field(pattern=r"^[a-z0-9][a-z0-9._/-]{0,79}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    basis: str | None = Field(default=None, max_length=64)

    @classmethod
    def of(cls, rendering: str, fields: Mapping[str, JsonValue], *, basis: str | None = None) -> Self:
        """Return the rendering of fields, by the digest of their canonical JSON (RFC 8785).

        Raises `AdmissionError` for fields that are not JSON.
        """
        plain = json_value(dict(fields))
        return cls(rendering=rendering, digest=hashlib.sha256(rfc8785.dumps(plain)).hexdigest(), basis=basis)
