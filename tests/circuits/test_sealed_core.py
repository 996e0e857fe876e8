"""One line of config has the core circuits encrypt what they are given of a client, and what they make of it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.circuits import CORE, Circuits
from loom.circuits.core import CLIENT_DATA
from loom.circuits.entries import CircuitEnteredEntry, CircuitSucceededEntry
from loom.errors import AdmissionError
from loom.journal.sqlite.verify import verify
from loom.sealing import MASTER_KEY, is_sealed
from tests.cli.support import invoke
from tests.golden.reading import HERE, copied

SECRETS = {
    "business_profile": "Ada's bakery, VAT 4711",
    "campaign_goal": "more leads for Ada",
    "historical_context": {"last": "the summer of Ada"},
    "location": "12 Ada Street",
    "industry": "Tech of Ada",
    "client_history": ["Ada bought once"],
    "draft_content": "Ada's bread is fine",
    "brand_rules": {"banned": ["Bob"]},
    "platform_metrics": {"clicks": 5, "impressions": 100, "page": "ada.example.org"},
}
CHAIN: list[tuple[str, dict[str, Any]]] = [
    (
        each.definition.circuit_id,
        {name: SECRETS[name] for name in (*each.definition.inputs, *each.definition.optional) if name in SECRETS},
    )
    for each in CORE[:7]
    if each.definition.circuit_id[:4] != "CX03"
]


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, sealing: str = "sealing: {enabled: true}") -> AsyncIterator[Loom]:
    config = path / "loom.config.yaml"
    config.write_text(f"data: data\nextensions: [circuits]\n{sealing}\n")
    async with Loom.open(config, by="mira") as loom:
        yield loom


def on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted((path / "data").rglob("*")) if each.is_file())


def checked(path: Path) -> str:
    """Return what the doctor says of sealing."""
    checks = invoke("doctor", "--json", config=path / "loom.config.yaml").json["checks"]
    [found] = [each["found"] for each in checks if each["about"] == "sealing"]
    return str(found)


async def entries(loom: Loom, kind: type[Any]) -> list[Any]:
    return [each.entry async for each in loom.store.read("circuits/ada") if isinstance(each.entry, kind)]


async def test_one_line_has_nothing_of_a_client_on_the_disk_and_the_caller_reads_it_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", CHAIN, execution_id="e-1", by="vera")
        assert reply.success
        assert reply.final_output["approved_content"] == SECRETS["draft_content"]
        assert str(reply.final_output["final_asset"]).endswith("Ada's bread is fine")
        assert reply.final_output["detected_intent"] == "lead_generation"
        assert reply == await Circuits.of(loom).run("ada", CHAIN, execution_id="e-1", by="vera")
        entered = await entries(loom, CircuitEnteredEntry)
        for each in entered:
            sealed = {name for name, value in each.inputs.items() if is_sealed(value)}
            assert sealed == {*CLIENT_DATA.get(each.circuit_id, ())} & each.inputs.keys()
            assert each.protected == dict.fromkeys(sealed, "seal")
        audit = await Circuits.of(loom).view.audit()
        assert audit["execution_history"][-1]["inputs"]["business_profile"] == "sealed"
        driven = [each async for each in loom.replay.verify("circuits/ada")]
        assert [each.verdict for each in driven] == ["same"]
        await Circuits.of(loom).erase("ada", by="vera", reason="she asked for it")
        erased = (await Circuits.of(loom).view.audit())["execution_history"][-1]
        assert erased["inputs"]["business_profile"] == "erased"
    left = on_disk(tmp_path)
    for secret in ("bakery", "leads for", "summer of", "Ada Street", "Tech of", "bought once", "bread", "ada.example"):
        assert secret.encode() not in left, secret
    assert verify(tmp_path / "data" / "default" / "journal.db", workspace="default").ok


@pytest.mark.parametrize(
    ("sealing", "told"),
    [
        ("", "off: what circuits are given"),
        ("sealing: {enabled: false}", "off: what circuits are given"),
        ("sealing: {enabled: true, core_circuits: false}", "on for fields of your circuits"),
    ],
)
def test_by_default_and_where_it_is_left_out_it_is_written_as_it_is_and_the_doctor_says_so(
    tmp_path: Path, sealing: str, told: str
) -> None:
    async def run() -> None:
        async with opened(tmp_path, sealing) as loom:
            await Circuits.of(loom).run("ada", CHAIN)
            assert {str(each.protected) for each in await entries(loom, CircuitSucceededEntry)} == {"{}"}

    asyncio.run(run())
    assert b"bakery" in on_disk(tmp_path)
    assert checked(tmp_path).startswith(told)


def test_the_doctor_says_that_it_is_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path):
            pass

    asyncio.run(run())
    assert checked(tmp_path) == "on: 13 fields of the core circuits, and those of yours, are encrypted"


async def test_the_same_ids_and_versions_as_before_where_it_is_off(tmp_path: Path) -> None:
    async with opened(tmp_path, "") as loom:
        registered = {each.policy.name: each.policy.version_hash for each in CORE}
        assert {name: loom.policies.latest(name).hash for name in registered} == registered


async def test_a_turn_from_before_it_was_turned_on_is_resumed_and_what_comes_then_is_sealed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    copied(HERE / "corrections", tmp_path / "data")
    async with opened(tmp_path) as loom:
        circuits = Circuits.of(loom)
        step: tuple[str, dict[str, Any]] = ("CX05_BRAND_GUARD", {"draft_content": "Ada's own", "brand_rules": []})
        assert (await circuits.run("client-3", [step])).success
        audit = await circuits.view.audit(client_id="client-3", days=36_500)
        shown = [each["circuit_id"][:4] for each in reversed(audit["execution_history"]) if each["success"]]
        assert shown == ["CX01", "CX02", "CX03", "CX04", "CX05", "CX06", "CX05"], "the turn of before came to its end"
        assert audit["execution_history"][0]["inputs"]["draft_content"] == "sealed"
    assert b"Ada's own" not in on_disk(tmp_path)


async def test_values_that_are_given_sealed_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("ada", CHAIN)
        [first, *_] = await entries(loom, CircuitEnteredEntry)
        with pytest.raises(AdmissionError, match="looks like a protected value"):
            await circuits.run("ada", [(first.circuit_id, first.inputs)])


def test_what_is_sealed_is_declared_by_the_circuits_and_no_free_text_of_a_client_is_left_out() -> None:
    said = {each.definition.circuit_id: each.definition for each in CORE}
    classes = {
        "client_id",
        "detected_intent",
        "intent",
        "audience_segment",
        "segment",
        "prior_strategy",
        "strategy_id",
        "content_strategy_id",
        "creativity",
        "engagement_score",
        "baseline",
        "correction_needed",
    }
    for name, definition in said.items():
        declared = {*definition.inputs, *definition.optional, *definition.outputs}
        assert declared - classes == {*CLIENT_DATA.get(name, ())}, name
