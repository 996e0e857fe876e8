"""Signatures of requests between nodes, and of their answers: HMAC-SHA256 with the key of the cluster.

A signature covers who asks whom, when, a number used once, the path and the body; that of an answer covers the
signature of its request. So nothing can be sent to another node, sent again, or answered by anyone else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping

from loom.errors import NodeRefusedError
from loom.identity import random_bytes

__all__ = ["Signer"]

_PREFIX = "x-loom-"
_NONCE_BYTES = 16
_MOST_NONCES = 200_000


class Signer:
    """Signs requests of one node, and checks those of the others; each is taken once."""

    def __init__(
        self,
        node: str,
        nodes: Collection[str],
        key: str,
        *,
        now_us: Callable[[], int],
        skew_s: float = 30.0,
        most: int = _MOST_NONCES,
    ) -> None:
        self._node = node
        self._nodes = frozenset(nodes)
        self._key = hashlib.sha256(b"loom/node/v1/key\n" + key.encode()).digest()
        self._now_us = now_us
        self._skew_us = round(skew_s * 1_000_000)
        self._most = most
        self._seen: dict[str, int] = {}

    def sign(self, to: str, path: str, body: bytes) -> dict[str, str]:
        """Return the headers of a request to another node."""
        at, nonce = str(self._now_us()), random_bytes(_NONCE_BYTES).hex()
        signature = self._mac("request", self._node, to, at, nonce, path, body)
        said = {"from": self._node, "to": to, "at": at, "nonce": nonce, "signature": signature}
        return {_PREFIX + name: value for name, value in said.items()}

    def check(self, headers: Mapping[str, str], path: str, body: bytes) -> tuple[str, str]:
        """Return which node sent a request, and its signature; raise `NodeRefusedError` for any that is not in order.

        A request is refused that none of the nodes signed, that is for another node, that is too old or too new, or
        that came before.
        """
        sender, to, at, nonce, signature = (
            headers.get(_PREFIX + name, "") for name in ("from", "to", "at", "nonce", "signature")
        )
        if not _same(signature, self._mac("request", sender, to, at, nonce, path, body)):
            raise _refused("is not signed with the key of this cluster", "the same cluster.key on all nodes")
        if sender not in self._nodes or sender == self._node:
            raise _refused(f"is from [{sender:.40}]", "one of the other cluster.nodes")
        if to != self._node:
            raise _refused(f"is for node [{to:.40}]", f"one for [{self._node}]")
        now_us = self._now_us()
        if abs(now_us - int(at)) > self._skew_us:
            raise _refused("was signed at another time", f"a clock within [{self._skew_us / 1e6:g}] s of this one's")
        self._take(nonce, now_us)
        return sender, signature

    def sign_answer(self, request: str, status: int, body: bytes) -> dict[str, str]:
        """Return the headers of the answer to a request with that signature."""
        return {_PREFIX + "signature": self._mac("answer", request, str(status), body)}

    def check_answer(self, request: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise `NodeRefusedError` for an answer that no node of the cluster gave to this request."""
        signature = headers.get(_PREFIX + "signature", "")
        if not _same(signature, self._mac("answer", request, str(status), body)):
            raise NodeRefusedError(
                f"answer [{status}] is not signed with the key of this cluster; expected one of a node: look what "
                "listens at its address"
            )

    def seal(self, body: str) -> str:
        """Return a signature of something that this node hands over to an engine, which may bring it twice and late."""
        return self._mac("sealed", self._node, body)

    def unseal(self, sender: str, body: str, signature: str) -> None:
        """Raise `NodeRefusedError` for what was not sealed by that node of this cluster."""
        if sender not in self._nodes or not _same(signature, self._mac("sealed", sender, body)):
            raise _refused("came past the nodes", "what one of them has signed")

    def _take(self, nonce: str, now_us: int) -> None:
        """Take a request once, as long as its time would be accepted."""
        if nonce in self._seen:
            raise _refused("came before", "a new one each time")
        for old, at_us in list(self._seen.items()):  # oldest first
            if now_us - at_us <= 2 * self._skew_us:
                break
            del self._seen[old]
        if len(self._seen) >= self._most:
            raise NodeRefusedError(f"[{self._most}] requests came within a minute; expected fewer: wait", kind="busy")
        self._seen[nonce] = now_us

    def _mac(self, *parts: str | bytes) -> str:
        mac = hmac.new(self._key, b"loom/node/v1\n", hashlib.sha256)
        for part in parts:
            raw = part.encode() if isinstance(part, str) else part
            mac.update(len(raw).to_bytes(8, "big") + raw)
        return mac.hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _refused(what: str, expected: str) -> NodeRefusedError:
    return NodeRefusedError(f"request {what}; expected {expected}: look who sends it")
