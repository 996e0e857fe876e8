"""Signatures of webhooks, after Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

__all__ = ["signed"]


def signed(keys: Sequence[bytes], *, notice_id: str, at_s: int, body: bytes) -> Mapping[str, str]:
    """Return the headers of a webhook: its id, the time of this try in seconds since 1970, a signature for each key.

    HMAC-SHA256 over `id.time.body`. A receiver compares in constant time, refuses old times, and takes each id once.
    """
    content = f"{notice_id}.{at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": notice_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
