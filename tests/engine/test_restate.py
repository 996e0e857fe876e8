"""What Restate calls on a node: only what a node has sealed is done, and nothing that was erased can be kept there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

pytest.importorskip("restate", reason="the extra [restate] is not installed")

from loom.background import Background
from loom.clock import SystemClock
from loom.config import LoomConfig
from loom.engine import ClusterConfig, Delivery, RestateConfig
from loom.engine.nodes.signing import Signer
from loom.engine.restate import RestateEngine
from loom.engine.restate.ingress import Ingress
from loom.engine.surroundings import Surroundings
from loom.errors import AdmissionError, ConfigError, NodeRefusedError, NodeUnreachableError
from loom.identity import Identity
from loom.journal.holders import Holder
from loom.journal.sqlite import SqliteStore
from tests.contracts.engine import NotingNode

KEY = "k" * 40
NODES = {"n1": "http://127.0.0.1:7801", "n2": "http://127.0.0.1:7802"}
ASK = Delivery("ask", "desk/1", "c-1", {"percent": 5}, Identity("robin", "api_key:7", "http"))


class Shared:
    """A journal that says who holds it."""

    writer, shared = 7, True

    def __init__(self) -> None:
        self.held: dict[str, Holder] = {}

    def on_fenced(self, callback: Any) -> None:
        pass

    async def holders(self, journals: Collection[str]) -> dict[str, Holder]:
        return {each: self.held[each] for each in journals if each in self.held}


class Asked:
    """Stands for Restate: notes what is handed over, and answers with what it is set to."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.answer: httpx2.Response | Exception = httpx2.Response(200, json={"ok": {"reply": 1}, "node": "n1"})

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Served:
    """Node `n1` with Restate as its engine, which is not started: nothing listens."""

    def __init__(self, background: Background) -> None:
        self.store, self.restate, self.node = Shared(), Asked(), NotingNode("n1")
        sections = {
            "cluster": ClusterConfig(node="n1", nodes=NODES, key=SecretStr(KEY), connect_timeout_s=0.1),
            "restate": RestateConfig(),
        }
        store: Any = self.store
        self.engine = RestateEngine(Surroundings(LoomConfig(sections=sections), store, SystemClock(), background))
        signer = self.engine._link.signer
        self.engine._ingress = Ingress(RestateConfig(), signer, "n1", transport=httpx2.MockTransport(self.restate))
        self.engine._node = self.node

    def sealed(self, delivery: Delivery, *, node: str = "n2", key: str = KEY) -> dict[str, Any]:
        body = json.dumps(delivery.as_json())
        signer = Signer(node, NODES, key, now_us=SystemClock().now_us)
        return {"node": node, "delivery": body, "signature": signer.seal(body)}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    background = Background()
    yield Served(background)
    await background.close()


async def test_what_a_node_has_sealed_is_done_and_its_name_is_known_as_passed_on(served: Served) -> None:
    assert await served.engine._handle("desk/1", served.sealed(ASK)) == {
        "ok": {"reply": {"by": "n1", "given": {"percent": 5}}}
    }
    (got,) = served.node.got
    assert got.by is not None
    assert got.by.source == "forwarded:n2/api_key:7"
    assert served.engine.ownership.mine("desk/1")
    await served.engine._handle("desk/1", served.sealed(ASK, node="n1"))
    assert served.node.got[-1].by == ASK.by


async def test_a_request_past_the_ingress_or_with_a_forged_seal_does_nothing(served: Served) -> None:
    good = served.sealed(ASK)
    other = json.dumps({**ASK.as_json(), "by": {"name": "dana", "source": "api_key:1", "via": "http"}})
    forged: Any
    for forged in (
        ASK.as_json(),
        {},
        None,
        [],
        {**good, "signature": "0" * 64},
        {**good, "delivery": other},
        {**good, "node": "n1"},
        {**good, "more": 1},
        served.sealed(ASK, key="x" * 40),
        served.sealed(ASK, node="n9"),
    ):
        with pytest.raises(NodeRefusedError):
            await served.engine._handle("desk/1", forged)
    with pytest.raises(NodeRefusedError, match="expected one journal"):
        await served.engine._handle("desk/2", good)
    assert served.node.got == []
    assert not served.engine.ownership.mine("desk/1")


async def test_what_is_sealed_in_the_journal_is_never_handed_to_the_engine(served: Served) -> None:
    sealed = Delivery("ask", "desk/1", "c-1", {"email": "ada@example.org"}, None, sealed=True)
    await served.engine.deliver(sealed)
    assert served.restate.requests == []
    assert served.node.got == [sealed]
    assert served.engine.ownership.mine("desk/1")


async def test_the_id_of_a_command_is_the_key_under_which_it_is_handed_over_once(served: Served) -> None:
    served.restate.answer = httpx2.Response(200, json={"ok": {"waiting": True}, "node": "n1"})
    for _ in range(2):
        assert await served.engine.deliver(ASK) == {"waiting": True}
    first, second = served.restate.requests
    assert first.url.path == "/loom/desk/1/turn"
    assert first.url.raw_path == b"/loom/desk%2F1/turn"
    assert first.headers["idempotency-key"] == "c-1"
    assert second.headers["idempotency-key"] == "c-1/1", "the answer to the first would come again"
    assert "authorization" not in first.headers
    assert KEY.encode() not in first.content


async def test_an_actor_is_taken_here_where_restate_does_not_answer_and_no_node_has_it(served: Served) -> None:
    served.restate.answer = httpx2.ConnectError("refused")
    assert (await served.engine.deliver(ASK))["reply"] == {"by": "n1", "given": {"percent": 5}}
    assert served.engine.ownership.mine("desk/1")


async def test_an_address_in_the_journal_that_is_no_nodes_is_passed_over(served: Served) -> None:
    served.store.held["desk/1"] = Holder(3, "http://evil.example:80", fenced=False)
    assert await served.engine.owner("desk/1") is None
    assert (await served.engine.deliver(ASK)) == {"reply": 1}
    assert [each.url.host for each in served.restate.requests] == ["127.0.0.1"]


async def test_an_actor_that_another_process_has_acquired_is_given_up(served: Served) -> None:
    await served.engine._handle("desk/1", served.sealed(ASK))
    served.store.held["desk/1"] = Holder(served.store.writer, NODES["n1"], fenced=False)
    await served.engine.owner("desk/1")
    assert served.engine.ownership.mine("desk/1")
    served.store.held["desk/1"] = Holder(8, NODES["n2"], fenced=False)
    assert await served.engine.owner("desk/1") == NODES["n2"]
    assert not served.engine.ownership.mine("desk/1")
    assert served.node.changes == 1


async def test_errors_about_a_command_are_values_and_those_of_restate_say_what_to_do(served: Served) -> None:
    words = {"error": {"type": "AdmissionError", "message": "no such field; expected one", "kind": "invalid"}}
    served.restate.answer = httpx2.Response(200, json={**words, "node": "n2"})
    with pytest.raises(AdmissionError, match="no such field"):
        await served.engine.deliver(ASK)
    served.store.held["desk/1"] = Holder(8, NODES["n2"], fenced=False)
    for answer, error in (
        (httpx2.Response(404, json={"message": "service not found"}), NodeRefusedError),
        (httpx2.Response(200, json=[]), NodeRefusedError),
        (httpx2.Response(200, json={"ok": {}}), NodeRefusedError),
    ):
        served.restate.answer = answer
        with pytest.raises(error, match="expected"):
            await served.engine.deliver(ASK)
    ingress = served.engine._ingress
    served.restate.answer = httpx2.Response(503)
    with pytest.raises(NodeUnreachableError, match="asked again"):
        await ingress.call(ASK, key="c-1")


async def test_a_journal_that_one_process_writes_has_no_use_for_it(tmp_path: Path) -> None:
    background = Background()
    store = await SqliteStore.open(tmp_path / "journal.db")
    with pytest.raises(ConfigError, match="expected one on PostgreSQL"):
        RestateEngine(Surroundings(LoomConfig(), store, SystemClock(), background))
    await store.close()
    await background.close()
