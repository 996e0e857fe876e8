"""Requests between nodes: what is not signed by a node of the cluster, for this node, now and once, is refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr, ValidationError

from loom.background import Background
from loom.clock import SystemClock
from loom.engine import ClusterConfig, Delivery, RestateConfig
from loom.engine.nodes.app import NodeApp
from loom.engine.nodes.link import Link
from loom.engine.nodes.peers import DELIVERIES, HEALTH, Peers
from loom.engine.nodes.signing import Signer
from loom.engine.nodes.wire import packed
from loom.errors import AdmissionError, ConfigError, LoomClosedError, NodeRefusedError, NodeUnreachableError
from loom.identity import Identity
from tests.contracts.engine import NotingNode
from tests.engine.ports import free_ports

KEY = "k" * 40
NODES = {"n1": "http://127.0.0.1:7801", "n2": "http://127.0.0.1:7802", "n3": "http://127.0.0.1:7803"}
ASK = Delivery("ask", "desk/1", "c-1", {"percent": 5}, Identity("robin", "api_key:7", "http"))


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.us


def signer(node: str, *, key: str = KEY, clock: Callable[[], int] | None = None, most: int = 100) -> Signer:
    return Signer(node, NODES, key, now_us=clock or Clock(), skew_s=30, most=most)


class Served:
    """Node `n2`, reached without a network."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.node = NotingNode("n2")
        self.app = NodeApp(signer("n2", clock=self.clock), nodes=NODES, most=4)
        self.app.node = self.node
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url=NODES["n2"])

    def from_node(self, node: str, *, key: str = KEY) -> Signer:
        return signer(node, key=key, clock=self.clock)

    async def post(self, headers: dict[str, str], body: bytes, path: str = DELIVERIES) -> httpx2.Response:
        return await self.http.post(path, content=body, headers=headers)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    yield made
    await made.http.aclose()


def refusal_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 403
    said: dict[str, Any] = answer.json()["error"]
    assert said["type"] == "NodeRefusedError"
    return str(said["message"])


BODY = packed(ASK.as_json())


async def test_a_signed_delivery_is_taken_and_its_answer_is_signed(served: Served) -> None:
    one = served.from_node("n1")
    headers = one.sign("n2", DELIVERIES, BODY)
    answer = await served.post(headers, BODY)
    one.check_answer(headers["x-loom-signature"], answer.status_code, answer.headers, answer.content)
    assert answer.json() == {"ok": {"reply": {"by": "n2", "given": {"percent": 5}}}}
    with pytest.raises(NodeRefusedError, match="is not signed"):
        one.check_answer(headers["x-loom-signature"], 500, answer.headers, answer.content)
    with pytest.raises(NodeRefusedError, match="is not signed"):
        one.check_answer("0" * 64, answer.status_code, answer.headers, answer.content)


async def test_a_request_that_comes_again_is_refused_and_does_nothing(served: Served) -> None:
    headers = served.from_node("n1").sign("n2", DELIVERIES, BODY)
    assert (await served.post(headers, BODY)).status_code == 200
    assert "came before" in refusal_of(await served.post(headers, BODY))
    served.clock.us += 29_000_000
    assert "came before" in refusal_of(await served.post(headers, BODY))
    served.clock.us += 3_600_000_000
    assert "was signed at another time" in refusal_of(await served.post(headers, BODY))
    assert len(served.node.got) == 1


async def test_what_no_node_of_the_cluster_signed_for_this_node_is_refused(served: Served) -> None:
    good = served.from_node("n1").sign("n2", DELIVERIES, BODY)
    other = packed({**ASK.as_json(), "id": "c-2"})
    unsigned = {name: value for name, value in good.items() if name != "x-loom-signature"}
    for headers, body, why in [
        ({}, BODY, "is not signed"),
        ({"authorization": "Bearer loom_key"}, BODY, "is not signed"),
        (unsigned, BODY, "is not signed"),
        (served.from_node("n1", key="x" * 40).sign("n2", DELIVERIES, BODY), BODY, "is not signed"),
        (good, other, "is not signed"),
        ({**good, "x-loom-from": "n3"}, BODY, "is not signed"),
        ({**good, "x-loom-at": "1800000000000001"}, BODY, "is not signed"),
        (served.from_node("n1").sign("n2", HEALTH, BODY), BODY, "is not signed"),
        (served.from_node("n1").sign("n3", DELIVERIES, BODY), BODY, "is for node"),
        (served.from_node("n9").sign("n2", DELIVERIES, BODY), BODY, "is from"),
        (served.from_node("n2").sign("n2", DELIVERIES, BODY), BODY, "is from"),
    ]:
        assert why in refusal_of(await served.post(headers, body))
    assert served.node.got == []


async def test_a_name_is_known_as_passed_on_whatever_the_sender_calls_it(served: Served) -> None:
    async def sent(source: str) -> str | None:
        body = packed({**ASK.as_json(), "by": {"name": "robin", "source": source, "via": "http"}})
        answer = await served.post(served.from_node("n1").sign("n2", DELIVERIES, body), body)
        assert answer.status_code == 200
        if "error" in answer.json():
            return None
        who = served.node.got[-1].by
        assert who is not None
        return who.source

    assert await sent("api_key:7") == "forwarded:n1/api_key:7"
    assert await sent("claimed") == "forwarded:n1/claimed"
    assert await sent("system") == "forwarded:n1/system"
    assert await sent("forwarded:n3/api_key:7") == "forwarded:n3/api_key:7"
    taken = len(served.node.got)
    for forged in (
        "forwarded:n9/api_key:7",
        "forwarded:n3/",
        "forwarded:n3/forwarded:n1/api_key:7",
        "forwarded:api_key:7",
        "root",
        "",
        "api_key:",
        "api_key:\n7",
        "oidc:" + "x" * 600,
    ):
        assert await sent(forged) is None, forged
    assert len(served.node.got) == taken


async def test_a_forwarded_name_counts_for_what_its_node_established_and_a_claimed_one_stays_claimed() -> None:
    def counts(source: str) -> str:
        return Identity("robin", source, "http").forwarded(by="n1").established

    assert counts("api_key:7") == "api_key:7"
    assert counts("oidc:https://id.example/robin") == "oidc:https://id.example/robin"
    assert counts("claimed") == "claimed"
    assert counts("os_user:1000") == "forwarded:n1/os_user:1000", "an account of another machine is another account"
    assert counts("proxy:front") == "forwarded:n1/proxy:front"
    twice = Identity("robin", "api_key:7", "http").forwarded(by="n1").forwarded(by="n2")
    assert twice.source == "forwarded:n1/api_key:7"


async def test_more_requests_than_are_remembered_are_refused_and_not_forgotten() -> None:
    clock = Clock()
    two, one = signer("n2", clock=clock, most=3), signer("n1", clock=clock)
    for _ in range(3):
        two.check(one.sign("n2", HEALTH, b""), HEALTH, b"")
    with pytest.raises(NodeRefusedError, match="requests came within a minute") as refused:
        two.check(one.sign("n2", HEALTH, b""), HEALTH, b"")
    assert refused.value.kind == "busy"
    clock.us += 61_000_000
    two.check(one.sign("n2", HEALTH, b""), HEALTH, b"")


async def test_what_makes_no_sense_is_refused_in_one_line(served: Served) -> None:
    for body in (b"", b"[]", b"{", b'{"verb": 1}', packed({**ASK.as_json(), "more": 1}), b"\xff"):
        answer = await served.post(served.from_node("n1").sign("n2", DELIVERIES, body), body)
        message = str(answer.json()["error"]["message"])
        assert "\n" not in message
        assert "expected" in message
    assert served.node.got == []
    served.app.node = None
    answer = await served.post(served.from_node("n1").sign("n2", DELIVERIES, BODY), BODY)
    assert answer.json()["error"]["type"] == LoomClosedError.__name__


# --- the sender ----------------------------------------------------------------------------------


def config(**changes: Any) -> ClusterConfig:
    return ClusterConfig(**{"node": "n1", "nodes": NODES, "key": SecretStr(KEY), "wait_s": 1.0, **changes})


async def test_nothing_is_sent_to_an_address_that_the_config_does_not_have() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(200)

    peers = Peers(config(), signer("n1"), transport=httpx2.MockTransport(answer))
    for address in ("http://127.0.0.1:9999", "http://evil.example:7802", "http://127.0.0.1:7802@evil.example:80", ""):
        with pytest.raises(NodeRefusedError, match="is none of this cluster"):
            peers.node_at(address)
    assert peers.node_at("http://127.0.0.1:7802/") == "n2"
    with pytest.raises(NodeRefusedError, match="is not known"):
        await peers.deliver("evil", ASK)
    assert asked == []
    await peers.close()


async def test_an_answer_that_no_node_signed_is_not_believed_and_no_users_key_is_sent() -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={"ok": {"reply": {"granted": True}}}, headers={"x-loom-signature": "0" * 64})

    peers = Peers(config(), signer("n1"), transport=httpx2.MockTransport(answer))
    with pytest.raises(NodeRefusedError, match="is not signed with the key"):
        await peers.deliver("n2", ASK)
    (request,) = sent
    assert not {"authorization", "cookie", "x-api-key"} & {name.lower() for name in request.headers}
    assert KEY not in str(request.headers) + request.content.decode()
    assert not await peers.answers("n2")
    await peers.close()


async def test_a_node_that_does_not_listen_breaks_off_or_is_silent_is_unreachable() -> None:
    handling: list[Any] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        await reader.read(1)
        if not breaks_off:
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as held:
        closed = held.getsockname()[1]
    nodes = {"n1": NODES["n1"], "n2": f"http://127.0.0.1:{port}", "n3": f"http://127.0.0.1:{closed}"}
    peers = Peers(config(nodes=nodes, wait_s=0.01), signer("n1"))
    peers._http.timeout = httpx2.Timeout(0.3)
    for node, breaks_off in (("n3", False), ("n2", True), ("n2", False)):  # noqa: B007 - `silent` reads it
        with pytest.raises(NodeUnreachableError, match=f"node \\[{node}\\]"):
            await peers.deliver(node, ASK)
    await peers.close()
    await asyncio.gather(*handling)
    server.close()
    await server.wait_closed()


async def test_two_nodes_talk_over_a_real_connection_and_a_taken_port_is_named() -> None:
    background = Background()
    one, two = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    nodes = {"n1": one, "n2": two}
    first, second = (
        Link(config(node=node, nodes=nodes), clock=SystemClock(), background=background) for node in ("n1", "n2")
    )
    at_two = NotingNode("n2")
    await first.start(NotingNode("n1"))
    await second.start(at_two)
    assert await first.deliver(two, ASK) == {"reply": {"by": "n2", "given": {"percent": 5}}}
    assert await first.peers.answers("n2")
    at_two.refuses = AdmissionError("no such field; expected one", path="$.percent")
    with pytest.raises(AdmissionError, match="no such field") as refused:
        await first.deliver(two, ASK)
    assert refused.value.path == "$.percent"
    again = Link(config(node="n2", nodes=nodes), clock=SystemClock(), background=background)
    with pytest.raises(ConfigError, match="cannot listen at"):
        await again.start(at_two)
    for each in (first, second, again):
        await each.close()
    await background.close()


# --- the config ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": "n9"},
        {"node": ""},
        {"key": SecretStr("short")},
        {"nodes": {"n1": "127.0.0.1:7801"}},
        {"nodes": {"n1": "http://robin:secret@127.0.0.1:7801"}},
        {"nodes": {"n1": "http://127.0.0.1"}},
        {"nodes": {"n1": "http://127.0.0.1:7801", "n2": "http://127.0.0.1:7801"}},
        {"nodes": {"n1": "http://127.0.0.1:7801", "N 2": "http://127.0.0.1:7802"}},
    ],
)
def test_a_cluster_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected"):
        config(**wrong)


def test_restate_that_anyone_could_reach_is_refused() -> None:
    with pytest.raises(ValidationError, match="loopback"):
        RestateConfig(ingress="http://10.0.0.1:8080")
    with pytest.raises(ValidationError, match="loopback"):
        RestateConfig(worker="http://0.0.0.0:9080")
    RestateConfig(ingress="http://10.0.0.1:8080", token=SecretStr("t"))
    RestateConfig(worker="http://10.0.0.2:9080", identity_key="publickeyv1_w7YHemBctH5Ck2nQRQ47iBBqhNHy4FV7t2Usbye2A6f")


def test_the_key_of_a_cluster_is_in_no_text() -> None:
    assert KEY not in repr(config()) + str(config())


def test_a_name_that_came_with_the_config_is_passed_on_as_such() -> None:
    """Wings journal at their start what the config says, wherever their actor lives."""
    sent = Delivery("ask", "desk/1", "c-1", {}, Identity.of("mira", via="config"))
    assert Delivery.of_json(sent.as_json()) == sent
