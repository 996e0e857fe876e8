"""Commands over HTTP: once for each key, waited for as long as is preferred, by whom the policy lets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from loom import Actor, Command, Loom
from loom.actors.command import Message
from loom.policies import Table
from loom.web.commands import wait_s_of
from loom.web.permissions import PERMISSIONS, REFUSALS_JOURNAL
from loom.web.refusals import CommandRefusedEntry
from tests.web.support import Asker, Client, Said, served


class Part(BaseModel):
    name: str
    parts: list[Part] = []


class Receipt(BaseModel):
    total: int
    seen: Part


class Add(Command[Receipt]):
    """Add something to the stock."""

    amount: int
    what: Part = Part(name="box")


class Break(Command[None]):
    how: str = "loudly"


class Wait(Command[str]):
    pass


class Nudge(Message):
    word: str


class Stock(Actor[None]):
    ran: ClassVar[list[int]] = []

    async def execute(self, command: Add | Break | Wait) -> Receipt | str | None:
        if isinstance(command, Add):
            self.ran.append(command.amount)
            await self.record_decision(rationale="added", outcome={"amount": command.amount})
            return Receipt(total=command.amount, seen=command.what)
        if isinstance(command, Break):
            raise RuntimeError(f"it broke {command.how}")  # noqa: TRY004 - it is no type that is wrong
        return (await self.wait_for(Nudge)).word


async def post(client: Client, command: str, body: Any, key: str = "a", **more: Any) -> Said:
    return await client.call("POST", f"/api/actors/stock/{key}/{command}", body, **more)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Stock.ran.clear()


ADD = {"amount": 3, "what": {"name": "crate", "parts": [{"name": "nail"}]}}


async def test_a_command_is_accepted_or_waited_for_and_runs_once_for_each_key(tmp_path: Path) -> None:
    async with served(tmp_path, workspaces=("one",), actors=(Stock,)) as client:
        sent = [
            post(client, "Add", ADD, Idempotency_Key="k-1", workspace="", key="a", of="one", Prefer="wait=30")
            for _ in range(6)
        ]
        answers = await asyncio.gather(*sent)
        assert {(each.status, each.body) for each in answers} == {(200, answers[0].body)}, "one workspace needs no name"
        assert answers[0].json["status"] == "completed"
        assert answers[0].json["reply"] == {
            "total": 3,
            "seen": {"name": "crate", "parts": [{"name": "nail", "parts": []}]},
        }
        assert (answers[0].headers["preference-applied"], Stock.ran) == ("wait=30", [3])
        other = await post(client, "Add", {"amount": 4}, Idempotency_Key="k-1")
        assert (other.status, other.code) == (409, "command_conflict")
        at_once = await post(client, "Wait", {}, Idempotency_Key="k-2")
        assert (at_once.status, at_once.json["reply"]) == (202, None)
        short = await post(client, "Wait", {}, Idempotency_Key="k-2", Prefer="respond-async, wait=0")
        assert short.status == 202
        where = at_once.headers["location"].partition("&workspace_id=one")[0]
        assert (await client.call("GET", where, role="reader")).json["status"] in ("running", "parked")
        assert (await post(client, "Nudge", {"word": "go"}, role="operator")).status in (200, 202)
        done = await post(client, "Wait", {}, Idempotency_Key="k-2", Prefer="wait=30")
        assert (done.status, done.json["reply"]) == (200, "go")
        assert (await client.call("GET", where, role="reader")).json == done.json
        again = await post(client, "Add", ADD, Idempotency_Key="k-1")
        assert (again.status, again.json) == (200, answers[0].json), "what has ended is answered without a wait"
        listed = (await client.call("GET", "/api/turns?limit=2", role="reader")).json
        rest = (await client.call("GET", f"/api/turns?limit=2&after={listed['next_after']}", role="reader")).json
        assert [each["summary"]["command_id"] for each in rest["items"]] == ["k-1"]
    async with served(tmp_path, workspaces=("one",), actors=(Stock,)) as client:
        assert (await post(client, "Add", ADD, Idempotency_Key="k-1")).json == answers[0].json, "also after a restart"
    assert Stock.ran == [3]


async def test_a_turn_that_fails_is_an_answer_and_what_cannot_be_sent_is_refused_in_words(tmp_path: Path) -> None:
    async with served(tmp_path, actors=(Stock,)) as client:
        failed = await post(client, "Break", {}, Idempotency_Key="k", Prefer="wait=30")
        assert (failed.status, failed.json["status"]) == (200, "failed")
        assert failed.json["error"] == {
            "type": "ActorFailedError",
            "message": "it broke loudly",
            "type_name": "RuntimeError",
        }
        retried = await client.call("POST", "/api/turns/k/retry", {"reason": "again"}, role="operator")
        assert retried.json["summary"]["by"] == failed.json.get("by", "admin@one"), "the requester stays who it was"
        assert (await client.call("POST", "/api/turns/k/abandon", {"reason": " "})).status == 422
        ended = await client.call("POST", "/api/turns/k/abandon", {"reason": "no use"})
        assert (ended.status, ended.code) == (404, "turn_not_found"), ended
        for command, body, status, words in (
            ("Nothing", {}, 422, "takes no command [Nothing]; expected one of [Add, Break, Wait]"),
            ("Add", {"amount": "x"}, 422, "amount: Input should be a valid integer"),
            ("Add", {"amount": 1, "by": "the boss"}, 422, "by: Extra inputs are not permitted"),
            ("Add", [], 422, "Input should be a valid dictionary"),
        ):
            said = await post(client, command, body)
            assert (said.status, words in said.json["error"]["message"]) == (status, True), said
        assert (await client.call("POST", "/api/actors/nobody/k/Add", {})).code == "unknown_actor"
        assert (await post(client, "Add", ADD, Idempotency_Key="a/b")).status == 422
        assert not Stock.ran
        forked = await client.call("POST", "/api/turns/k/fork", {"at": 1, "new_id": "f"})
        assert forked.status in (200, 422), forked
        assert (await client.call("POST", "/api/restarts", {"journal": "stock/a"})).code == "actor_not_stopped"
        actors = (await client.call("GET", "/api/actors", role="reader")).json["items"]
        assert "stock/a" in {each["journal"] for each in actors}


async def test_the_document_has_the_fields_and_the_reply_of_each_command(tmp_path: Path) -> None:
    async with served(tmp_path, actors=(Stock,)) as client:
        document = (await client.call("GET", "/openapi.json", role=None, workspace="")).json
        said = document["paths"]["/api/actors/stock/{key}/Add"]["post"]
        schemas = document["components"]["schemas"]
        assert said["description"] == "Add something to the stock."
        fields = schemas["stock.Add.Command"]
        assert set(fields["properties"]) == {"amount", "what"}
        assert fields["additionalProperties"] is False
        assert fields["properties"]["what"]["$ref"] == "#/components/schemas/stock.Add.Command.Part", "types may recur"
        answer = said["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        reply = schemas[answer]["properties"]["reply"]["anyOf"][0]["$ref"].rpartition("/")[2]
        assert set(schemas[reply]["properties"]) == {"total", "seen"}
        assert "/api/actors/circuits/{key}/RunChain" not in document["paths"], "it is not sent by hand"


# --- who may ---------------------------------------------------------------------------------------


async def _adopt(loom: Loom, **rules: str) -> None:
    """Let each role send just one command, by a version that two people brought."""
    given = json.loads(json.dumps(PERMISSIONS.document))
    document = {
        **{name: part for name, part in given.items() if name not in ("language", "semantics")},
        "name": PERMISSIONS.name,
        "rules": [
            {
                "name": role,
                "when": [["role", "=", role], ["actor_type", "=", "stock"], ["command", "=", command]],
                "effect": "allow",
                "why": "its own",
            }
            for role, command in rules.items()
        ],
    }
    version = await loom.policies.register(Table.of(document), by="vera", reason="finer")
    await loom.policies.adopt(version.version, by="wim", reason="finer")


async def test_the_adopted_policy_says_who_may_send_what_and_refusals_are_journaled(tmp_path: Path) -> None:
    async with served(tmp_path, actors=(Stock, Asker), workspaces=("one",)) as client:
        for role in ("reader", "approver"):
            for _ in range(3):
                assert (await post(client, "Add", ADD, role=role)).status == 403
        await _adopt(client.loom(), approver="Add", operator="Wait")
        assert (await post(client, "Add", ADD, role="approver")).status in (200, 202)
        assert (await post(client, "Wait", {}, role="operator")).status in (200, 202)
        for role, command in (("operator", "Add"), ("admin", "Add"), ("approver", "Wait")):
            refused = await post(client, command, {"not": "its fields"}, role=role)
            assert (refused.status, refused.code) == (403, "forbidden"), "who may not is not told what is wrong"
        assert (await client.call("POST", "/api/actors/nobody/k/Add", {}, role="reader")).status == 403
        written = [
            each.entry
            async for each in client.loom().store.read(REFUSALS_JOURNAL)
            if isinstance(each.entry, CommandRefusedEntry)
        ]
        adopted = client.loom().policies.adopted(PERMISSIONS.name)
        assert adopted is not None
        assert [(each.role, each.actor_type, each.command) for each in written] == [
            ("reader", "stock", "Add"),
            ("approver", "stock", "Add"),
            ("operator", "stock", "Add"),
            ("admin", "stock", "Add"),
            ("approver", "stock", "Wait"),
            ("reader", "nobody", "Add"),
        ], "equal ones within a minute are one entry"
        assert [each.policy == adopted.hash for each in written] == [False, False, True, True, True, True]
        assert all(str(each.identity_source).startswith("api_key:") for each in written)
    async with served(tmp_path, actors=(Stock, Asker), workspaces=("one",)) as client:
        assert (await post(client, "Add", ADD, role="operator")).status == 403, "what a person adopted stays adopted"


def test_the_version_of_the_permissions_is_the_one_that_is_registered_everywhere() -> None:
    assert PERMISSIONS.evaluate(
        {"role": "operator", "name": "x", "actor_type": "a", "key": "k", "command": "C"}
    ).effect == ("allow")


async def test_who_asks_is_looked_at_before_what_is_asked(tmp_path: Path) -> None:
    async with served(tmp_path, actors=(Stock,), failed_keys_per_minute=10_000) as client:
        for method, where in (
            ("GET", "/api/drift"),
            ("GET", "/api/decisions?limit=many"),
            ("GET", "/api/runs?nothing=1"),
            ("POST", "/api/actors/stock/a/Add?limit=x"),
            ("GET", "/api/turns?status=odd"),
        ):
            assert (await client.call(method, where, {}, role=None, workspace="")).status == 401, where
            assert (await client.call(method, where, {}, role=None)).status == 401, where
            assert (await client.call(method, where, {})).status == 422, where


async def test_a_parameter_is_known_in_both_spellings_and_refused_in_both_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        run = {"circuit_id": "CX01_INTENT_DETECTION", "client_id": "c-1", "inputs": {"business_profile": "x"}}
        assert (await client.call("POST", "/api/circuits/execute", run)).status == 200
        for name in ("clientId", "client_id"):
            found = (await client.call("GET", f"/api/circuits/audit?{name}=c-1")).json
            assert found["metrics"]["total_executions"] == 1
            found = (await client.call("GET", f"/api/circuits/audit?{name}=c-2")).json
            assert found["metrics"]["total_executions"] == 0, "it filters in either spelling"
            key = client.keys["one", "admin"]
            where = f"/api/runs?{'workspaceId' if name == 'clientId' else 'workspace_id'}=one"
            assert (await client.call("GET", where, key=key, workspace="")).status == 200
        both = await client.call("GET", "/api/circuits/audit?clientId=c-1&client_id=c-2")
        assert (both.status, "two spellings" in both.json["error"]["message"]) == (422, True)


@given(st.lists(st.text(max_size=30), max_size=3))
def test_a_preference_that_is_malformed_is_no_preference(texts: list[str]) -> None:
    assert 0 <= wait_s_of(texts, most=5) <= 5


def test_a_preference_is_read_as_it_is_written() -> None:
    assert [
        wait_s_of([text], most=60) for text in ("wait=5", "respond-async, wait=7", "WAIT = 900;x=y", "wait=-1", "")
    ] == [
        5,
        7,
        60,
        0,
        0,
    ]
