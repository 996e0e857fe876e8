"""From node to node: requests that are signed with the key of the cluster, to addresses of the config alone."""

from __future__ import annotations

from loom.engine.nodes.peers import Peers
from loom.engine.nodes.server import NodeServer
from loom.engine.nodes.signing import Signer

__all__ = ["NodeServer", "Peers", "Signer"]
