"""What several formats share: times, digests, and the canonical form of JSON."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from urllib.parse import quote

import rfc8785
from pydantic import JsonValue

from loom.decisions import DecisionTrace

__all__ = ["Json", "compact_json", "digest_of", "flattened", "inputs_of", "moment", "part", "sha256"]

Json = dict[str, JsonValue]
"""One object of JSON."""


def moment(at: datetime) -> str:
    """Return a time as RFC 3339 with microseconds in UTC: all such texts sort by time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sha256(data: bytes) -> str:
    """Return the digest of bytes as `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_of(value: JsonValue) -> str:
    """Return the digest of the canonical form (RFC 8785) of a value, as `sha256:<hex>`."""
    return sha256(rfc8785.dumps(value))


def compact_json(value: object) -> str:
    """Return a value as JSON on one line; raise `ValueError` for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def part(text: str) -> str:
    """Return a text as a part of a URI."""
    return quote(text, safe="-._~")


def flattened(value: JsonValue, prefix: str = "") -> dict[str, JsonValue]:
    """Return the values of nested objects by dotted path; lists stay as they are."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, JsonValue] = {}
    for name, each in value.items():
        found |= flattened(each, f"{prefix}.{name}" if prefix else name)
    return found


def inputs_of(trace: DecisionTrace) -> list[JsonValue]:
    """Return the look-ups of a decision as plain JSON."""
    return [each.model_dump(mode="json") for each in trace.decision.inputs]
