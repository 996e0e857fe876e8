"""One digest for what the gate compares across machines: SHA-256 over the canonical form (RFC 8785)."""

from __future__ import annotations

import hashlib

import rfc8785
from pydantic import JsonValue

__all__ = ["digest"]


def digest(domain: str, value: JsonValue) -> str:
    """Return the digest of plain JSON in hex; 5 and 5.0 are one number, and the order of keys is none."""
    return hashlib.sha256(f"loom/gate/{domain}/v1\n".encode() + rfc8785.dumps(value)).hexdigest()
