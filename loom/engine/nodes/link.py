"""The link of a node to the others: it sends them deliveries, and takes theirs."""

from __future__ import annotations

from loom.background import Background
from loom.clock import Clock
from loom.engine.config import ClusterConfig
from loom.engine.nodes.app import NodeApp
from loom.engine.nodes.peers import Peers
from loom.engine.nodes.server import NodeServer
from loom.engine.nodes.signing import Signer
from loom.engine.port import Delivery, Node, Reply
from loom.errors import ConfigError

__all__ = ["Link"]


class Link:
    """What engines of several nodes have in common: `start` it with what takes deliveries, and `close` it."""

    def __init__(self, config: ClusterConfig, *, clock: Clock, background: Background) -> None:
        if not config.node:
            raise ConfigError(
                "this loom is no node of a cluster; expected the section [cluster] with node, nodes and key: fill it in"
            )
        self.signer = signer = Signer(
            config.node, config.nodes, config.key.get_secret_value(), now_us=clock.now_us, skew_s=config.skew_s
        )
        self.node = config.node
        self.nodes = config.nodes
        self.peers = Peers(config, signer)
        self._app = NodeApp(signer, nodes=config.nodes)
        self._server = NodeServer(self._app, self.address, background=background)

    @property
    def address(self) -> str:
        """Where this node takes requests of the others."""
        return self.nodes[self.node]

    async def start(self, node: Node) -> None:
        """Listen, and give deliveries to a node; raise `ConfigError` where that is not possible."""
        self._app.node = node
        await self._server.start()

    async def deliver(self, address: str, delivery: Delivery) -> Reply:
        """Send a delivery to the node at an address of this cluster, and return its answer."""
        return await self.peers.deliver(self.peers.node_at(address), delivery)

    async def close(self) -> None:
        """Listen no more, and close the connections."""
        self._app.node = None
        await self._server.close()
        await self.peers.close()
