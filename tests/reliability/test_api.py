"""R30 to R32: anything sent to any route, every role in every workspace, and every host and site that may ask."""

from __future__ import annotations

import itertools
import random
import re
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from loom.circuits import Circuits
from tests.reliability.board import SEED, Tally, row
from tests.web.support import ROLES, Client, served
from tests.web.test_api import ALLOWED

EACH = 400
"""Requests to each route."""

CANARY = "canary-3f9d2a"
WORDS = (
    "circuitId",
    "clientId",
    "inputs",
    "circuits",
    "audienceSegment",
    "engagementScore",
    "conversionScore",
    "comment",
    "reason",
    "under",
    "policy",
    "ids",
    "run_id",
    "CX01_INTENT_DETECTION",
    "CX08_SELF_CORRECTION",
    "business_profile",
    "c-1",
    "s",
    "../..",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "\x00",
    "é" * 300,
    "1e400",
    "-1",
    "NaN",
    "null",
)
QUERIES = ("limit", "days", "after", "before", "since", "type", "run", "status", "baseline", "current", "clientId")


def anything(draw: random.Random, depth: int = 3) -> Any:
    kinds: list[Any] = [None, True, 0, -1, 2**63, 1e308, draw.choice(WORDS), draw.random(), draw.choice(WORDS)]
    if depth and draw.random() < 0.5:
        if draw.random() < 0.4:
            return [anything(draw, depth - 1) for _ in range(draw.randint(0, 3))]
        return {draw.choice(WORDS): anything(draw, depth - 1) for _ in range(draw.randint(0, 4))}
    return draw.choice(kinds)


def nearly(draw: random.Random, path: str) -> Any:
    """Return a body that is nearly what a route takes."""
    good: dict[str, Any] = {"clientId": "c-1"}
    if path.endswith("execute"):
        good |= {"circuitId": "CX01_INTENT_DETECTION", "inputs": {"business_profile": "x"}}
        if draw.random() < 0.3:
            good = {"clientId": "c-1", "circuits": [{"circuitId": "CX01_INTENT_DETECTION", "inputs": {}}]}
    elif path.endswith("autonomy"):
        good |= {"audienceSegment": "s"} | (
            {"engagementScore": 0.5, "conversionScore": 0.1} if draw.random() < 0.5 else {}
        )
    elif path.endswith("judge"):
        good = {"under": "circuit-cx01-intent-detection"}
    for _ in range(draw.randint(0, 2)):
        good[draw.choice([*good, *WORDS])] = anything(draw)
    return good


@pytest.mark.seconds(90)
@row("R30")
async def test_whatever_is_sent_to_any_route_is_answered_in_the_shapes_of_the_document(
    tmp_path: Path, tally: Tally
) -> None:
    draw = random.Random(SEED)
    async with served(tmp_path, requests_per_minute=10_000_000, stream_max_s=0.01) as client:
        await Circuits.of(client.loom()).run("c-1", [("CX01_INTENT_DETECTION", {"business_profile": "x"})])
        for method, path in ALLOWED:
            for _ in range(EACH):
                tally.tried()
                await _sent(client, draw, method, path, tally)


async def _sent(client: Client, draw: random.Random, method: str, path: str, tally: Tally) -> None:
    text = draw.choice([*WORDS[:20], "".join(draw.choices(string.printable.strip(), k=8))])
    where = re.sub(r"\{\w+\}", quote(text, safe=""), path)
    query = {draw.choice(QUERIES): str(anything(draw, 0)) for _ in range(draw.randint(0, 3))}
    body = None if method == "GET" else (nearly(draw, path) if draw.random() < 0.7 else anything(draw))
    try:  # the client holds every answer against the shape that the document says it has
        said = await client.call(method, f"{where}?{urlencode(query)}" if query else where, body)
    except Exception as error:
        tally.fail((method, where, query, body, error))
        return
    tally.heard[f"{said.status // 100}xx"] += 1
    tally.check(said.status < 500 or said.status == 503, (method, where, query, body, said))


@pytest.mark.seconds(60)
@row("R31")
async def test_no_role_does_more_than_it_may_and_no_key_sees_another_workspace(tmp_path: Path, tally: Tally) -> None:
    bounds: dict[str, Any] = {
        "requests_per_minute": 10_000_000,
        "failed_keys_per_minute": 10_000_000,
        "stream_max_s": 0.01,
    }
    async with served(tmp_path, **bounds) as client:
        document = (await client.call("GET", "/openapi.json", role=None, workspace="")).json
        routes = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        tally.check(routes - {("GET", "/health")} == set(ALLOWED), "a route that nobody said anything about")
        circuits = Circuits.of(client.loom("one"))
        await circuits.run(CANARY, [("CX08_SELF_CORRECTION", {"engagement_score": CANARY, "baseline": 1})])
        await circuits.count_cycle(CANARY, CANARY, engagement=0.5, conversion=0.1)
        ids = [each.decision_id for each in await client.loom("one").traces.find()]
        # What reads comes first: a name that is sent to the second workspace may be listed there afterwards.
        for (method, path), roles in sorted(ALLOWED.items(), key=lambda each: each[0][0] != "GET"):
            for text in (CANARY, *ids):
                where = re.sub(r"\{\w+\}", text, path)
                body: Any = None if method == "GET" else {}
                for role in ROLES:
                    said = await client.call(method, where, body, role=role, workspace="two")
                    tally.tried()
                    tally.check((said.status == 403) == (role not in roles), (method, where, role, said))
                    seen = said.body.replace(text.encode(), b"")
                    tally.check(CANARY.encode() not in seen, (method, where, role, "sees it"))
                    foreign = await client.call(method, where, body, role=role, workspace="one", of="two")
                    tally.tried()
                    tally.check(foreign.status == 401 and CANARY.encode() not in foreign.body, (where, foreign))
        seen = (await client.call("GET", "/api/journals", role="reader", workspace="one")).body
        tally.control(trials=1, found=CANARY.encode() in seen)


@pytest.mark.seconds(20)
@row("R32")
async def test_only_hosts_and_sites_that_are_served_are_answered(tmp_path: Path, tally: Tally) -> None:
    hosts = {
        "127.0.0.1": True,
        "localhost": True,
        "localhost:8765": True,
        "[::1]:80": True,
        "evil.example": False,
        "": False,
        "127.0.0.1.evil.example": False,
        "localhost@evil.example": False,
        "0.0.0.0": False,
        "localhost:99999999": False,
    }
    sites = {"": True, "same-origin": True, "none": True, "same-site": False, "cross-site": False}
    async with served(tmp_path) as client:
        for (host, good_host), (site, good_site) in itertools.product(hosts.items(), sites.items()):
            for origin, good_origin in (("", True), (f"http://{host}", True), ("http://evil.example:1", False)):
                given = {"Host": host, "Sec_Fetch_Site": site, "Origin": origin}
                headers = {name: text for name, text in given.items() if text or name == "Host"}
                said = await client.call("GET", "/api/runs", role="reader", headers=headers)
                tally.tried()
                wanted = good_host and good_site and good_origin
                tally.check((said.status == 200) == wanted, (headers, said.status))
                tally.check("access-control-allow-origin" not in said.headers, headers)
                if good_host:
                    tally.check(said.headers.get("x-content-type-options") == "nosniff", headers)
