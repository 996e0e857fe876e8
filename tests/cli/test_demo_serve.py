"""`loom demo --serve`: the story, and then its pages, with a request that waits for the person who has the key."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import environment, invoke


def _get(port: int, path: str, key: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.slow
def test_the_demo_is_served_with_a_request_that_waits(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "loom.cli", "demo", str(tmp_path / "demo"), "--serve", "--port", "0", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said: dict[str, Any] = {}
        while said.get("event") != "listening":
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            said = json.loads(line) if line.startswith('{"event"') else {}
        waiting = _get(said["port"], "/inbox.json", said["key"])["requests"]
        assert [each["of"] for each in waiting] == ["vp_sales"]
        journals = _get(said["port"], "/api/journals", said["key"])["items"]
        assert "discount-agent/emea" in {each["journal"] for each in journals}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, process.stderr.read() if process.stderr else ""
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    left = invoke("approvals", "--json", config=tmp_path / "demo" / "loom.config.yaml")
    assert len(left.json) == 1, "the journal stays, and what waits in it"
