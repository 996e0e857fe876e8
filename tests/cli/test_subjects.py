"""`loom subjects`: what there is of a person, handed out, held and erased, in words and in JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
import stat
from pathlib import Path

import pytest

from loom import Loom, LoomConfig
from loom.circuits import Circuits
from loom.sealing import MASTER_KEY, SealingConfig
from tests.cli.support import invoke

ENV = {MASTER_KEY: base64.b64encode(bytes(range(32))).decode()}
INPUTS = {"business_profile": "Ada's bakery in Soho", "campaign_goal": "sell more rye bread"}
NAMED = ("--by", "vera", "-m", "she asked")
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
READER = ("--by", ACCOUNT, "-m", "she asked")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MASTER_KEY, ENV[MASTER_KEY])

    async def fill() -> None:
        sections = {"sealing": SealingConfig(enabled=True)}
        async with Loom.open(LoomConfig(data=tmp_path / "data", sections=sections), by="mira") as loom:
            for client in ("ada", "bob"):
                await Circuits.of(loom).run(client, [("CX01_INTENT_DETECTION", INPUTS)])

    asyncio.run(fill())
    file = tmp_path / "loom.config.yaml"
    file.write_text(
        f"data: data\nextensions: [circuits]\nsealing: {{enabled: true, readers: ['os_user:{os.getuid()}']}}\n"
    )
    return file


def test_what_there_is_of_a_person_is_listed_shown_handed_out_held_and_erased(config: Path, tmp_path: Path) -> None:
    ada, bob = invoke("subjects", "--json", config=config).json
    assert (ada["subject"], ada["state"], ada["journals"], bob["subject"]) == ("ada", "sealed", ["circuits/ada"], "bob")
    assert ada["values"] >= ada["entries"] >= 2
    listed = invoke("subjects", config=config).out
    assert "circuits/ada" in listed
    shown = invoke("subjects", "show", "ada", config=config)
    assert "neither erased nor held" in shown.out
    assert "command_received" in shown.out
    assert "turn_completed" in shown.out, "all of a turn concerns whom something in it is sealed for"
    assert "rye" not in shown.out
    assert "nonce" not in shown.out
    lines = invoke("subjects", "show", "ada", "--json", config=config).lines
    assert {each["journal"] for each in lines} == {"circuits/ada"}
    assert invoke("subjects", "show", "carl", config=config).code == 1

    out = tmp_path / "ada.json"
    assert invoke("subjects", "export", "ada", *READER, "-o", out, config=config).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    document = json.loads(out.read_text())
    assert "rye bread" in json.dumps(document["entries"])
    assert '"$sealed"' not in out.read_text()
    last = invoke("subjects", "show", "ada", "--json", config=config).lines[-1]
    assert (last["kind"], last["body"]["by"], last["body"]["entries"]) == (
        "subject_handed_out",
        ACCOUNT,
        len(document["entries"]),
    )
    assert invoke("subjects", "export", "carl", *READER, config=config).code == 1

    assert invoke("subjects", "hold", "ada", *NAMED, config=config).out == "ada is held\n"
    assert invoke("subjects", "hold", "ada", *NAMED, "--json", config=config).json["before"] is True
    for refused in (("subjects", "erase"), ("circuits", "erase")):
        held = invoke(*refused, "ada", *NAMED, "--yes", config=config)
        assert held.code == 1
        assert "is held by" in held.err
    assert [each["state"] for each in invoke("subjects", "--json", config=config).json] == ["held", "sealed"]
    assert invoke("subjects", "hold", "ada", *NAMED, "--lift", config=config).out == "ada is held no longer\n"
    assert "could never be opened again" in invoke("subjects", "erase", "ada", *NAMED, config=config).err
    erased = invoke("subjects", "erase", "ada", *NAMED, "--yes", "--json", config=config)
    assert erased.json == {"subject": "ada", "erased": True, "before": False}
    assert "erased already" in invoke("subjects", "erase", "ada", *NAMED, "--yes", config=config).out
    assert "erased already" in invoke("circuits", "erase", "ada", *NAMED, "--yes", config=config).out
    typo = invoke("subjects", "erase", "adda", *NAMED, "--yes", config=config)
    assert (typo.code, "nothing was erased" in typo.err) == (1, True)
    assert invoke("subjects", "hold", "ada", *NAMED, config=config).code == 1, "too late"
    assert [each["state"] for each in invoke("subjects", "--json", config=config).json] == ["erased", "sealed"]
    after = invoke("subjects", "export", "ada", *READER, config=config).json
    assert "rye bread" not in json.dumps(after)
    assert '"erased"' in json.dumps(after)
    assert "erased by vera" in invoke("subjects", "show", "ada", config=config).out


def test_nothing_is_handed_out_without_the_key_or_a_reason_and_a_look_needs_neither(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = invoke("subjects", "export", "ada", "--by", ACCOUNT, "-m", " ", config=config)
    assert (blank.code, "expected one: say why" in blank.err) == (2, True)
    monkeypatch.delenv(MASTER_KEY)
    locked = invoke("subjects", "export", "ada", *READER, config=config)
    assert (locked.code, locked.out) == (2, "")
    assert "there is no master key" in locked.err
    assert len(invoke("subjects", "--json", config=config).json) == 2
    assert not [
        each for each in invoke("subjects", "show", "ada", "--json", config=config).lines if "handed" in each["kind"]
    ]
