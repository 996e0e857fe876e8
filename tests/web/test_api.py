"""The API by its callers: the requests of its callers verbatim, who may do what, and nothing that breaks it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.circuits import circuit
from loom.journal import Append, draft
from loom.journal.kinds import CommandReceivedEntry, PrunedEntry
from loom.web.keys import keys_of
from tests.web.support import ROLES, Ask, Asker, Client, Said, served

EXECUTE = {
    "circuitId": "CX01_INTENT_DETECTION",
    "clientId": "client-123",
    "inputs": {"business_profile": "SaaS B2B", "campaign_goal": "Lead generation", "historical_context": {}},
}
CHAIN = {
    "clientId": "client-123",
    "circuits": [
        {"circuitId": "CX01_INTENT_DETECTION", "inputs": {"business_profile": "SaaS B2B"}},
        {"circuitId": "CX02_AUDIENCE_CLASSIFICATION", "inputs": {"location": "US", "industry": "Tech"}},
        {"circuitId": "CX04_CONTENT_STRATEGY_SELECTION", "inputs": {}},
    ],
}
CYCLE = {"clientId": "client-123", "audienceSegment": "enterprise", "engagementScore": 0.65, "conversionScore": 0.32}
HEALTH = {"clientId": "client-123", "audienceSegment": "enterprise"}


# --- what its callers send, verbatim -----------------------------------------------------------------


async def test_one_circuit_is_executed_as_its_callers_have_it(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        said = await client.call("POST", "/api/circuits/execute", EXECUTE)
        assert said.status == 200
        assert {name: said.json[name] for name in ("circuit_id", "success", "data", "decision_trace")} == {
            "circuit_id": "CX01_INTENT_DETECTION",
            "success": True,
            "data": {"detected_intent": "lead_generation"},
            "decision_trace": ["ENTER:CX01_INTENT_DETECTION", "SUCCESS:CX01_INTENT_DETECTION"],
        }
        assert said.json["execution_id"]


async def test_a_chain_and_its_audit_are_as_its_callers_have_them(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        chain = (await client.call("PUT", "/api/circuits/execute", CHAIN)).json
        assert chain["success"]
        assert [each["circuit_id"] for each in chain["results"]] == [each["circuitId"] for each in CHAIN["circuits"]]  # type: ignore[index]
        assert set(chain["final_output"]) == {"detected_intent", "audience_segment", "content_strategy_id"}
        assert len(chain["total_decision_path"]) == 6
        where = "/api/circuits/audit?clientId=client-123&circuitId=CX01_INTENT_DETECTION&limit=100&days=30"
        audit = (await client.call("GET", where, role="reader")).json
        assert (audit["workspace_id"], audit["client_id"], audit["circuit_id"]) == (
            "one",
            "client-123",
            "CX01_INTENT_DETECTION",
        )
        [execution] = audit["execution_history"]
        assert execution["execution_id"] == chain["execution_id"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", execution["timestamp"])
        assert execution["decision_path"] == ["ENTER:CX01_INTENT_DETECTION", "SUCCESS:CX01_INTENT_DETECTION"]
        assert {"total_executions", "success_rate", "avg_latency_ms", "error_count"} <= audit["metrics"].keys()


async def test_autonomy_counts_reports_and_shows_as_its_callers_have_it(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        updated = (await client.call("PATCH", "/api/circuits/autonomy", CYCLE)).json
        assert updated["message"] == "Metrics updated"
        assert updated["updated_metrics"]["engagement_score"] == 0.65
        assert updated["health_status"] == {"needs_correction": False, "reason": "Strategy performing within baseline"}
        from loom.circuits import Circuits

        circuits = Circuits.of(client.loom())
        for name in ("strategy-456", "strategy-789"):
            await circuits.add_strategy("client-123", "enterprise", name, success_rate=0.8, by="mira")
        for score in (0.7, 0.4, 0.4, 0.4):
            await client.call("PATCH", "/api/circuits/autonomy", {**CYCLE, "engagementScore": score})
        health = (await client.call("POST", "/api/circuits/autonomy", HEALTH, role="reader")).json
        assert health["needs_correction"]
        assert health["health_status"]["action_type"] == "rotate_strategy"
        assert health["health_status"]["confidence"] == 0.95
        assert health["correction_result"]["success"]
        assert health["correction_result"]["log_id"].startswith("correction_")
        assert health["current_metrics"]["cycle_count"] == 5
        again = (await client.call("POST", "/api/circuits/autonomy", HEALTH, role="reader")).json
        assert again == health, "asking counts nothing"
        shown = (await client.call("GET", "/api/circuits/autonomy?action=dashboard&days=30", role="reader")).json
        assert shown["summary"]["successful_rotations"] == 1
        [state] = shown["strategy_states"]
        assert (state["client_id"], state["strategy_id"], state["decline_cycles"]) == ("client-123", "strategy-456", 0)
        assert (state["engagement_score"], state["cycle_count"]) == (None, 0), "the new one has its own figures"


# --- what else is read -----------------------------------------------------------------------------


async def test_everything_that_is_read_is_what_the_journal_holds_page_by_page(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        for number in range(5):
            await client.call("POST", "/api/circuits/execute", {**EXECUTE, "clientId": f"c-{number}"})
        first = (await client.call("GET", "/api/decisions?limit=3", role="reader")).json
        rest = (await client.call("GET", f"/api/decisions?limit=3&after={first['next_after']}", role="reader")).json
        ids = [each["decision_id"] for each in first["items"] + rest["items"]]
        assert len(set(ids)) == 5
        assert rest["next_after"] is None
        one = (await client.call("GET", f"/api/decisions/{ids[0]}", role="reader")).json
        trace = (await client.loom().traces.get(ids[0])).model_dump(mode="json")
        assert {name: value for name, value in one.items() if name != "explanation"} == trace
        why = (await client.call("GET", f"/api/decisions/{ids[0]}/why", role="reader")).json
        assert why["sections"]
        policies = (await client.call("GET", "/api/policies", role="reader")).json["items"]
        assert "circuit-cx01-intent-detection" in {each["name"] for each in policies}
        version = policies[0]["hash"]
        assert (await client.call("GET", f"/api/policies/{version}", role="reader")).json["hash"] == version
        journals = (await client.call("GET", "/api/journals?limit=2", role="reader")).json
        assert journals["next_after"] == journals["items"][-1]["journal"]
        entries = (await client.call("GET", "/api/journals/circuits/c-1?limit=2", role="reader")).json
        assert [each["sequence"] for each in entries["items"]] == [1, 2]
        judged = {"under": one["decision"]["policy"]["hash"], "policy": "circuit-cx01-intent-detection"}
        found = (await client.call("POST", "/api/replay/judge", judged, role="reader")).json
        assert found["cases"] == 5
        opening = await client.call("POST", "/api/replay/judge", {**judged, "open_why": "a complaint"}, role="reader")
        assert (opening.status, "none of the readers" in opening.json["error"]["message"]) == (403, True)
        async with client.loom().runs.run(run_id="season"):
            pass
        runs = (await client.call("GET", "/api/runs", role="reader")).json["items"]
        assert [each["run_id"] for each in runs] == ["season"]
        page = await client.call("GET", "/api/runs/season/report", role="reader")
        assert page.headers["content-type"].startswith("text/html")
        assert (await client.call("GET", "/api/runs/nothing", role="reader")).status == 404
        assert (await client.call("GET", "/api/decisions/nothing", role="reader")).status == 404


async def test_an_approval_is_answered_in_the_name_of_the_key_and_of_nobody_else(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        asked = asyncio.create_task(client.loom().actor(Asker, "a").ask(Ask(), by="robin"))
        while not (pending := (await client.call("GET", "/api/approvals", role="reader")).json["items"]):
            await asyncio.sleep(0.01)
        where = f"/api/approvals/{pending[0]['approval_id']}/grant"
        opened = await client.call("POST", where.replace("grant", "open"), {}, role="approver")
        assert (opened.status, opened.json) == (200, pending[0]), "nothing in it is sealed: there is nothing to journal"
        forged = await client.call("POST", where, {"comment": "fine", "by": "the boss"}, role="approver")
        assert (forged.status, forged.code) == (422, "bad_request")
        granted = await client.call("POST", where, {"comment": "fine"}, role="approver")
        assert granted.status == 200
        assert await asked
        [chain] = await client.loom().approvals.list(status="granted")
        assert "approver@one" in chain.model_dump_json()
        assert (await client.call("POST", where, {"comment": "again"}, role="approver")).status in (200, 409)

        figures = (await client.call("GET", "/api/oversight", role="reader")).json
        assert [(each["person"], each["sources"]) for each in figures["people"]] == [("approver@one", ["api_key"])]
        drawn = (await client.call("POST", "/api/oversight/sample", {"share": 1.0}, role="operator")).json
        [case] = (await client.call("GET", "/api/oversight/looks", role="reader")).json["items"]
        assert (drawn["new"], "approver@one" in str(case)) == (1, False)
        look = f"/api/oversight/looks/{case['look_id']}/answer"
        assert (await client.call("POST", look, {"granted": True}, role="approver")).status == 403
        again = await client.call("POST", look, {"granted": False}, role="admin")
        assert (again.status, again.json["agrees"]) == (200, False)


# --- who may do what -------------------------------------------------------------------------------

ALLOWED = {
    ("POST", "/api/circuits/execute"): ("operator", "admin"),
    ("PUT", "/api/circuits/execute"): ("operator", "admin"),
    ("GET", "/api/circuits/audit"): ROLES,
    ("POST", "/api/circuits/autonomy"): ROLES,
    ("PATCH", "/api/circuits/autonomy"): ("operator", "admin"),
    ("GET", "/api/circuits/autonomy"): ROLES,
    ("GET", "/api/decisions"): ROLES,
    ("GET", "/api/facets"): ROLES,
    ("GET", "/api/decisions/{decision_id}"): ROLES,
    ("GET", "/api/decisions/{decision_id}/why"): ROLES,
    ("GET", "/api/circuits/escalations"): ROLES,
    ("POST", "/api/circuits/escalations/{escalation_id}/close"): ("approver", "admin"),
    ("GET", "/api/approvals"): ROLES,
    ("GET", "/api/approvals/{approval_id}"): ROLES,
    ("POST", "/api/approvals/{approval_id}/open"): ("approver", "admin"),
    ("POST", "/api/approvals/{approval_id}/grant"): ("approver", "admin"),
    ("POST", "/api/approvals/{approval_id}/deny"): ("approver", "admin"),
    ("POST", "/api/approvals/{approval_id}/send-back"): ("approver", "admin"),
    ("POST", "/api/approvals/{approval_id}/inform"): ("operator", "admin"),
    ("POST", "/api/approvals/{approval_id}/preview"): ("approver", "admin"),
    ("GET", "/api/approvals/{approval_id}/earlier"): ROLES,
    ("GET", "/api/contradictions"): ROLES,
    ("GET", "/api/contradictions/{situation}"): ROLES,
    ("POST", "/api/contradictions/{situation}/resolve"): ("approver", "admin"),
    ("GET", "/api/oversight"): ROLES,
    ("POST", "/api/oversight/sample"): ("operator", "admin"),
    ("GET", "/api/oversight/looks"): ROLES,
    ("POST", "/api/oversight/looks/{look_id}/answer"): ("approver", "admin"),
    ("GET", "/api/people"): ROLES,
    ("POST", "/api/people"): ("admin",),
    ("POST", "/api/people/{name}/give"): ("admin",),
    ("POST", "/api/people/{name}/take"): ("admin",),
    ("POST", "/api/people/{name}/recognise"): ("admin",),
    ("POST", "/api/people/{name}/disown"): ("admin",),
    ("POST", "/api/people/{name}/absent"): ("approver", "admin"),
    ("POST", "/api/people/{name}/back"): ("approver", "admin"),
    ("POST", "/api/people/{name}/leave"): ("admin",),
    ("GET", "/api/invitations"): ("admin",),
    ("POST", "/api/invitations"): ("admin",),
    ("POST", "/api/invitations/{invitation_id}/withdraw"): ("admin",),
    ("GET", "/api/policies"): ROLES,
    ("GET", "/api/policies/{version}"): ROLES,
    ("GET", "/api/runs"): ROLES,
    ("GET", "/api/runs/{run_id}"): ROLES,
    ("GET", "/api/runs/{run_id}/report"): ROLES,
    ("POST", "/api/replay/judge"): ROLES,
    ("GET", "/api/drift"): ROLES,
    ("GET", "/api/journals"): ROLES,
    ("POST", "/api/actors/{actor_type}/{key}/{command}"): ("operator", "admin"),
    ("POST", "/api/actors/asker/{key}/Ask"): ("operator", "admin"),
    ("POST", "/api/actors/strategy/{key}/CountCycle"): ("operator", "admin"),
    ("POST", "/api/actors/strategy/{key}/RegisterStrategy"): ("operator", "admin"),
    ("GET", "/api/actors"): ROLES,
    ("POST", "/api/restarts"): ("operator", "admin"),
    ("GET", "/api/turns"): ROLES,
    ("GET", "/api/turns/{turn_id}"): ROLES,
    ("GET", "/api/turns/{turn_id}/events"): ROLES,
    ("GET", "/api/entries/events"): ROLES,
    ("POST", "/api/turns/{turn_id}/retry"): ("operator", "admin"),
    ("POST", "/api/turns/{turn_id}/fork"): ("operator", "admin"),
    ("POST", "/api/turns/{turn_id}/abandon"): ("operator", "admin"),
    ("GET", "/api/standings"): ROLES,
    ("POST", "/api/standings/suspend"): ("operator", "admin"),
    ("POST", "/api/standings/reinstate"): ("approver", "admin"),
    ("POST", "/api/standings/retire"): ("admin",),
    ("GET", "/api/switches"): ROLES,
    ("POST", "/api/switches/{name}/kill"): ("operator", "admin"),
    ("POST", "/api/switches/{name}/rearm"): ("approver", "admin"),
    ("GET", "/api/journals/{actor_type}/{key}"): ROLES,
}
OPEN = {("GET", "/health"), ("GET", "/openapi.json")}


async def test_every_route_is_in_the_matrix_and_every_role_gets_just_its_own(tmp_path: Path) -> None:
    async with served(tmp_path, failed_keys_per_minute=10_000_000, stream_max_s=0.01) as client:
        document = (await client.call("GET", "/openapi.json", role=None, workspace="")).json
        routes = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        assert routes | {("GET", "/openapi.json")} == set(ALLOWED) | OPEN, "a new route has to say who may use it"
        for (method, path), roles in ALLOWED.items():
            where = re.sub(r"\{\w+\}", "x", path)
            body: Any = {} if method in ("POST", "PUT", "PATCH") else None
            for role in ROLES:
                said = await client.call(method, where, body, role=role)
                assert (said.status == 403) == (role not in roles), (method, path, role, said)
                assert said.status < 500
            assert (await client.call(method, where, body, role=None)).status == 401
            assert (await client.call(method, where, body, key="loom_" + "0" * 16 + "_" + "0" * 64)).status == 401
            foreign = await client.call(method, where, body, role="admin", workspace="one", of="two")
            nowhere = await client.call(method, where, body, role="admin", workspace="three", of="two")
            assert (foreign.status, foreign.body) == (nowhere.status, nowhere.body)
            assert foreign.status == 401


def _refs(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(_refs(each) for each in part.values()))
    return set().union(*(_refs(each) for each in part)) if isinstance(part, list) else set()


async def test_the_document_is_whole_and_says_the_shape_of_every_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        document = (await client.call("GET", "/openapi.json", role=None, workspace="")).json
    for ref in _refs(document):
        part = document
        for step in ref.removeprefix("#/").split("/"):
            part = part[step]
        assert part is not None, ref
    for path, item in document["paths"].items():
        for method, said in item.items():
            assert said["summary"], path
            content = said["responses"]["200"]["content"]
            assert content.keys() & {"text/html", "text/event-stream"} or content["application/json"][
                "schema"
            ].keys() & {"$ref", "type"}, path
            assert method not in ("post", "put", "patch") or said["requestBody"]["required"], path
            if path != "/health":
                assert said["responses"]["401"]["content"]["application/json"]["schema"] == {
                    "$ref": "#/components/schemas/ErrorAnswer"
                }


async def test_nothing_of_one_workspace_is_seen_from_another(tmp_path: Path) -> None:
    canary = "canary-7f3a9b"
    async with served(tmp_path) as client:
        await client.call("POST", "/api/circuits/execute", {**EXECUTE, "clientId": canary}, workspace="one")
        [decision] = (await client.call("GET", "/api/decisions", workspace="one")).json["items"]
        for where in (
            "/api/decisions",
            "/api/circuits/audit",
            "/api/journals",
            f"/api/journals/circuits/{canary}",
            "/api/runs",
            f"/api/decisions/{decision['decision_id']}",
            f"/api/decisions/{decision['decision_id']}/why",
            f"/api/circuits/audit?clientId={canary}",
            "/api/circuits/autonomy",
            "/api/approvals",
            "/api/policies",
        ):
            said = await client.call("GET", where, workspace="two", role="admin")
            assert canary.encode() not in said.body.replace(where.encode(), b"") or b"client_id" in said.body
            if "audit" not in where:
                assert canary.encode() not in said.body, where
            else:
                assert said.json["execution_history"] == []


async def test_a_key_that_was_revoked_opens_nothing_from_that_moment(tmp_path: Path) -> None:
    from loom.web.keys import keys_of

    async with served(tmp_path) as client:
        keys = keys_of(client.loom())
        text = await keys.issue("vera", "admin", by="mira")
        assert (await client.call("GET", "/api/runs", key=text)).status == 200
        assert (await client.call("GET", "/api/runs", role=None, X_API_Key=text)).status == 200
        await keys.revoke(text.split("_")[1], by="mira", reason="she left")
        assert (await client.call("GET", "/api/runs", key=text)).status == 401
        raw = b"".join([each.body or b"" async for each in client.loom().store.read_all()])
        assert text.split("_")[2].encode() not in raw, "only the hash is kept"


# --- bad input -------------------------------------------------------------------------------------

BAD: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"{", 400),
    (b"null", 422),
    (b"[]", 422),
    (b"\xff\xfe", 400),
    (b'{"a": 1, "a": 2}', 400),
    (b'{"clientId": "c", "clientId": "d", "circuitId": "CX01_INTENT_DETECTION"}', 400),
    (b'{"a": NaN}', 400),
    (b"[" * 100_000 + b"]" * 100_000, 400),
    (b'{"circuitId": "CX01_INTENT_DETECTION"}', 422),
    (b'{"circuitId": 7, "clientId": "c"}', 422),
    (b'{"circuitId": "X", "clientId": "c", "inputs": []}', 422),
    (b'{"circuitId": "CX01_INTENT_DETECTION", "clientId": "a/b"}', 422),
    (b'{"circuitId": "CX01_INTENT_DETECTION", "clientId": "c", "approver": "me"}', 422),
    (b'{"circuitId": "CX77_NONE", "clientId": "c"}', 404),
    (b'{"circuitId": "CX01_INTENT_DETECTION", "clientId": "c"}', 422),
    (b'{"circuitId": "CX01_INTENT_DETECTION", "clientId": "c", "inputs": {"business_profile": "\\ud800"}}', 422),
]


@pytest.mark.parametrize(("raw", "status"), BAD, ids=range(len(BAD)))
async def test_bad_bodies_are_refused_with_a_reason(tmp_path: Path, raw: bytes, status: int) -> None:
    async with served(tmp_path) as client:
        said = await client.call("POST", "/api/circuits/execute", raw=raw)
        assert (said.status, said.json.keys()) == (status, {"error"}), said.body
        assert said.json["error"]["message"]


async def test_bodies_that_are_too_long_are_refused_declared_or_not(tmp_path: Path) -> None:
    async with served(tmp_path, max_body_bytes=10_000) as client:
        long = json.dumps({**EXECUTE, "inputs": {"business_profile": "x" * 20_000}}).encode()
        assert (await client.call("POST", "/api/circuits/execute", raw=long)).status == 413

        def chunked() -> int:
            import http.client

            connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
            key = client.keys["one", "admin"]
            headers = {"Authorization": f"Bearer {key}", "Transfer-Encoding": "chunked"}
            pieces = (b"x" * 1_000 for _ in range(100))
            connection.request(
                "POST", "/api/circuits/execute?workspaceId=one", body=pieces, headers=headers, encode_chunked=True
            )
            status = connection.getresponse().status
            connection.close()
            return status

        assert await asyncio.to_thread(chunked) == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1@evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost:80"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
    ],
    ids=range(8),
)
async def test_other_hosts_and_other_sites_are_not_served(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async with served(tmp_path) as client:
        said = await client.call("GET", "/api/runs", headers=headers)
        assert said.status == status
        assert "access-control-allow-origin" not in said.headers


async def test_a_parameter_that_is_spelled_wrong_is_refused_and_filters_nothing_silently(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        said = await client.call("GET", "/api/circuits/audit?client=c-1")
        assert said.status == 422
        assert said.json["error"]["message"] == (
            "client: not known here; expected before, circuit_id, client_id, days, limit, workspace_id"
        )
        both = await client.call("POST", "/api/circuits/execute", {})
        assert both.json["error"]["message"] == "circuit_id: Field required; client_id: Field required"
        assert (await client.call("GET", "/api/journals/circuits/nobody")).code == "journal_not_found"
        assert (await client.call("GET", "/nothing", role=None)).status == 404
        assert (await client.call("GET", "/api/runs", workspace="", of="one")).status == 401, "two are served"


async def test_what_somebody_asks_for_in_a_wrong_way_is_no_fault_of_the_server(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        await client.call("POST", "/api/circuits/execute", EXECUTE)
        await client.call("POST", "/api/circuits/execute", {**EXECUTE, "circuitId": "CX08_SELF_CORRECTION"})
        [decision] = (await client.call("GET", "/api/decisions")).json["items"]
        policies = (await client.call("GET", "/api/policies")).json["items"]
        other = next(each["hash"] for each in policies if each["name"] != decision["policy_name"])
        judging = {"under": other, "ids": [decision["decision_id"]]}
        judged = await client.call("POST", "/api/replay/judge", judging)
        assert judged.status in (200, 422), judged
        for since in ("2020-01-01", "2020-01-01T00:00:00", "soon"):
            assert (await client.call("GET", f"/api/decisions?since={since}")).status == 422
        assert (await client.call("GET", "/api/decisions?since=2020-01-01T00:00:00Z")).status == 200


async def test_who_counted_a_cycle_is_known(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        await client.call("PATCH", "/api/circuits/autonomy", CYCLE, role="operator")
        [received] = [
            each.entry
            async for each in client.loom().store.read("strategy/client-123:enterprise")
            if isinstance(each.entry, CommandReceivedEntry)
        ]
        assert received.by == "operator@one"


async def test_an_idempotency_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        first = await client.call("POST", "/api/circuits/execute", EXECUTE, role="operator", Idempotency_Key="k-1")
        assert first.status == 200
        other = await client.call("POST", "/api/circuits/execute", EXECUTE, role="admin", Idempotency_Key="k-1")
        assert (other.status, other.code) == (409, "command_conflict")


async def test_what_is_not_done_when_the_patience_ends_is_told_to_come_again(tmp_path: Path) -> None:
    begun = asyncio.Event()

    @circuit("CX50_LONG", category="t", inputs=(), outputs=("n",), failure_mode="mark_as_neutral", success_metric="n")
    async def long(_: Any) -> dict[str, Any]:
        """Take too long."""
        begun.set()
        await asyncio.Event().wait()
        return {"n": 1}

    async with served(tmp_path, patience_s=1, mine=(long,)) as client:
        body = {"circuitId": "CX50_LONG", "clientId": "c", "inputs": {}}
        asked = asyncio.create_task(client.call("POST", "/api/circuits/execute", body))
        await begun.wait()
    said = await asked
    assert (said.status, said.code, said.headers["retry-after"]) == (503, "ending", "1")


async def test_a_client_whose_journal_was_pruned_is_gone(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        assert (await client.call("POST", "/api/circuits/execute", EXECUTE)).status == 200
        loom = client.loom()
        until = (await loom.store.head("circuits/client-123")).sequence
        pruned = PrunedEntry(journal="circuits/client-123", first_sequence=1, last_sequence=until, by="m", reason="x")
        await loom.store.append(Append("loom/archives", 0, [draft(pruned)]))
        await loom.store.prune("circuits/client-123", until=until)
    async with served(tmp_path) as client:
        said = await client.call("POST", "/api/circuits/execute", EXECUTE)
        assert (said.status, said.code) == (410, "actor_pruned"), said


async def test_too_many_requests_with_a_key_are_told_to_wait(tmp_path: Path) -> None:
    async with served(tmp_path, requests_per_minute=5) as client:
        found = [(await client.call("GET", "/api/runs", role="reader")).status for _ in range(7)]
        assert found == [200] * 5 + [429] * 2
        assert int((await client.call("GET", "/api/runs", role="reader")).headers["retry-after"]) >= 1
        assert (await client.call("GET", "/api/runs", role="admin")).status == 200, "another key has its own"


async def test_the_same_idempotency_key_executes_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:

        async def send(body: Any = EXECUTE) -> Said:
            return await client.call("POST", "/api/circuits/execute", body, Idempotency_Key="order-1")

        answers = await asyncio.gather(*(send() for _ in range(8)))
        assert {each.body for each in answers} == {answers[0].body}
        assert answers[0].json["execution_id"] == "order-1"
        conflict = await send({**EXECUTE, "inputs": {"business_profile": "other"}})
        assert (conflict.status, conflict.code) == (409, "command_conflict")
        audit = (await client.call("GET", "/api/circuits/audit")).json
        assert audit["metrics"]["total_executions"] == 1


# --- anything at all -------------------------------------------------------------------------------

json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
FIELDS = (
    "circuitId",
    "clientId",
    "inputs",
    "circuits",
    "audienceSegment",
    "engagementScore",
    "conversionScore",
    "comment",
    "under",
    "policy",
    "ids",
    "business_profile",
)
bodies = st.one_of(json_like, st.dictionaries(st.sampled_from(FIELDS), json_like, max_size=5))
texts = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=12)


async def _no_answer_breaks(client: Client, cases: list[tuple[str, Any, str, dict[str, str]]]) -> None:
    from urllib.parse import quote, urlencode

    for path, body, text, query in cases:
        where = re.sub(r"\{\w+\}", quote(text, safe=""), path)
        document = client.api
        assert document is not None
        for method in ("GET", "POST", "PUT", "PATCH"):
            if (method, path) not in ALLOWED:
                continue
            said = await client.call(
                method, f"{where}?{urlencode(query)}" if query else where, None if method == "GET" else body
            )
            assert said.status < 500, (method, where, query, body, said.body)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted({path for _, path in ALLOWED})),
            bodies,
            texts,
            st.dictionaries(
                st.sampled_from(["limit", "days", "after", "before", "since", "type", "run", "baseline", "current"]),
                st.one_of(texts, st.integers(-(2**70), 2**70).map(str), st.floats().map(str)),
                max_size=3,
            ),
        ),
        min_size=10,
        max_size=30,
    )
)
async def test_nothing_that_is_sent_is_a_fault_of_the_server(
    tmp_path_factory: pytest.TempPathFactory, cases: list[tuple[str, Any, str, dict[str, str]]]
) -> None:
    path = tmp_path_factory.mktemp("api")
    async with served(path, requests_per_minute=10_000_000, stream_max_s=0.01) as client:
        await _no_answer_breaks(client, cases)


async def test_requests_that_are_under_way_are_answered_when_it_ends(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        under_way = [
            asyncio.create_task(client.call("POST", "/api/circuits/execute", {**EXECUTE, "clientId": f"c-{number}"}))
            for number in range(20)
        ]
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    told = [each for each in answers if isinstance(each, Said) and each.status == 200]
    async with served(tmp_path) as client:
        audit = (await client.call("GET", "/api/circuits/audit?limit=1000")).json
        ids = {each["execution_id"] for each in audit["execution_history"]}
        assert {each.json["execution_id"] for each in told} <= ids, "what was answered is there"


# --- whose name it is ------------------------------------------------------------------------------


async def waiting(client: Client) -> dict[str, Any]:
    """Have something asked for, and return the request."""
    await client.loom().actor(Asker, "a").tell(Ask(), by="robin")
    while not (pending := (await client.call("GET", "/api/approvals", role="reader")).json["items"]):
        await asyncio.sleep(0.01)
    found: dict[str, Any] = pending[0]
    return found


async def test_a_denial_needs_a_reason_which_is_journaled_as_it_was_given(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        where = f"/api/approvals/{(await waiting(client))['approval_id']}/deny"
        for body in ({}, {"comment": None}, {"comment": ""}, {"comment": " \n "}, {"comment": 5}):
            refused = await client.call("POST", where, body, role="approver")
            assert (refused.status, refused.code) == (422, "bad_request"), body
            assert "comment" in refused.json["error"]["message"]
        assert (await client.call("GET", "/api/approvals", role="reader")).json["items"], "it still waits"
        denied = await client.call("POST", where, {"comment": "too much"}, role="approver")
        assert (denied.status, denied.json["status"], denied.json["comment"]) == (200, "denied", "too much")


async def test_a_request_is_sent_back_informed_and_answered_with_what_was_shown(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        request = await waiting(client)
        where = f"/api/approvals/{request['approval_id']}"
        assert (await client.call("POST", f"{where}/send-back", {"question": " "}, role="approver")).status == 422
        back = await client.call("POST", f"{where}/send-back", {"question": "why?"}, role="approver")
        assert (back.status, back.json["status"], back.json["question"]) == (200, "pending", "why?")
        told = await client.call("POST", f"{where}/inform", {"information": "so"}, role="operator")
        assert (told.status, told.json.get("question"), told.json["information"]) == (200, None, "so")
        shown = {"rendering": "mine/1", "digest": "ab" * 32, "basis": request["shown"]}
        stale = await client.call("POST", f"{where}/grant", {"shown": shown}, role="approver")
        assert (stale.status, "has changed since" in stale.json["error"]["message"]) == (403, True)
        other = await client.call("POST", f"{where}/grant", {"changes": {"amount": 1}}, role="approver")
        assert other.status == 422
        assert (await client.call("GET", f"{where}/earlier", role="reader")).json["answers"] == []
        assert (await client.call("POST", f"{where}/preview", {"changes": {}}, role="approver")).json["changes"] == {}
        now = {**shown, "basis": told.json["shown"]}
        granted = await client.call("POST", f"{where}/grant", {"shown": now}, role="approver")
        assert (granted.status, granted.json["rendering"], granted.json["rendered"]) == (200, "mine/1", "ab" * 32)


async def test_the_name_of_a_key_is_established_by_the_key(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        asked = await waiting(client)
        assert (asked["requested_by"], asked["requested_identity_source"], asked["requested_via"]) == (
            "robin",
            "claimed",
            "python",
        )
        where = f"/api/approvals/{asked['approval_id']}/grant"
        granted = (await client.call("POST", where, {}, role="approver")).json
        [key] = [each for each in keys_of(client.loom()).all() if each.name == granted["answered_by"]]
        assert (granted["answered_identity_source"], granted["answered_via"]) == (f"api_key:{key.key_id}", "http")
        assert granted["role"] is None, "nothing has checked in which role"
        assert [(each["by"], each["via"]) for each in granted["events"]] == [("robin", "python"), (key.name, "http")]
        await client.call("POST", "/api/circuits/execute", EXECUTE, role="operator")
        received = [
            each.entry
            async for each in client.loom().store.read(f"circuits/{EXECUTE['clientId']}")
            if isinstance(each.entry, CommandReceivedEntry)
        ]
        operator = next(each for each in keys_of(client.loom()).all() if each.role == "operator")
        assert [str(each.identity) for each in received] == [f"{operator.name} (api_key:{operator.key_id}, via http)"]


async def test_nobody_grants_over_http_what_was_asked_for_in_the_name_of_the_key(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        [approver] = [each for each in keys_of(client.loom()).all() if each.role == "approver"]
        await client.loom().actor(Asker, "a").tell(Ask(), by=approver.name.upper())
        while not (pending := (await client.call("GET", "/api/approvals", role="reader")).json["items"]):
            await asyncio.sleep(0.01)
        for answer, body in (("grant", {}), ("deny", {"comment": "no"})):
            where = f"/api/approvals/{pending[0]['approval_id']}/{answer}"
            refused = await client.call("POST", where, body, role="approver")
            assert (refused.status, refused.code) == (403, "self_approval")
