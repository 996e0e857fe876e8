"""The other nodes: deliveries are sent to them at the addresses of the config, signed, and answers are checked."""

from __future__ import annotations

import httpx2

from loom.engine.config import ClusterConfig
from loom.engine.nodes.signing import Signer
from loom.engine.nodes.wire import LONGEST, answer_of, packed, unpacked
from loom.engine.port import Delivery, Reply
from loom.errors import NodeRefusedError, NodeUnreachableError

__all__ = ["DELIVERIES", "HEALTH", "Peers"]

DELIVERIES = "/loom/node/v1/deliveries"
HEALTH = "/loom/node/v1/health"

_SPARE_S = 5.0


class Peers:
    """Sends deliveries to other nodes. `transport` stands for the network in tests."""

    def __init__(
        self, config: ClusterConfig, signer: Signer, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._config = config
        self._signer = signer
        timeout = httpx2.Timeout(config.connect_timeout_s, read=config.wait_s + _SPARE_S)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx2.AsyncClient(timeout=timeout, limits=limits, transport=transport, trust_env=False)

    def node_at(self, address: str) -> str:
        """Return the name of the node at an address; raise `NodeRefusedError` for one that the config does not have."""
        found = next((name for name, known in self._config.nodes.items() if known == address.rstrip("/")), None)
        if found is None:
            raise NodeRefusedError(
                f"address [{address:.200}] is none of this cluster; expected one of cluster.nodes "
                f"[{', '.join(self._config.nodes.values())}]: look who wrote it"
            )
        return found

    async def deliver(self, node: str, delivery: Delivery) -> Reply:
        """Send a delivery to a node and return its answer; raise what it raises there, or `NodeUnreachableError`."""
        return await self._post(node, DELIVERIES, packed(delivery.as_json()))

    async def answers(self, node: str) -> bool:
        """Tell whether a node answers."""
        try:
            await self._post(node, HEALTH, packed({}))
        except (NodeUnreachableError, NodeRefusedError):
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, node: str, path: str, body: bytes) -> Reply:
        address = self._config.nodes.get(node)
        if address is None:
            raise NodeRefusedError(
                f"node [{node:.40}] is not known; expected one of [{', '.join(self._config.nodes)}]: correct "
                "cluster.nodes"
            )
        headers = self._signer.sign(node, path, body)
        try:
            said = await self._http.post(address + path, content=body, headers=headers)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise NodeUnreachableError(
                f"node [{node}] at [{address}] gave no answer [{type(error).__name__}]; expected one: what was asked "
                "may have been done, ask again"
            ) from error
        if len(said.content) > LONGEST:
            raise NodeRefusedError(
                f"answer of node [{node}] has more than [{LONGEST}] bytes; expected fewer: ask for less"
            )
        self._signer.check_answer(headers["x-loom-signature"], said.status_code, said.headers, said.content)
        return answer_of(unpacked(said.content))
