"""The document of the decision circuits: its tables, requests, responses, SQL and code, run as they are there.

What is other in loom is in `DIFFERENCES`, `SQL_DIFFERENCES` and `VOLATILE`, and nowhere else.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.circuits import CORE, Circuit, CircuitDefinition, Circuits, Result, extension, strategy_decline
from loom.circuits.entries import ChainEndedEntry
from loom.circuits.targets import TARGETS
from loom.config import RetentionConfig
from loom.sealing import SealingConfig
from tests.web.support import Client, served

WORKSPACE, CLIENT, SEGMENT = "workspace-123", "client-123", "enterprise"

TABLE = """
| **CX01** | Detection | Detect marketing intent | business_profile, campaign_goal | Fallback to last successful |
| **CX02** | Classification | Select audience segment | detected_intent, location, industry | Default to primary segment |
| **CX03** | State Memory | Retrieve prior strategies | client_id, audience_segment | Proceed without state |
| **CX04** | Decision | Choose content strategy | intent, segment, prior_strategy | Rotate to alternate |
| **CX05** | Constraint | Brand/compliance guard | draft_content, brand_rules | Auto-rewrite with penalty |
| **CX06** | Generation | Generate marketing asset | strategy_id, approved_content | Regenerate, lower creativity |
| **CX07** | Feedback | Measure performance | final_asset, platform_metrics | Mark as neutral |
| **CX08** | Autonomy | Self-correct if declining | engagement_score, baseline | Escalate to admin |
"""  # noqa: E501 - as it is there

DIFFERENCES = {
    "Brand/compliance guard": "Brand and compliance guard",
    "Fallback to last successful": "fallback_to_last_successful",
    "Default to primary segment": "default_to_primary",
    "Proceed without state": "proceed_without_state",
    "Rotate to alternate": "rotate_to_alternate",
    "Auto-rewrite with penalty": "auto_rewrite_with_penalty",
    "Regenerate, lower creativity": "regenerate_with_lower_creativity",
    "Mark as neutral": "mark_as_neutral",
    "Escalate to admin": "escalate_to_admin",
    "{...}": '{"campaigns": 3}',
    "ENTER:CX01": "ENTER:CX01_INTENT_DETECTION",
    "SUCCESS:CX01": "SUCCESS:CX01_INTENT_DETECTION",
}
"""What the document says, and what stands there in loom."""

SQL_DIFFERENCES = {
    "SUM(CASE WHEN success THEN 1 ELSE 0 END)::float": "CAST(SUM(CASE WHEN success THEN 1 ELSE 0 END) AS REAL)",
    "NOW() - INTERVAL '30 days'": "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-30 days')",
}
"""PostgreSQL's words in the document, and SQLite's."""

VOLATILE = frozenset(
    {
        "execution_id",
        "timestamp",
        "latency_ms",
        "log_id",
        "updated_at",
        "avg_latency_ms",
        "avg_correction_confidence",
        "total_executions",
        "success_rate",
        "error_count",
    }
)
"""Figures, times and ids, which are what they are: the document's are examples. Their types are held to."""


def json_of(text: str) -> Any:
    """Return a piece of JSON of the document; what it leaves out with `...` is left out."""
    for said, here in DIFFERENCES.items():
        text = text.replace(f'"{said}"', f'"{here}"') if said != "{...}" else text.replace(said, here)
    text = re.sub(r",\s*\.\.\.", "", text).replace("[...]", "[]")
    return json.loads(text)


def matches(document: Any, answer: Any, where: str = "$") -> None:
    """Hold an answer against the document: everything that is there is here, with the same value."""
    if isinstance(document, dict):
        assert isinstance(answer, dict), where
        for name, value in document.items():
            assert name in answer, f"{where}.{name} is missing"
            if name in VOLATILE:
                same = (int, float) if isinstance(value, int | float) else type(value)
                assert isinstance(answer[name], same), f"{where}.{name} is {answer[name]!r}"
            else:
                matches(value, answer[name], f"{where}.{name}")
    elif isinstance(document, list):
        assert isinstance(answer, list), where
        assert len(answer) >= len(document), where
        for place, each in enumerate(document):
            matches(each, answer[place], f"{where}[{place}]")
    else:
        assert answer == document, f"{where} is {answer!r}, not {document!r}"


@asynccontextmanager
async def api(path: Path) -> AsyncIterator[Client]:
    """Serve the workspace of the document."""
    async with served(path, workspaces=(WORKSPACE,)) as client:
        yield client


async def known(client: Client, *names: str) -> None:
    """Make strategies known, the first of which is in use."""
    for place, name in enumerate(names):
        await Circuits.of(client.loom(WORKSPACE)).add_strategy(
            CLIENT, SEGMENT, name, success_rate=0.9 - place / 10, by="mira"
        )


async def cycles(client: Client, count: int, engagement: float, conversion: float = 0.18) -> None:
    for _ in range(count):
        await Circuits.of(client.loom(WORKSPACE)).count_cycle(
            CLIENT, SEGMENT, engagement=engagement, conversion=conversion
        )


# --- the eight circuits ----------------------------------------------------------------------------


def test_the_table_of_the_eight_circuits_says_what_they_are() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.strip().splitlines()]
    assert len(rows) == len(CORE)
    for (name, category, purpose, inputs, mode), circuit in zip(rows, CORE, strict=True):
        definition = circuit.definition
        assert definition.circuit_id.startswith(name.strip("*"))
        assert definition.category == category.lower().replace(" ", "_")
        assert definition.purpose == DIFFERENCES.get(purpose, purpose)
        assert definition.failure_mode == DIFFERENCES[mode]
        assert {each.strip() for each in inputs.split(",")} <= {*definition.inputs, *definition.optional}


async def test_every_circuit_runs_on_inputs_by_the_names_of_the_table(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "business_profile": "SaaS B2B",
        "campaign_goal": "Lead generation",
        "detected_intent": "lead_generation",
        "location": "US",
        "industry": "Tech",
        "client_id": CLIENT,
        "audience_segment": SEGMENT,
        "intent": "retention",
        "segment": SEGMENT,
        "prior_strategy": "strategy-123",
        "draft_content": "hello",
        "brand_rules": {},
        "strategy_id": "strategy-456",
        "approved_content": "hello",
        "final_asset": "hello",
        "platform_metrics": {"clicks": 5, "impressions": 100},
        "engagement_score": 0.42,
        "baseline": 0.68,
    }
    async with api(tmp_path) as client:
        await known(client, "strategy-456")
        found = {}
        for line in TABLE.strip().splitlines():
            _, name, _, _, inputs, *_ = line.split("|")
            [circuit_id] = [each.definition.circuit_id for each in CORE if each.definition.circuit_id[:4] in name]
            step = (circuit_id, {each.strip(): given[each.strip()] for each in inputs.split(",")})
            reply = await Circuits.of(client.loom(WORKSPACE)).run(CLIENT, [step])
            assert reply.success
            assert not reply.results[0].substituted
            found.update(reply.final_output)
    assert found["prior_strategy"] == "strategy-456"
    assert found["content_strategy_id"] == "strategy-123", "CX04 reads its prior strategy"
    assert found["final_asset"] == "[strategy-456] hello"
    assert found["correction_needed"] is True


# --- the API ---------------------------------------------------------------------------------------


EXECUTE = (
    """
{
  "circuitId": "CX01_INTENT_DETECTION",
  "clientId": "client-123",
  "inputs": {
    "business_profile": "SaaS B2B",
    "campaign_goal": "Lead generation",
    "historical_context": {...}
  }
}
""",
    """
{
  "circuit_id": "CX01_INTENT_DETECTION",
  "execution_id": "1702569600000_abc123",
  "success": true,
  "data": {
    "detected_intent": "lead_generation"
  },
  "decision_trace": ["ENTER:CX01_INTENT_DETECTION", "SUCCESS:CX01_INTENT_DETECTION"]
}
""",
)
CHAIN = (
    """
{
  "clientId": "client-123",
  "circuits": [
    {
      "circuitId": "CX01_INTENT_DETECTION",
      "inputs": { "business_profile": "SaaS B2B" }
    },
    {
      "circuitId": "CX02_AUDIENCE_CLASSIFICATION",
      "inputs": { "location": "US", "industry": "Tech" }
    },
    {
      "circuitId": "CX04_CONTENT_STRATEGY_SELECTION",
      "inputs": {}
    }
  ]
}
""",
    """
{
  "success": true,
  "execution_id": "1702569600000_abc123",
  "results": [
    {
      "circuit_id": "CX01_INTENT_DETECTION",
      "success": true,
      "decision_trace": [...]
    },
    ...
  ],
  "final_output": {
    "detected_intent": "lead_generation",
    "audience_segment": "enterprise",
    "content_strategy_id": "strategy-456"
  },
  "total_decision_path": [...]
}
""",
)
AUDIT = """
{
  "workspace_id": "workspace-123",
  "client_id": "client-123",
  "circuit_id": "CX01_INTENT_DETECTION",
  "execution_history": [
    {
      "circuit_id": "CX01_INTENT_DETECTION",
      "execution_id": "1702569600000_abc123",
      "timestamp": "2025-12-15T10:30:00Z",
      "success": true,
      "latency_ms": 245,
      "confidence_score": 0.95,
      "decision_path": ["ENTER:CX01", "SUCCESS:CX01"]
    }
  ],
  "metrics": {
    "total_executions": 150,
    "success_rate": 0.98,
    "avg_latency_ms": 212,
    "error_count": 3
  }
}
"""
HEALTH = (
    """
{
  "clientId": "client-123",
  "audienceSegment": "enterprise"
}
""",
    """
{
  "workspace_id": "workspace-123",
  "client_id": "client-123",
  "audience_segment": "enterprise",
  "needs_correction": true,
  "health_status": {
    "needs_correction": true,
    "reason": "Engagement declined for 3 cycles (current: 0.42, baseline: 0.68)",
    "confidence": 0.95,
    "action_type": "rotate_strategy"
  },
  "current_metrics": {
    "engagement_score": 0.42,
    "conversion_score": 0.18,
    "cycle_count": 42,
    "decline_cycles": 3
  },
  "correction_result": {
    "success": true,
    "new_strategy_id": "strategy-789",
    "log_id": "correction_1702569600000_abc123"
  }
}
""",
)
UPDATE = (
    """
{
  "clientId": "client-123",
  "audienceSegment": "enterprise",
  "engagementScore": 0.65,
  "conversionScore": 0.32
}
""",
    """
{
  "workspace_id": "workspace-123",
  "client_id": "client-123",
  "audience_segment": "enterprise",
  "message": "Metrics updated",
  "updated_metrics": {
    "engagement_score": 0.65,
    "conversion_score": 0.32
  },
  "health_status": {
    "needs_correction": false,
    "reason": "Strategy performing within baseline"
  }
}
""",
)
DASHBOARD = """
{
  "workspace_id": "workspace-123",
  "days": 30,
  "summary": {
    "total_corrections": 12,
    "successful_rotations": 10,
    "escalations": 2,
    "avg_correction_confidence": 0.89
  },
  "strategy_states": [
    {
      "client_id": "client-123",
      "audience_segment": "enterprise",
      "strategy_id": "strategy-456",
      "engagement_score": 0.65,
      "conversion_score": 0.32,
      "cycle_count": 42,
      "decline_cycles": 0,
      "updated_at": "2025-12-15T10:30:00Z"
    }
  ]
}
"""


REQUESTS = """
POST /api/circuits/execute?workspaceId=<id>
PUT /api/circuits/execute?workspaceId=<id>
GET /api/circuits/audit?workspaceId=<id>&clientId=<id>&circuitId=<id>&limit=100&days=30
POST /api/circuits/autonomy?workspaceId=<id>
PATCH /api/circuits/autonomy?workspaceId=<id>
GET /api/circuits/autonomy?workspaceId=<id>&action=dashboard&days=30
GET /api/circuits/audit?workspaceId=<id>&clientId=<id>&circuitId=<id>
"""


async def test_the_request_lines_of_the_document_are_answered(tmp_path: Path) -> None:
    bodies = iter((EXECUTE[0], CHAIN[0], None, HEALTH[0], UPDATE[0], None, None))
    ids = {"workspaceId": WORKSPACE, "clientId": CLIENT, "circuitId": "CX01_INTENT_DETECTION"}
    async with api(tmp_path) as client:
        await known(client, "strategy-456")
        for line in REQUESTS.strip().splitlines():
            method, path = re.sub(r"(\w+)=<id>", lambda found: f"{found[1]}={ids[found[1]]}", line).split()
            body = next(bodies)
            given = None if body is None else json_of(body)
            said = await client.call(method, path, given, workspace="", of=WORKSPACE)
            assert said.status == 200, line
            assert said.json.get("workspace_id", WORKSPACE) == WORKSPACE, line


async def test_a_single_circuit_is_executed_and_its_history_is_read(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        said = await client.call("POST", "/api/circuits/execute", json_of(EXECUTE[0]), workspace=WORKSPACE)
        assert said.status == 200
        matches(json_of(EXECUTE[1]), said.json)
        path = f"/api/circuits/audit?clientId={CLIENT}&circuitId=CX01_INTENT_DETECTION&limit=100&days=30"
        history = await client.call("GET", path, workspace=WORKSPACE, role="reader")
        matches(json_of(AUDIT), history.json)
        assert history.json["execution_history"][0]["execution_id"] == said.json["execution_id"]


async def test_circuits_are_chained(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        await known(client, "strategy-456")
        said = await client.call("PUT", "/api/circuits/execute", json_of(CHAIN[0]), workspace=WORKSPACE)
        assert said.status == 200
        matches(json_of(CHAIN[1]), said.json)
        assert said.json["final_output"] == json_of(CHAIN[1])["final_output"], "that and nothing else"
        ids = ("CX01_INTENT_DETECTION", "CX02_AUDIENCE_CLASSIFICATION", "CX04_CONTENT_STRATEGY_SELECTION")
        assert said.json["total_decision_path"] == [f"{what}:{each}" for each in ids for what in ("ENTER", "SUCCESS")]


async def test_the_health_of_a_strategy_is_evaluated(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        await known(client, "strategy-456", "strategy-789")
        await cycles(client, 39, 0.68)
        await cycles(client, 3, 0.42)
        said = await client.call("POST", "/api/circuits/autonomy", json_of(HEALTH[0]), workspace=WORKSPACE)
        matches(json_of(HEALTH[1]), said.json)
        assert said.json["correction_result"]["log_id"].startswith("correction_")


async def test_the_metrics_of_a_strategy_are_updated(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        said = await client.call("PATCH", "/api/circuits/autonomy", json_of(UPDATE[0]), workspace=WORKSPACE)
        matches(json_of(UPDATE[1]), said.json)
        assert said.json["health_status"] == json_of(UPDATE[1])["health_status"], "that and nothing else"


async def test_the_dashboard_shows_corrections_and_states(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        circuits = Circuits.of(client.loom(WORKSPACE))
        await known(client, "strategy-456")
        await cycles(client, 42, 0.65, 0.32)
        for number in range(12):
            names = ("strategy-1", "strategy-2")[: 2 if number < 10 else 1]
            for name in names:
                await circuits.add_strategy(f"other-{number}", SEGMENT, name, success_rate=0.5, by="mira")
            for score in (0.7, 0.3, 0.3, 0.3):
                await circuits.count_cycle(f"other-{number}", SEGMENT, engagement=score, conversion=0.1)
        path = "/api/circuits/autonomy?action=dashboard&days=30"
        said = await client.call("GET", path, workspace=WORKSPACE, role="reader")
        matches(json_of(DASHBOARD), said.json)
        assert len(said.json["strategy_states"]) == 13
        assert len(said.json["notifications"]) == 2, "a notification in the admin dashboard for each escalation"
        assert {"cause", "reason", "opened_at", "repeats"} <= said.json["notifications"][0].keys()


# --- the database schema ---------------------------------------------------------------------------

EXECUTION_LOGS = """
SELECT
  circuit_id,
  execution_id,
  timestamp,
  success,
  latency_ms,
  confidence_score,
  decision_path,
  inputs,
  outputs
FROM circuit_execution_logs
WHERE workspace_id = 'workspace-123'
ORDER BY timestamp DESC;
"""
STRATEGY_STATES = """
SELECT
  client_id,
  audience_segment,
  strategy_id,
  engagement_score,
  conversion_score,
  cycle_count,
  decline_cycles,
  last_rotated_at
FROM circuit_strategy_states
WHERE workspace_id = 'workspace-123';
"""
CORRECTION_LOGS = """
SELECT
  log_id,
  action_type,
  previous_strategy_id,
  new_strategy_id,
  reason,
  confidence,
  timestamp
FROM circuit_autocorrection_logs
WHERE workspace_id = 'workspace-123'
ORDER BY timestamp DESC;
"""
NOT_ROTATING = """
# Check strategy state
SELECT * FROM circuit_strategy_states
WHERE client_id = 'client-123'
AND audience_segment = 'enterprise'
ORDER BY updated_at DESC;
"""
ESCALATION_LOOP = """
# Check autocorrection logs
SELECT * FROM circuit_autocorrection_logs
WHERE client_id = 'client-123'
AND action_type = 'escalate_to_admin'
ORDER BY timestamp DESC
LIMIT 10;
"""
KPIS = """
SELECT
  circuit_id,
  COUNT(*) as total_executions,
  SUM(CASE WHEN success THEN 1 ELSE 0 END)::float / COUNT(*) as success_rate,
  AVG(latency_ms) as avg_latency,
  AVG(confidence_score) as avg_confidence,
  SUM(CASE WHEN NOT success THEN 1 ELSE 0 END) as error_count
FROM circuit_execution_logs
WHERE timestamp > NOW() - INTERVAL '30 days'
GROUP BY circuit_id
ORDER BY success_rate DESC;
"""


@pytest.fixture
async def views(tmp_path: Path) -> Path:
    """The views of a workspace in which circuits ran and failed, and a strategy was rotated and then escalated."""
    async with api(tmp_path) as client:
        circuits = Circuits.of(client.loom(WORKSPACE))
        await known(client, "strategy-456", "strategy-789")
        await cycles(client, 3, 0.68)
        await cycles(client, 3, 0.42)
        await circuits.add_strategy(CLIENT, SEGMENT, "strategy-456", success_rate=0.9, by="mira", active=False)
        await cycles(client, 3, 0.6)
        await cycles(client, 4, 0.3)
        for given in ("SaaS B2B", "a bakery"):
            await circuits.run(CLIENT, [("CX01_INTENT_DETECTION", {"business_profile": given})])
        await circuits.run(CLIENT, [("CX08_SELF_CORRECTION", {"engagement_score": "?", "baseline": 1})])
        files = client.loom(WORKSPACE).files
        await client.loom(WORKSPACE).reached()
    return files.views


def asked(views: Path, statement: str) -> list[dict[str, Any]]:
    """Run a statement of the document over the views file, as any program may."""
    for said, here in SQL_DIFFERENCES.items():
        statement = statement.replace(said, here)
    statement = re.sub(r"^#.*$", "", statement, flags=re.MULTILINE)
    with closing(sqlite3.connect(f"file:{views}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


async def test_the_executions_are_read_by_the_documents_query(views: Path) -> None:
    rows = asked(views, EXECUTION_LOGS)
    assert [row["circuit_id"][:4] for row in rows] == ["CX08", "CX01", "CX01"], "newest first"
    assert [row["success"] for row in rows] == [0, 1, 1]
    assert json.loads(rows[-1]["decision_path"]) == ["ENTER:CX01_INTENT_DETECTION", "SUCCESS:CX01_INTENT_DETECTION"]
    assert json.loads(rows[-1]["inputs"]) == {"business_profile": "SaaS B2B"}
    assert json.loads(rows[-1]["outputs"]) == {"detected_intent": "lead_generation"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", rows[0]["timestamp"])


async def test_the_states_of_strategies_are_read_by_the_documents_queries(views: Path) -> None:
    [row] = asked(views, STRATEGY_STATES)
    assert (row["client_id"], row["audience_segment"], row["strategy_id"]) == (CLIENT, SEGMENT, "strategy-789")
    assert (row["engagement_score"], row["cycle_count"], row["decline_cycles"]) == (0.3, 7, 4)
    assert row["last_rotated_at"] is not None
    [same] = asked(views, NOT_ROTATING)
    assert row.items() <= same.items()
    assert same["updated_at"] > row["last_rotated_at"]


async def test_the_corrections_are_read_by_the_documents_queries(views: Path) -> None:
    rows = asked(views, CORRECTION_LOGS)
    assert [row["action_type"] for row in rows] == ["escalate_to_admin", "escalate_to_admin", "rotate_strategy"]
    rotated = rows[-1]
    assert (rotated["previous_strategy_id"], rotated["new_strategy_id"]) == ("strategy-456", "strategy-789")
    assert rotated["reason"] == "Engagement declined for 3 cycles (current: 0.42, baseline: 0.68)"
    assert rotated["confidence"] == 0.95
    escalated = asked(views, ESCALATION_LOOP)
    assert [row["log_id"] for row in escalated] == [row["log_id"] for row in rows[:2]]


async def test_the_key_figures_are_read_by_the_documents_query_and_have_its_targets(views: Path) -> None:
    rows = asked(views, KPIS)
    assert [(row["circuit_id"][:4], row["total_executions"], row["success_rate"]) for row in rows] == [
        ("CX01", 2, 1.0),
        ("CX08", 1, 0.0),
    ]
    assert [row["error_count"] for row in rows] == [0, 1]
    assert {name: str(target) for name, target in TARGETS.items()} == {
        "success_rate": "> 0.95",
        "avg_latency_ms": "< 500",
        "avg_confidence": "> 0.85",
        "error_rate": "< 0.05",
    }


# --- circuits of one's own -------------------------------------------------------------------------

REGISTRY = """
  CX09_CUSTOM_CIRCUIT: {
    circuit_id: 'CX09_CUSTOM_CIRCUIT',
    category: 'decision',
    purpose: 'Your circuit purpose',
    inputs: ['input1', 'input2'],
    outputs: ['output1'],
    model_usage: 'decision_only',
    failure_mode: 'rotate_to_alternate',
    success_metric: 'your_metric',
  },
"""


async def your_logic(_: Mapping[str, Any]) -> Result:
    return Result(outputs={"output1": "value"})


async def test_a_circuit_of_ones_own_is_defined_by_the_documents_fields_and_executed_in_its_context(
    tmp_path: Path,
) -> None:
    written = re.sub(r"(\w+): ", r'"\1": ', REGISTRY.strip().rstrip(",")).replace("'", '"')
    written = re.sub(r",(\s*[}\]])", r"\1", written)
    fields = json.loads("{" + written + "}")["CX09_CUSTOM_CIRCUIT"]
    custom = Circuit(CircuitDefinition.model_validate(fields), your_logic)
    context = {"workspace_id": WORKSPACE, "client_id": CLIENT, "request_id": "request-1", "user_id": "mira"}
    async with api(tmp_path) as client:
        loom = client.loom(context["workspace_id"])
        circuits = Circuits.of(loom)
        await circuits.register(custom, by="mira")
        result = await circuits.run(
            context["client_id"],
            [("CX09_CUSTOM_CIRCUIT", {"input1": "value1", "input2": "value2"})],
            execution_id=context["request_id"],
            by=context["user_id"],
        )
        assert result.final_output == {"output1": "value"}
        received = await loom.store.find_command(f"circuits/{CLIENT}", "request-1")
        assert received is not None
        assert received.body_json()["by"] == "mira"  # type: ignore[index, call-overload]
    assert {**fields} == {
        name: value for name, value in custom.definition.model_dump(mode="json").items() if name in fields
    }


# --- integration examples --------------------------------------------------------------------------


async def test_an_email_goes_through_the_documents_chain(tmp_path: Path) -> None:
    email = {"sender": "Northwind Bank", "subject": "Can we see a demo?", "location": "UK", "industry": "Finance"}
    async with api(tmp_path) as client:
        reply = await Circuits.of(client.loom(WORKSPACE)).run(
            CLIENT,
            [
                ("CX01_INTENT_DETECTION", {"business_profile": email["sender"], "campaign_goal": email["subject"]}),
                ("CX02_AUDIENCE_CLASSIFICATION", {"location": email["location"], "industry": email["industry"]}),
                ("CX04_CONTENT_STRATEGY_SELECTION", {}),
            ],
        )
    assert reply.success
    assert reply.final_output["detected_intent"] == "lead_generation"
    assert reply.final_output["audience_segment"] == "enterprise"


async def test_content_is_validated_and_then_generated_as_in_the_document(tmp_path: Path) -> None:
    strategy = {"id": "strategy-456", "template": "A fine offer"}
    async with api(tmp_path) as client:
        circuits = Circuits.of(client.loom(WORKSPACE))
        brand_rules: dict[str, Any] = {"banned": ["cheap"]}
        draft: dict[str, Any] = {"draft_content": strategy["template"], "brand_rules": brand_rules}
        validation = (await circuits.run(CLIENT, [("CX05_BRAND_GUARD", draft)])).results[0]
        assert validation.success
        inputs: dict[str, Any] = {"content_strategy_id": strategy["id"], "approved_content": validation.data}
        asset = await circuits.run(CLIENT, [("CX06_GENERATION_EXECUTION", inputs)])
        assert asset.final_output == {"final_asset": "[strategy-456] A fine offer"}
        empty = await circuits.run(CLIENT, [("CX05_BRAND_GUARD", {**draft, "draft_content": " "})])
        assert not empty.success, "and is not generated where the guard refuses"


# --- audit and compliance --------------------------------------------------------------------------

TRACE = """
{
  "execution_id": "1702569600000_abc123",
  "decision_path": [
    "ENTER:CX01_INTENT_DETECTION",
    "SUCCESS:CX01_INTENT_DETECTION",
    "ENTER:CX02_AUDIENCE_CLASSIFICATION",
    "SUCCESS:CX02_AUDIENCE_CLASSIFICATION",
    "ENTER:CX04_CONTENT_STRATEGY_SELECTION",
    "SUCCESS:CX04_CONTENT_STRATEGY_SELECTION",
    "ENTER:CX05_BRAND_GUARD",
    "SUCCESS:CX05_BRAND_GUARD",
    "ENTER:CX06_GENERATION_EXECUTION",
    "SUCCESS:CX06_GENERATION_EXECUTION"
  ],
  "timestamp": "2025-12-15T10:30:00Z",
  "latency_ms": 1245,
  "success": true
}
"""


async def test_the_trace_of_a_chain_is_the_documents(tmp_path: Path) -> None:
    steps = [(each["circuitId"], each["inputs"]) for each in json_of(CHAIN[0])["circuits"]]
    steps += [("CX05_BRAND_GUARD", {"draft_content": "hello", "brand_rules": {}}), ("CX06_GENERATION_EXECUTION", {})]
    async with api(tmp_path) as client:
        loom = client.loom(WORKSPACE)
        await Circuits.of(loom).run(CLIENT, steps)
        read = loom.store.read(f"circuits/{CLIENT}")
        [recorded] = [each async for each in read if isinstance(each.entry, ChainEndedEntry)]
        timestamp = recorded.recorded_at.isoformat()
        matches(json.loads(TRACE), {**recorded.entry.model_dump(mode="json"), "timestamp": timestamp})


async def test_everything_that_the_document_wants_logged_is_logged(views: Path) -> None:
    rows = asked(views, "SELECT * FROM circuit_execution_logs ORDER BY position")
    logged = ("timestamp", "inputs", "decision_path", "latency_ms", "success", "confidence_score")
    assert all(row[name] is not None for row in rows for name in logged)
    assert [row["outputs"] is None for row in rows] == [False, False, True]
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert "ValueError" in rows[-1]["error"]


def test_logs_are_retained_for_365_days_and_encryption_is_one_line_whose_default_is_off() -> None:
    assert RetentionConfig().keep_days == 365
    assert not SealingConfig().enabled
    page = (Path(__file__).parents[2] / "docs" / "circuits.md").read_text(encoding="utf-8")
    section = page.split("## Clients' data, encrypted at rest")[1].split("Sealing takes")[0]
    assert "By default it is off" in section
    assert "```yaml\nsealing: {enabled: true}\n```" in section


async def test_only_users_of_a_workspace_read_it_and_nobody_changes_what_was_logged(tmp_path: Path) -> None:
    async with served(tmp_path, workspaces=(WORKSPACE, "other")) as client:
        await client.call("POST", "/api/circuits/execute", json_of(EXECUTE[0]), workspace=WORKSPACE)
        refused = await client.call("GET", "/api/circuits/audit?days=30", workspace=WORKSPACE, of="other")
        assert refused.status == 401
        journal = client.loom(WORKSPACE).files.journal
    with closing(sqlite3.connect(journal)) as connection:
        for statement in ("DELETE FROM entries", "UPDATE entries SET body = x'7b7d' WHERE kind = 'circuit.succeeded'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


async def test_a_request_without_its_inputs_is_refused_and_found_in_the_history(tmp_path: Path) -> None:
    body = {"circuitId": "CX02_AUDIENCE_CLASSIFICATION", "clientId": CLIENT, "inputs": {"location": "US"}}
    async with api(tmp_path) as client:
        refused = await client.call("POST", "/api/circuits/execute", body, workspace=WORKSPACE)
        assert (refused.status, refused.code) == (422, "missing_input")
        path = f"/api/circuits/audit?clientId={CLIENT}&circuitId=CX02_AUDIENCE_CLASSIFICATION"
        [found] = (await client.call("GET", path, workspace=WORKSPACE)).json["execution_history"]
        assert found["error"] == "input [detected_intent, industry] of [CX02_AUDIENCE_CLASSIFICATION] is missing"


# --- self-correction rules -------------------------------------------------------------------------

THRESHOLDS = """
| High confidence | > 0.85 | Auto-correct immediately |
| Medium confidence | 0.5-0.85 | Log and monitor |
| Low confidence | < 0.5 | Escalate to admin |
"""


def test_the_thresholds_of_the_document_are_those_of_the_rule() -> None:
    for line in THRESHOLDS.strip().splitlines():
        _, span, action = (each.strip() for each in line.strip("|").split("|"))
        low, high = {"> 0.85": (0.8501, 1.0), "0.5-0.85": (0.5, 0.85), "< 0.5": (0.0, 0.4999)}[span]
        for measured in (low, high, (low + high) / 2):
            said = strategy_decline.evaluate_json(
                {"engagement": 0.42, "baseline": 0.68, "declines_before": 2, "measured": measured, "has_other": True}
            )
            expected = {
                "Auto-correct immediately": "rotate_strategy",
                "Log and monitor": "log_and_monitor",
                "Escalate to admin": "escalate_to_admin",
            }[action]
            assert said.details["action"] == expected, measured


async def test_a_loom_of_ones_own_does_all_of_it_without_a_server(tmp_path: Path) -> None:
    config = LoomConfig(data=tmp_path, workspace=WORKSPACE)
    async with Loom.open(config, by="mira", extensions=[extension]) as loom:
        steps = [(each["circuitId"], each["inputs"]) for each in json_of(CHAIN[0])["circuits"]]
        reply = await Circuits.of(loom).run(CLIENT, steps)
        assert reply.final_output["content_strategy_id"] == "strategy-lead-generation-enterprise"
