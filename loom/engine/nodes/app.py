"""What a node answers to other nodes, as an ASGI application: signed requests alone, and never with a user's key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from loom.engine.nodes.peers import DELIVERIES, HEALTH
from loom.engine.nodes.signing import Signer
from loom.engine.nodes.wire import LONGEST, error_as_json, packed, unpacked
from loom.engine.port import Delivery, Node
from loom.errors import LoomClosedError, LoomError, NodeRefusedError
from loom.identity import FORWARDED, Identity
from loom.telemetry import get_logger, log_answer

__all__ = ["NodeApp"]

_Message = MutableMapping[str, Any]

_log = get_logger("loom.engine")


class NodeApp:
    """Answers deliveries of the other nodes of a cluster.

    The identity that comes with one is known here as `forwarded:<node>/<source>`, whatever the sender calls it.
    """

    def __init__(self, signer: Signer, *, nodes: Mapping[str, str], most: int = 1_024) -> None:
        self._signer = signer
        self._nodes = nodes
        self._most = most
        self._in_work = 0
        self.node: Node | None = None
        """What deliveries are given to; until then they are answered as by a loom that is closed."""

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        signature, status, body = "", 403, b"{}"
        try:
            raw = await _body(receive)
            if scope["method"] != "POST":
                raise NodeRefusedError("request is no POST; expected one: look who sends it")
            sender, signature = self._signer.check(headers, scope["path"], raw)
            status, body = await self._answered(scope["path"], raw, sender)
        except NodeRefusedError as refused:
            status = 503 if refused.kind == "busy" else 403
            body = packed(error_as_json(refused))
            log_answer(_log, "node_request_refused", refused)
        said = {"content-type": "application/json", "cache-control": "no-store"}
        if signature:
            said |= self._signer.sign_answer(signature, status, body)
        encoded = [(name.encode(), value.encode()) for name, value in said.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    async def _answered(self, path: str, raw: bytes, sender: str) -> tuple[int, bytes]:
        if path == HEALTH:
            return 200, packed({"ok": {}})
        if path != DELIVERIES:
            raise NodeRefusedError(f"path [{path:.80}] is none of a node's; expected [{DELIVERIES}]: compare versions")
        if self._in_work >= self._most:
            raise NodeRefusedError(f"[{self._in_work}] deliveries are in work; expected fewer: wait", kind="busy")
        self._in_work += 1
        try:
            return 200, packed({"ok": await self._delivered(unpacked(raw), sender)})
        except LoomError as error:
            return 200, packed(error_as_json(error))
        except Exception as error:  # a defect must not end the connection of other deliveries
            _log.exception("delivery_failed")
            return 200, packed(error_as_json(NodeRefusedError(f"the delivery failed [{error!r:.200}]", kind="fault")))
        finally:
            self._in_work -= 1

    async def _delivered(self, plain: Any, sender: str) -> Any:
        delivery = Delivery.of_json(plain)
        if self.node is None:
            raise LoomClosedError("the loom of this node is not open; expected an open one: ask again in a moment")
        by = None if delivery.by is None else self._known_as(delivery.by, sender)
        return await self.node.receive(replace(delivery, by=by))

    def _known_as(self, who: Identity, sender: str) -> Identity:
        kind, _, rest = (who.source or "").partition(":")
        if kind == FORWARDED:  # a turn passes on who asked it: by a node of this cluster, or not at all
            node, slash, source = rest.partition("/")
            if node not in self._nodes or not slash or not source or source.startswith(FORWARDED):
                raise NodeRefusedError(
                    f"identity [{who.source:.80}] was passed on by no node of this cluster; expected one of "
                    f"[{', '.join(self._nodes)}]: look who sends it"
                )
        return who.forwarded(by=sender)


async def _body(receive: Callable[[], Awaitable[_Message]]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise NodeRefusedError("request was broken off; expected the rest of it: send it again")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LONGEST:
            raise NodeRefusedError(f"request has more than [{LONGEST}] bytes; expected fewer: shorten it")
        if not message.get("more_body"):
            return b"".join(parts)
