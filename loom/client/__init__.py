"""The client of loom's HTTP API: `ask`, `tell` and `stream` from another process. It takes the extra `client`."""

from __future__ import annotations

from loom.client.client import LoomClient, RemoteRef
from loom.client.errors import RemoteError

__all__ = ["LoomClient", "RemoteError", "RemoteRef"]
