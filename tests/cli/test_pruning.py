"""Encrypted archives, `loom subjects prune` and `loom subjects scan` by hand."""

from __future__ import annotations

import asyncio
import base64
import zipfile
from pathlib import Path

import pytest

from loom import Loom, LoomConfig
from loom.circuits import Circuits
from loom.sealing import MASTER_KEY, SealingConfig
from tests.cli.support import invoke

KEY = base64.b64encode(bytes(range(32))).decode()
INPUTS = {"business_profile": "Ada's bakery in Soho", "campaign_goal": "sell more rye bread"}
NAMED = ("--by", "vera", "-m", "she asked")
ANYWAY = ("--override-retention", "she asked")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MASTER_KEY, KEY)

    async def fill() -> None:
        sections = {"sealing": SealingConfig(enabled=True)}
        async with Loom.open(LoomConfig(data=tmp_path / "data", sections=sections), by="mira") as loom:
            for client in ("ada", "bob"):
                await Circuits.of(loom).run(client, [("CX01_INTENT_DETECTION", INPUTS)])

    asyncio.run(fill())
    file = tmp_path / "loom.config.yaml"
    file.write_text("data: data\nextensions: [circuits]\nsealing: {enabled: true}\n")
    return file


def test_an_archive_is_encrypted_verified_without_a_key_and_read_as_sealed(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    asked = ("archive", "--older-than", "0s", "--by", "vera", "-o", file, "--encrypt")
    none = invoke(*asked, config=config)
    assert none.code == 1
    assert "longer than retention keeps it" in none.err
    said = invoke(*asked, *ANYWAY, config=config)
    assert said.code == 0, said.err
    assert "2 journals" in said.out
    assert "encrypted" in said.out
    verified = invoke("archive", "verify", file, config=config)
    assert verified.code == 0
    assert "sealed)" in verified.out
    shown = invoke("archive", "show", file, "circuits/ada", config=config)
    assert shown.code == 0
    assert "rye" not in shown.out
    with zipfile.ZipFile(file) as opened:
        assert b"CX01_INTENT_DETECTION" not in opened.read("entries.jsonl").replace(b"\n{", b"").split(b'"context"')[0]
    pruned = invoke("archive", "prune", file, *NAMED, "-y", *ANYWAY, "--json", config=config)
    assert sorted(pruned.json["journals"]) == ["circuits/ada", "circuits/bob"]
    assert invoke("archive", "verify", file, config=config).code == 0


def test_bodies_of_a_person_go_into_an_archive_where_they_may(config: Path, tmp_path: Path) -> None:
    refused = invoke("subjects", "prune", "ada", *NAMED, config=config)
    assert refused.code == 2
    assert "expected --yes" in refused.err
    kept = invoke("subjects", "prune", "ada", *NAMED, "-y", "--archive", tmp_path, config=config)
    assert kept.code == 1
    assert "circuits/ada was left: retention keeps it until" in kept.out
    done = invoke("subjects", "prune", "ada", *NAMED, "-y", "--archive", tmp_path, *ANYWAY, "--json", config=config)
    assert done.code == 0, done.out
    assert list(done.json["journals"]) == ["circuits/ada"]
    assert Path(done.json["file"]).parent == tmp_path
    assert invoke("verify", config=config).code == 0
    again = invoke("subjects", "prune", "carl", *NAMED, "-y", "--archive", tmp_path, *ANYWAY, config=config)
    assert "Nothing was pruned." in again.out


def test_a_scan_says_that_nothing_is_in_clear_and_prunes_in_a_name_alone(config: Path, tmp_path: Path) -> None:
    assert "No declared field is in clear." in invoke("subjects", "scan", config=config).out
    refused = invoke("subjects", "scan", "--prune", "--archive", tmp_path, config=config)
    assert refused.code == 2
    assert "expected --archive, --by and -m" in refused.err
    done = invoke("subjects", "scan", "--prune", "--archive", tmp_path, *NAMED, "--json", config=config)
    assert done.json == {"file": None, "digest": None, "journals": {}, "left": {}}
