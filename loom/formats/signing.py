"""How the formats that are signed write a key. The key itself is one of `loom.proof.keys`."""

from __future__ import annotations

import base64

__all__ = ["base64url", "jwk_of"]


def base64url(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(public: bytes) -> dict[str, str]:
    """Return a public Ed25519 key as a JWK."""
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}
