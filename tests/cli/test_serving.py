"""`loom circuits`, `loom keys` and `loom serve` by hand: beside nobody, and on a server that runs."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.circuits import Circuits
from tests.cli.support import Answer, environment, invoke
from tests.golden.reading import HERE, copied

CONFIG = "data: data\nworkspace: main\nextensions: [circuits]\nmodules: [mine]\n"
MINE = '''
from loom.circuits import Result, circuit, load_circuits
import asyncio, pathlib

@circuit("CX30_SHOUT", category="test", inputs=("word",), outputs=("shouted",), failure_mode="escalate_to_admin",
         success_metric="n", fields={"word": "mask"})
async def shout(inputs):
    """Say it louder."""
    while inputs["word"] == "slow" and not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    return Result(outputs={"shouted": inputs["word"].upper()})
'''


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG)
    (tmp_path / "mine.py").write_text(MINE)
    return path


@pytest.fixture
def filled(config: Path) -> Path:
    config.write_text(CONFIG.replace("modules: [mine]\n", ""))

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            circuits = Circuits.of(loom)
            await circuits.run("c-1", [("CX01_INTENT_DETECTION", {"business_profile": "SaaS"})])
            await circuits.run("c-2", [("CX08_SELF_CORRECTION", {"engagement_score": "x", "baseline": 1})])
            await circuits.add_strategy("c-1", "all", "s-1", success_rate=0.5, by="robin")
            await circuits.count_cycle("c-1", "all", engagement=0.5, conversion=0.25)

    asyncio.run(fill())
    return config


# --- circuits --------------------------------------------------------------------------------------


def test_the_audit_of_policies_judges_again_by_the_rules_of_wings_and_by_their_earlier_ones(tmp_path: Path) -> None:
    copied(HERE / "corrections", tmp_path / "data")
    (tmp_path / "loom.config.yaml").write_text("data: data\nworkspace: default\nextensions: [circuits]\n")
    said = invoke("policies", "audit", "--json", config=tmp_path / "loom.config.yaml")
    assert said.json["counts"] == {}
    assert said.json["confirmed"] == said.json["decisions"] == 15


def test_the_audit_shows_what_ran_and_its_metrics(filled: Path) -> None:
    said = invoke("circuits", config=filled)
    assert said.code == 0
    assert "CX01_INTENT_DETECTION" in said.out
    assert "failed: ValueError" in said.out
    only = invoke("circuits", "audit", "--client", "c-1", "--json", config=filled).json
    assert (only["metrics"]["total_executions"], only["client_id"]) == (1, "c-1")
    assert "Nothing was executed that matches." in invoke("circuits", "audit", "--client", "nobody", config=filled).out


def test_strategies_are_listed(filled: Path) -> None:
    assert "s-1" in invoke("circuits", "strategies", config=filled).out
    assert invoke("circuits", "strategies", "--json", config=filled).json["strategy_states"][0]["cycle_count"] == 1


def test_a_strategy_is_made_known_and_taken_out_of_use(filled: Path) -> None:
    said = invoke("circuits", "strategy", "c-1", "all", "s-2", "--success-rate", "0.9", "--by", "mira", config=filled)
    assert said.out == "s-2 may be rotated to, for c-1 and all\n"
    gone = ("circuits", "strategy", "c-1", "all", "s-2", "--success-rate", "0.9", "--retired", "--by", "mira")
    assert invoke(*gone, "--json", config=filled).json["active"] is False
    assert (
        invoke("circuits", "strategy", "c-1", "all", "s", "--success-rate", "2", "--by", "m", config=filled).code == 2
    )


def test_circuits_are_replayed_without_a_key_and_without_naming_any_module(filled: Path) -> None:
    driven = invoke("replay", "circuits/c-1", "--verify", "--json", config=filled)
    assert [each["verdict"] for each in driven.json] == ["same"], driven
    state = invoke("replay", "circuits/c-2", "--at", "4", "--json", config=filled).json["state"]
    assert state["failures"] == {"CX08_SELF_CORRECTION": 1}
    decision = invoke("decisions", "--json", config=filled).json[-1]
    version = decision["policy_version"]
    ran = invoke(
        "replay", "run", "--under", version, "--decision", decision["decision_id"], "--json", config=filled
    ).json
    assert ran["counts"] == {"unchanged": 1}
    asked = ("archive", "--older-than", "0s", "--override-retention", "a test", "-o", filled.parent / "a.zip")
    assert invoke(*asked, config=filled).code == 0
    again = invoke("archive", "replay", filled.parent / "a.zip", "circuits/c-1", "--verify", "--json", config=filled)
    assert [each["verdict"] for each in again.json] == ["same"]


def test_a_replay_leaves_the_file_of_keys_alone_and_needs_none(filled: Path) -> None:
    filled.write_text(filled.read_text() + "sealing: {enabled: true}\n")
    keys = filled.parent / "data" / "main" / "journal.keys"
    keys.write_text("no keys at all")
    env = {"LOOM_MASTER_KEY": base64.b64encode(bytes(32)).decode()}
    driven = invoke("replay", "circuits/c-1", "--verify", "--json", config=filled, env=env)
    assert [each["verdict"] for each in driven.json] == ["same"], driven
    assert keys.read_text() == "no keys at all"


def test_an_escalation_is_listed_and_closed_in_somebodys_name(filled: Path) -> None:
    [waiting] = invoke("circuits", "escalations", "--json", config=filled).json
    assert waiting["cause"] == "c-2/CX08_SELF_CORRECTION/failed"
    assert "failed" in invoke("circuits", "escalations", config=filled).out
    short = waiting["escalation_id"][:10]
    assert invoke("circuits", "close", short, "-m", "seen", config=filled).code == 2, "nobody says so"
    closed = invoke("circuits", "close", short, "--by", "vera", "-m", "seen", "--json", config=filled)
    assert closed.json == {"id": waiting["escalation_id"], "open": False}
    assert invoke("circuits", "close", short, "--by", "vera", "-m", "again", config=filled).code == 1
    assert "Nothing waits" in invoke("circuits", "escalations", config=filled).out
    [kept] = invoke("circuits", "escalations", "--all", "--json", config=filled).json
    assert (kept["open"], kept["closed_by"]) == (False, "vera")


def test_an_erasure_asks_first_and_needs_a_vault(filled: Path) -> None:
    refused = invoke("circuits", "erase", "c-1", "--by", "vera", "-m", "asked for", config=filled)
    assert refused.code == 2
    assert "gone for good" in refused.err
    without = invoke("circuits", "erase", "c-1", "--by", "vera", "-m", "asked for", "--yes", config=filled)
    assert without.code == 2
    assert "there is no vault" in without.err
    filled.write_text(filled.read_text() + "sealing: {enabled: true}\n")
    env = {"LOOM_MASTER_KEY": base64.b64encode(bytes(32)).decode()}
    done = invoke("circuits", "erase", "c-1", "--by", "vera", "-m", "asked for", "-y", "--json", config=filled, env=env)
    assert done.json == {"client": "c-1", "erased": True, "before": False}
    again = invoke("circuits", "erase", "c-1", "--by", "vera", "-m", "asked for", "-y", config=filled, env=env)
    assert again.out == "c-1 is erased already\n"
    typo = invoke("circuits", "erase", "c-11", "--by", "vera", "-m", "asked for", "-y", config=filled, env=env)
    assert typo.code == 1
    assert "nothing was erased" in typo.err
    keyless = invoke("circuits", "erase", "c-2", "--by", "vera", "-m", "asked for", "-y", config=filled)
    assert "there is no master key" in keyless.err


# --- keys ------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_revoked(config: Path) -> None:
    given = invoke("keys", "add", "vera", "--role", "approver", "--by", "mira", "--json", config=config)
    assert (given.json["name"], given.json["role"]) == ("vera", "approver")
    key = given.json["key"]
    plain = invoke("keys", "add", "robin", "--role", "reader", "--by", "mira", config=config)
    assert plain.out.strip().startswith("loom_")
    assert "shown only this once" in plain.err
    [first, second] = invoke("keys", "--json", config=config).json
    assert (first["name"], second["name"]) == ("vera", "robin")
    assert key.split("_")[2] not in "".join(
        file.read_bytes().decode("latin-1") for file in (config.parent / "data").rglob("*") if file.is_file()
    )
    gone = invoke("keys", "revoke", first["key_id"][:6], "--by", "mira", "-m", "lost", config=config)
    assert gone.code == 0
    assert "revoked" in invoke("keys", config=config).out
    assert invoke("keys", "revoke", "nothing", "--by", "mira", "-m", "lost", config=config).code == 2
    assert invoke("keys", "add", "vera", "--role", "king", "--by", "mira", config=config).code == 2


# --- serve -----------------------------------------------------------------------------------------


@contextmanager
def serving(config: Path, *more: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "loom.cli", "serve", "--port", "0", "--json", "-c", str(config), *more],
        cwd=config.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, process.communicate()[1]
        hello = json.loads(first)
        assert hello["event"] == "listening"
        assert hello["host"] == "127.0.0.1", "the loopback, unless somebody says otherwise"
        yield hello["port"], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionError:
        return False
    return True


def execute(port: int, key: str, word: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"circuitId": "CX30_SHOUT", "clientId": "c-1", "inputs": {"word": word}})
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
        connection.request("POST", "/api/circuits/execute?workspaceId=main", body=body, headers=sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def hand(*arguments: str, config: Path) -> Answer:
    """Run a command beside this event loop."""
    return await asyncio.to_thread(lambda: invoke(*arguments, config=config))


async def entries(config: Path) -> list[Any]:
    return (await hand("journal", "circuits/c-1", "--json", config=config)).lines


async def test_it_serves_the_circuits_of_the_config_and_answers_what_is_under_way_when_it_ends(config: Path) -> None:
    key = (await hand("keys", "add", "op", "--role", "operator", "--by", "mira", "--json", config=config)).json["key"]
    with serving(config) as (port, process):
        status, said = await asyncio.to_thread(execute, port, key, "hey")
        assert (status, said["data"]) == (200, {"shouted": "HEY"})
        later = (await hand("keys", "add", "late", "--role", "operator", "--by", "mira", "--json", config=config)).json[
            "key"
        ]
        status, _ = await asyncio.to_thread(execute, port, later, "hey")
        assert status == 200, "a key that is given to a server that runs works at once"
        [_, late] = (await hand("keys", "--json", config=config)).json
        assert (await hand("keys", "revoke", late["key_id"], "--by", "mira", "-m", "lost", config=config)).code == 0
        assert (await asyncio.to_thread(execute, port, later, "hey"))[0] == 401
        slow = asyncio.create_task(asyncio.to_thread(execute, port, key, "slow"))
        while sum(each["kind"] == "circuit.entered" for each in await entries(config)) < 3:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        while await asyncio.to_thread(_listens, port):
            await asyncio.sleep(0.01)
        (config.parent / "go").touch()
        status, said = await slow
        assert (status, said["data"]) == (200, {"shouted": "SLOW"})
        assert await asyncio.to_thread(process.wait, 30) == 0
    assert (await hand("verify", config=config)).code == 0
    history = (await hand("circuits", "--json", config=config)).json["execution_history"]
    assert [each["inputs"] for each in history] == [{"word": "***"}] * 3


def test_a_port_that_is_taken_and_a_workspace_that_is_held_are_told(config: Path) -> None:
    with serving(config) as (port, _):
        done = subprocess.run(
            [sys.executable, "-m", "loom.cli", "serve", "--port", "0", "-c", str(config)],
            cwd=config.parent,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: journal of lock file [")
        assert "Traceback" not in done.stderr
        other = config.parent / "other.yaml"
        other.write_text("data: other\nworkspace: main\n")
        done = subprocess.run(
            [sys.executable, "-m", "loom.cli", "serve", "--port", str(port), "-c", str(other)],
            cwd=config.parent,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "in use" in done.stderr
        assert "Traceback" not in done.stderr
