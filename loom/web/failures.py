"""How often a key may be wrong: counted for each peer, and for each key of each peer.

A right key is let in however often others fail elsewhere, or fail with other keys. What is refused without a look is a
key that the same peer has just had wrong too often: that is what guessing looks like.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from loom.web.guard import HttpRefusal

__all__ = ["FailedKeys", "named_as", "peer_of"]

_MOST = 10_000
"""So many peers, and so many keys of peers, are remembered; who failed longest ago is forgotten first."""


class FailedKeys:
    """What was wrong lately; `per_minute` failures are answered as such, what comes beyond them with a 429."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic, *, most: int = _MOST) -> None:
        self._peers = _Buckets(per_minute, clock, most)
        self._keys = _Buckets(per_minute, clock, most)

    def check(self, key: Hashable, peer: str) -> None:
        """Refuse a key that this peer has had wrong too often; whether it is right now is not looked at."""
        _raise_after(self._keys.wait_s((key, peer)))

    def failed(self, key: Hashable, peer: str) -> None:
        """Count a key that is wrong; raise `HttpRefusal` where this peer has failed too often."""
        wait_s = max(self._keys.wait_s((key, peer)), self._peers.wait_s(peer))
        self._keys.take((key, peer))
        self._peers.take(peer)
        _raise_after(wait_s)

    def __len__(self) -> int:
        return len(self._peers) + len(self._keys)


def named_as(workspace: str, key_id: str | None) -> bytes:
    """Return as what a key is counted that a request names; of one size, whatever was sent."""
    return hashlib.sha256(f"{key_id}\n{workspace}".encode(errors="replace")).digest()


def peer_of(host: str | None) -> str:
    """Return as whom an address is counted: a network of IPv6 is one peer, for each of its hosts has 2⁶⁴ addresses."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return (host or "")[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class _Buckets:
    """Buckets that fill with time: of each, how much was left, and when."""

    def __init__(self, per_minute: int, clock: Callable[[], float], most: int) -> None:
        self._per_second = per_minute / 60
        self._full = float(per_minute)
        self._clock = clock
        self._most = most
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_s(self, name: Hashable) -> float:
        """Return how long it takes until something can be taken, 0 if it can be now."""
        left = self._now(name)
        return 0.0 if left >= 1 else (1 - left) / self._per_second

    def take(self, name: Hashable) -> None:
        """Take one, if there is one."""
        left = self._now(name)
        self._left[name] = (left - 1 if left >= 1 else left, self._clock())
        self._left.move_to_end(name)
        if len(self._left) > self._most:
            self._left.popitem(last=False)

    def __len__(self) -> int:
        return len(self._left)

    def _now(self, name: Hashable) -> float:
        left, at = self._left.get(name, (self._full, self._clock()))
        return min(self._full, left + (self._clock() - at) * self._per_second)


def _raise_after(wait_s: float) -> None:
    if wait_s > 0:
        raise HttpRefusal(
            429,
            "rate_limited",
            "too many wrong keys; expected the right one: wait, and look which key it is",
            headers={"Retry-After": str(math.ceil(wait_s))},
        )
