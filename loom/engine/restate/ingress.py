"""Restate's ingress: deliveries go in under their id, and each is handled once at a time for its actor."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx2

from loom.engine.config import RestateConfig
from loom.engine.nodes.signing import Signer
from loom.engine.nodes.wire import answer_of
from loom.engine.port import Delivery, Reply
from loom.errors import NodeRefusedError, NodeUnreachableError

__all__ = ["SERVICE", "Ingress"]

SERVICE = "loom"
"""The name of the virtual object; its keys are names of journals."""

_EXCLUSIVE = {"ask": "turn", "tell": "turn"}


class Ingress:
    """Hands deliveries to Restate, sealed with the key of the cluster: what is not sealed does nothing."""

    def __init__(
        self, config: RestateConfig, signer: Signer, node: str, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._config = config
        self._signer = signer
        self._node = node
        token = config.token.get_secret_value()
        self._http = httpx2.AsyncClient(
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(config.connect_timeout_s, read=config.answer_timeout_s),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            transport=transport,
            trust_env=False,
        )

    async def call(self, delivery: Delivery, *, key: str) -> tuple[Reply, str]:
        """Hand a delivery over and wait for what came of it; return that, and the node where it was done.

        Raises what the node raised, and `NodeUnreachableError` where Restate gives no answer in time.
        """
        said = await self._post(self._path(delivery), delivery, key=key)
        if not isinstance(said, dict) or not isinstance(said.get("node"), str):
            raise NodeRefusedError("answer of Restate makes no sense; expected that of a node: compare the versions")
        node = str(said.pop("node"))
        return answer_of(said), node

    async def send(self, delivery: Delivery, *, key: str, delay_s: float = 0.0) -> str:
        """Hand a delivery over, to be done after a delay, and return the id of its invocation."""
        path = f"{self._path(delivery)}/send"
        delay = f"?delay={max(0, round(delay_s * 1_000))}ms" if delay_s > 0 else ""
        said = await self._post(path + delay, delivery, key=key)
        found = said.get("invocationId") if isinstance(said, dict) else None
        if not isinstance(found, str):
            raise NodeRefusedError("answer of Restate has no invocation; expected its id: compare the versions")
        return found

    async def cancel(self, invocation: str) -> None:
        """Cancel an invocation that has not begun; one that has ended is left."""
        try:
            await self._http.patch(f"{self._config.admin}/invocations/{quote(invocation, safe='')}/cancel")
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    async def register(self) -> bool:
        """Make this node's worker known to Restate; return whether it is known now."""
        body = {"uri": self._config.deployment or self._config.worker, "use_http_11": False}
        try:
            said = await self._http.post(f"{self._config.admin}/deployments", json=body)
        except httpx2.TransportError:
            return False
        return said.status_code in (200, 201, 409)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _path(self, delivery: Delivery) -> str:
        handler = _EXCLUSIVE.get(delivery.verb, "resume")
        return f"{self._config.ingress}/{SERVICE}/{quote(delivery.journal, safe='')}/{handler}"

    async def _post(self, url: str, delivery: Delivery, *, key: str) -> Any:
        body = json.dumps(delivery.as_json(), ensure_ascii=False)
        sealed = {"node": self._node, "delivery": body, "signature": self._signer.seal(body)}
        try:
            said = await self._http.post(url, json=sealed, headers={"idempotency-key": key})
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        if said.status_code in (408, 429) or said.status_code >= 500:
            raise NodeUnreachableError(
                f"Restate answers [{said.status_code}] for [{delivery.journal}]; expected 200: it is asked again"
            )
        if said.status_code not in (200, 202):
            raise NodeRefusedError(
                f"Restate refuses [{said.status_code}] [{said.text[:200]}]; expected 200: look whether the worker is "
                "registered, and what listens at [restate.ingress]"
            )
        return said.json()

    def _unreachable(self, error: Exception) -> NodeUnreachableError:
        return NodeUnreachableError(
            f"Restate at [{self._config.ingress}] gave no answer [{type(error).__name__}]; expected one: what was "
            "asked may have been done, ask again"
        )
