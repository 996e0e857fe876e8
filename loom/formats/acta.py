"""Signed receipts of draft-farley-acta-signed-receipts-03: one for each decision that was granted or denied.

The signature is over the canonical form (RFC 8785) of the payload. Each receipt holds the digest of the whole receipt
before it, so that one that is missing shows. The key is not in a receipt: a verifier has it from elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import rfc8785

from loom.decisions import DecisionTrace
from loom.formats.plain import Json, digest_of, moment
from loom.formats.reading import LeftOut
from loom.proof.keys import Signer

__all__ = ["acta_receipts", "issuer_of"]

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ISSUER_LETTERS = 12
_ANSWERS = {"granted": "allow", "denied": "deny"}


async def acta_receipts(
    traces: AsyncIterator[DecisionTrace], *, signer: Signer, now: Callable[[], datetime], left_out: LeftOut
) -> AsyncIterator[Json]:
    """Yield the receipts, each linked to the one before it."""
    issuer, before = issuer_of(signer.public), None
    async for trace in traces:
        if trace.decision.policy is None or trace.verdict is None:
            left_out.add("it was decided under no policy, or neither granted nor denied: a receipt needs both")
            continue
        payload = _payload(trace, issuer=issuer, issued_at=now())
        if before is not None:
            payload["previousReceiptHash"] = before
        signature = signer.sign(rfc8785.dumps(payload))
        receipt: Json = {"payload": payload, "signature": {"alg": "EdDSA", "kid": issuer, "sig": signature.hex()}}
        before = digest_of(receipt)
        yield receipt


def issuer_of(public_key: bytes) -> str:
    """Return the name of a key: its first 12 letters in base 58."""
    number, letters = int.from_bytes(public_key), ""
    while number:
        number, rest = divmod(number, len(_ALPHABET))
        letters = _ALPHABET[rest] + letters
    zeros = len(public_key) - len(public_key.lstrip(b"\0"))
    return f"sb:issuer:{(_ALPHABET[0] * zeros + letters)[:_ISSUER_LETTERS]}"


def _payload(trace: DecisionTrace, *, issuer: str, issued_at: datetime) -> Json:
    decision = trace.decision
    assert decision.policy is not None  # noqa: S101 - see `acta_receipts`
    assert trace.verdict is not None  # noqa: S101
    payload: Json = {
        "type": "protectmcp:decision",
        "tool_name": trace.decision_type,
        "decision": _ANSWERS[trace.verdict],
        "policy_digest": f"sha256:{decision.policy.hash}",
        "issued_at": moment(issued_at),
        "issuer_id": issuer,
        "decided_at": moment(trace.decided_at),
        "action_ref": f"sha256:{hashlib.sha256(trace.decision_id.encode()).hexdigest()}",
        "loom_decision_id": trace.decision_id,
        "loom_entry_hash": f"sha256:{trace.entry_hash}",
    }
    if decision.evaluation is not None:
        payload["reason"] = decision.evaluation.rule
    return payload
