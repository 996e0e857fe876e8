"""Kill switches over HTTP: engaged by an operator, re-armed by an approver, in the name of the key."""

from __future__ import annotations

from pathlib import Path

from loom.routing import Router
from loom.routing import extension as routing
from tests.web.support import served


async def test_a_kill_switch_is_engaged_and_rearmed_in_the_name_of_the_key(tmp_path: Path) -> None:
    async with served(tmp_path, workspaces=("one",), extensions=(routing,)) as client:
        assert (await client.call("GET", "/api/switches", role="reader")).json == {
            "items": [{"name": "routing", "engaged": False}]
        }
        assert (await client.call("POST", "/api/switches/routing/kill", {"reason": " "})).status == 422
        killed = await client.call("POST", "/api/switches/routing/kill", {"reason": "odd"}, role="operator")
        assert killed.json == {"name": "routing", "engaged": True}
        router = client.loom().part(Router)
        assert router.switch.engaged
        refused = await client.call("POST", "/api/switches/routing/rearm", {"reason": "fine"}, role="operator")
        assert refused.status == 403
        again = await client.call("POST", "/api/switches/routing/rearm", {"reason": "fine"}, role="approver")
        assert again.json == {"name": "routing", "engaged": False}
        written = [each async for each in client.loom().store.read_all() if "kill_switch" in each.kind]
        bodies = [each.body_json() for each in written]
        assert [isinstance(each, dict) and each["by"] for each in bodies] == ["operator@one", "approver@one"]
        unknown = await client.call("POST", "/api/switches/circuits/kill", {"reason": "odd"})
        assert (unknown.status, unknown.code) == (404, "switch_not_found")
