"""An id that a caller chose names one request of the workspace: sent again it is answered, sent otherwise refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loom.circuits import Circuits, circuit
from loom.errors import CommandConflictError
from tests.circuits.support import wired
from tests.web.support import served

STEP: list[tuple[str, dict[str, Any]]] = [("CX01_INTENT_DETECTION", {"business_profile": "SaaS B2B"})]
EXECUTE = {"circuitId": "CX01_INTENT_DETECTION", "clientId": "one", "inputs": {"business_profile": "SaaS B2B"}}
CHAIN = {"clientId": "one", "circuits": [{"circuitId": "CX01_INTENT_DETECTION", "inputs": EXECUTE["inputs"]}]}
CYCLE = {"clientId": "one", "audienceSegment": "all", "engagementScore": 0.6, "conversionScore": 0.3}


@pytest.mark.parametrize(
    ("method", "path", "body", "others"),
    [
        (
            "POST",
            "/api/circuits/execute",
            EXECUTE,
            [
                {**EXECUTE, "clientId": "two"},
                {**EXECUTE, "inputs": {"business_profile": "other"}},
                {**EXECUTE, "clientId": "two", "inputs": {"business_profile": "other"}},
            ],
        ),
        (
            "PUT",
            "/api/circuits/execute",
            CHAIN,
            [{**CHAIN, "clientId": "two"}, {**CHAIN, "circuits": CHAIN["circuits"] * 2}],  # type: ignore[operator]
        ),
        (
            "PATCH",
            "/api/circuits/autonomy",
            CYCLE,
            [
                {**CYCLE, "clientId": "two"},
                {**CYCLE, "audienceSegment": "few"},
                {**CYCLE, "engagementScore": 0.5},
                {**CYCLE, "confidence": 0.5},
            ],
        ),
    ],
    ids=["execute", "chain", "cycle"],
)
async def test_a_key_with_another_client_or_another_body_is_a_conflict(
    tmp_path: Path, method: str, path: str, body: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    async with served(tmp_path) as client:
        first = await client.call(method, path, body, Idempotency_Key="k-1")
        assert first.status == 200
        again = await client.call(method, path, body, Idempotency_Key="k-1")
        assert (again.status, again.json) == (200, first.json)
        for other in others:
            refused = await client.call(method, path, other, Idempotency_Key="k-1")
            assert (refused.status, refused.code) == (409, "command_conflict"), other
        elsewhere = ("PATCH", "/api/circuits/autonomy", CYCLE) if method != "PATCH" else ("POST", EXECUTE_PATH, EXECUTE)
        assert (await client.call(*elsewhere, Idempotency_Key="k-1")).status == 409, "and so is another request"
        assert (await client.call(method, path, body, role="operator", Idempotency_Key="k-1")).status == 409
        view = Circuits.of(client.loom()).view
        assert (await view.audit())["metrics"]["total_executions"] == int(method != "PATCH")
        assert len((await view.dashboard())["strategy_states"]) == int(method == "PATCH")


EXECUTE_PATH = "/api/circuits/execute"


async def test_of_requests_with_one_key_at_once_one_is_done(tmp_path: Path) -> None:
    ran: list[str] = []
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @circuit(
        "CX10_SLOW",
        category="t",
        inputs=("client_id",),
        outputs=("x",),
        failure_mode="mark_as_neutral",
        success_metric="n",
    )
    async def slow(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Take a while."""
        ran.append(inputs["client_id"])
        begun.set()
        await goes_on.wait()
        return {"x": 1}

    async with wired(tmp_path, slow) as loom:
        circuits = Circuits.of(loom)
        asked = [
            asyncio.create_task(circuits.run(client, [("CX10_SLOW", {})], execution_id="k-1", by="vera"))
            for client in ("one", "two", "one", "three")
        ]
        await begun.wait()
        counting = circuits.count_cycle("one", "s", engagement=0.5, conversion=0.1, id="k-1", by="vera")
        with pytest.raises(CommandConflictError, match="another client or with another request"):
            await counting
        goes_on.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each).__name__ for each in found] == [
            "ChainReply",
            "CommandConflictError",
            "ChainReply",
            "CommandConflictError",
        ]
        assert ran == ["one"]
        assert circuits._callers == {}


async def test_a_request_that_is_refused_leaves_its_key_to_the_next(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        with pytest.raises(Exception, match="no chain"):
            await circuits.run("one", [], execution_id="k-1", by="vera")
        assert circuits._callers == {}
        assert (await circuits.run("two", STEP, execution_id="k-1", by="vera")).success
        with pytest.raises(CommandConflictError):
            await circuits.run("one", STEP, execution_id="k-1", by="vera")
        assert circuits._callers == {}
    async with wired(tmp_path) as loom:
        with pytest.raises(CommandConflictError, match="another client"):
            await Circuits.of(loom).run("one", STEP, execution_id="k-1", by="vera")
        await Circuits.of(loom).run("one", STEP, execution_id="k-1")


async def test_a_row_that_somebody_put_into_the_views_is_no_request(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("one", STEP, execution_id="k-1", by="vera")
        await loom.reached()
        views = sqlite3.connect(loom.files.views)
        views.execute("UPDATE turns SET command_id = 'k-2'")
        views.commit()
        views.close()
        assert (await circuits.run("two", STEP, execution_id="k-2", by="vera")).success
