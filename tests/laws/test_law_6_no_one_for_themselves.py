"""Law 6: no one approves, reinstates, adopts or re-arms for themselves, on any edge, under any of their identities.

Every operation that is done in someone's name is either tried here by the person who gains by it, or said to permit
nothing to the person who does it; a new one has to be put in one of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.errors import ControlError, SeparationOfDutiesError
from loom.extension import installed
from loom.identity import Edge, Identity
from loom.journal.control import control_call
from loom.operations import Operations
from tests.actors.support import until
from tests.evolution.test_suggestions import Seller, suggested
from tests.people.support import Ask, Asking, keyed
from tests.web.support import served

ME = "maria"

TABLE: dict[str, Any] = {
    "format": "loom.table/1",
    "name": "refunds",
    "facts": {"amount": {"type": "integer", "min": 0, "max": 100}},
    "rules": [{"name": "small", "when": [["amount", "<=", 10]], "effect": "allow", "why": "it is small"}],
    "otherwise": {"name": "large", "effect": "deny", "why": "it is large"},
}

PERMITTING: Mapping[str, Mapping[str, Any]] = {
    "approvals.deny": {"id": "APPROVAL", "comment": "no"},
    "approvals.grant": {"id": "APPROVAL"},
    "gate.reinstate": {"agent": ME, "reason": "I am fine"},
    "people.absent": {"name": "rosa", "since": "2026-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z", "delegate": ME},
    "people.disown": {"name": ME, "identity": "oidc:https://id.example/7"},
    "people.give": {"name": ME, "role": "cfo"},
    "people.recognise": {"name": ME, "identity": "api_key:9"},
    "policies.adopt": {"version": "VERSION", "reason": "I like it"},
    "policies.register": {"table": TABLE, "adopt": True},
    "routing.rearm": {"reason": "go on", "cause": "none"},
    "suggestions.adopt": {"id": "SUGGESTION", "reason": "I like it"},
}
"""What is done by the person whom it permits something; `routing.rearm` by what the switch stops."""

NOT_FOR_ONESELF = frozenset(
    {
        "actors.restart",
        "actors.send",
        "approvals.inform",
        "approvals.send_back",
        "approvals.show",
        "archives.add",
        "archives.encrypt",
        "archives.prune",
        "circuits.close",
        "circuits.erase",
        "circuits.strategy",
        "gate.register",
        "gate.retire",
        "gate.suspend",
        "oversight.answer",
        "oversight.sample",
        "people.add",
        "people.back",
        "people.invite",
        "people.leave",
        "people.take",
        "people.withdraw",
        "policies.audit",
        "proof.cosigned",
        "proof.rotate",
        "proof.sign",
        "replay.compare",
        "replay.judge",
        "replay.keep",
        "retention.adopt",
        "retention.withdraw",
        "routing.kill",
        "routing.mode",
        "runs.end",
        "contradictions.resolve",
        "notices.retry",
        "subjects.erase",
        "subjects.export",
        "subjects.hold",
        "subjects.lift",
        "subjects.prune",
        "subjects.prune_clear",
        "suggestions.approve",
        "suggestions.reject",
        "turns.abandon",
        "turns.fork",
        "turns.retry",
        "web.issue",
        "web.revoke",
    }
)
"""What suspends, keeps, looks, or is a duty of one person: it gives no power to the person who does it."""


async def _prepared(loom: Loom) -> tuple[dict[str, str], asyncio.Task[str]]:
    """Leave one of everything that she may not answer herself; return the ids, and the turn that waits."""
    suggestion = await suggested(loom)
    await loom.suggestions.approve(suggestion.suggestion_id, by=ME, reason="I found it")
    operations = Operations(loom)
    version: Any = await operations.call("policies.register", {"table": {**TABLE, "name": "fees"}, "by": ME})
    await operations.call("gate.suspend", {"agent": ME, "by": "root", "reason": "looked at"})
    await operations.call("routing.kill", {"by": "root", "reason": "looked at"})
    for name in (ME, "rosa"):
        await loom.people.add(name, by="root")
        await loom.people.give(name, "vp", by="root")
    await loom.people.recognise(ME, "oidc:https://id.example/7", by="root")
    asking = asyncio.create_task(loom.actor(Asking, "one").ask(Ask(), by=ME))

    async def found() -> str | None:
        return next((each.approval_id for each in await loom.approvals.pending()), None)

    approval: str = await until(found)
    ids = {"APPROVAL": approval, "VERSION": str(version["hash"]), "SUGGESTION": suggestion.suggestion_id}
    return ids, asking


def _given(name: str, ids: Mapping[str, str], *, by: str) -> dict[str, Any]:
    said = {key: ids.get(value, value) if isinstance(value, str) else value for key, value in PERMITTING[name].items()}
    return {**said, "by": "loom" if name == "routing.rearm" else by}


def test_every_operation_in_a_name_is_tried_or_said_to_permit_nothing() -> None:
    async def names() -> set[str]:
        async with Loom.open("sqlite://", extensions=list(installed().values()), by="root") as loom:
            return {name for name, fields in Operations(loom).arguments().items() if "by" in fields}

    known = asyncio.run(names())
    assert known - set(PERMITTING) - NOT_FOR_ONESELF == set(), (
        "can it permit something to the person in whose name it is done? Then try that in PERMITTING; else name it in "
        "NOT_FOR_ONESELF"
    )
    assert set(PERMITTING) <= known
    assert set(PERMITTING).isdisjoint(NOT_FOR_ONESELF)


async def test_no_one_permits_themselves_anything_over_python_the_socket_and_the_shell(tmp_path: Path) -> None:
    refusals = {each.__name__ for each in _every(SeparationOfDutiesError)}
    config = LoomConfig(data=tmp_path / "data")
    brought = [each for each in installed().values() if each.name != "web"]
    async with Loom.open(config, actors=[Asking, Seller], extensions=brought, by="root") as loom:
        ids, asking = await _prepared(loom)
        operations, before = Operations(loom), await _last(loom)
        for name in PERMITTING:
            for edge in (Edge("python"), Edge("shell"), Edge("socket", uid=1)):
                for by in (ME, ME.upper()):
                    with pytest.raises(SeparationOfDutiesError):
                        await operations.call(name, _given(name, ids, by=by), edge=edge)
            with pytest.raises(ControlError) as refused:
                await control_call(loom.files.lock, name, _given(name, ids, by=ME))
            assert refused.value.type_name in refusals, name
        sso = Identity("m.berg", "oidc:https://id.example/7", "http")
        for who in (Identity(ME), sso):
            with pytest.raises(SeparationOfDutiesError):
                await loom.approvals.grant(ids["APPROVAL"], by=who)
            with pytest.raises(SeparationOfDutiesError):
                await loom.policies.adopt(ids["VERSION"], by=loom.people.known_as(who))
        assert await _last(loom) == before, "nothing of it was written"
        await loom.approvals.grant(ids["APPROVAL"], by=keyed("rosa"))
        assert await asking == "granted by rosa with []"


async def test_no_one_permits_themselves_anything_over_http(tmp_path: Path) -> None:
    async with served(tmp_path, actors=(Asking,)) as client:
        loom, me = client.loom(), "admin@one"
        for name in (me, "approver@one"):
            await loom.people.add(name, by="root")
            await loom.people.give(name, "vp", by="root")
        await loom.standings.suspend(me, by="root", reason="looked at")
        sent = await client.call("POST", "/api/actors/asking/one/Ask", {}, role="admin", prefer="wait=0")
        assert sent.status in (200, 202), sent
        [request] = await until(loom.approvals.pending)
        assert str(request.requester).startswith(f"{me} (api_key:"), "the requester is whose key it was"
        before = await _last(loom)
        tried: dict[str, dict[str, Any]] = {
            f"/api/approvals/{request.approval_id}/grant": {},
            f"/api/approvals/{request.approval_id}/deny": {"comment": "no"},
            "/api/standings/reinstate": {"subject": me, "reason": "I am fine"},
            f"/api/people/{me}/give": {"role": "cfo"},
            f"/api/people/{me}/recognise": {"identity": "oidc:x/1"},
        }
        for where, body in tried.items():
            said = await client.call("POST", where, body, role="admin")
            assert (said.status, said.code[:5]) == (403, "self_"), (where, said)
        assert await _last(loom) == before
        granted = await client.call("POST", f"/api/approvals/{request.approval_id}/grant", {}, role="approver")
        assert (granted.status, granted.json["role"]) == (200, "vp")


async def _last(loom: Loom) -> int:
    """Return the last position on disk; a view may show an entry before its append is acknowledged."""
    return max([each.position async for each in loom.store.read_all()])


def _every(cls: type[Exception]) -> set[type[Exception]]:
    return {cls}.union(*(_every(each) for each in cls.__subclasses__()))
