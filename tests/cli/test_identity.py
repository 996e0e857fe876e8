"""Wherever the shell shows a person, it says where the name comes from; and every answer needs what it needs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from loom import Loom
from loom.decisions import RunStartedEntry
from loom.identity import Identity
from loom.journal import Append, draft
from loom.journal.chain import body_digest
from loom.policies.registry import PolicyRegistry
from tests.cli.agents import Note, NoteAgent, NoteParams, notes
from tests.cli.support import RunningLoom, configured, invoke


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A workspace in which a person has asked, and a run, an outcome, a suspension and a version name others."""
    path = configured(tmp_path / "shop")

    async def fill() -> None:
        async with Loom.open(path, by="opener") as loom:
            async with loom.runs.run(run_id="spring", by=Identity("kim", "api_key:7", "http")):
                light = await loom.actor(NoteAgent, "a").ask(Note(text="light"), id="light", by="robin")
            await loom.outcomes.observe(light.decision_id, correct=True, by="rosa")
            await loom.actor(NoteAgent, "a").tell(Note(text="heavy", weight=50), id="heavy", by="robin")
            while not await loom.approvals.pending():
                await asyncio.sleep(0.01)
            policies: PolicyRegistry = loom.policies
            other = await policies.register(notes.with_params(NoteParams(limit=5)), by="vera", reason="shorter")
            await policies.adopt(other.version, by=Identity("mira", "os_user:1000", "socket"))

    asyncio.run(fill())
    return path


def asked(config: Path) -> str:
    approval_id: str = invoke("approvals", "--json", config=config).json[0]["approval_id"]
    return approval_id


def said(*arguments: str, config: Path) -> str:
    answer = invoke(*arguments, config=config)
    assert answer.code == 0, answer.err
    return answer.out


def test_a_name_is_shown_with_its_source_wherever_one_is_shown(config: Path) -> None:
    approval_id = asked(config)
    assert "robin (claimed)" in said("approvals", config=config)
    assert "asked by  robin (claimed, via python), in note-agent/a" in said("approvals", approval_id, config=config)
    assert "robin (claimed)" in said("turns", config=config)
    granted = said("approve", approval_id, "--by", "dana", config=config)
    assert "by dana (claimed, via shell): note-agent/a" in granted
    assert "granted by dana (claimed, via shell)" in said("approvals", approval_id, config=config)
    assert "granted by dana (claimed, via shell)" in said("journal", "note-agent/a", config=config)
    assert "by robin (claimed, via python)" in said("journal", "note-agent/a", config=config)
    [light] = invoke("decisions", "--json", config=config).json
    why = " ".join(said("why", light["decision_id"], config=config).split())
    assert "asked for by robin (claimed, via python)" in why
    assert "says rosa (claimed, via python)" in why
    assert "by kim (api_key:7, via http)" in why
    assert "kim (api_key)" in said("runs", config=config)
    assert "by kim (api_key:7, via http)" in said("runs", "show", "spring", config=config)
    listed = said("policies", config=config)
    assert "vera (claimed)" in listed
    assert "by mira (os_user)" in listed
    version = next(each for each in invoke("policies", "--json", config=config).json if each["adopted"])
    shown = said("policies", "show", version["version"], config=config)
    assert "by vera (claimed, via python): shorter" in shown
    assert "by mira (os_user:1000, via socket)" in shown


def test_what_code_did_at_start_is_said_to_be_codes(config: Path) -> None:
    versions = invoke("policies", "--json", config=config).json
    [first] = [each for each in versions if each["trigger"] == "code" and each["has_rule"]]
    assert "by code, in the name of opener (claimed, via code)" in said(
        "policies", "show", first["version"], config=config
    )


def test_programs_read_the_source_beside_the_name(config: Path) -> None:
    approval_id = asked(config)
    answered = invoke("approve", approval_id, "--by", "dana", "--json", config=config).json
    assert (answered["answered_by"], answered["answered_identity_source"], answered["answered_via"]) == (
        "dana",
        "claimed",
        "shell",
    )
    assert answered["role"] is None
    assert (answered["requested_identity_source"], answered["requested_via"]) == ("claimed", "python")


def test_over_the_socket_of_its_owner_a_name_is_claimed(config: Path) -> None:
    approval_id = asked(config)
    with RunningLoom(config):
        answered = said("approve", approval_id, "--by", "dana", config=config)
        assert "by dana (claimed, via socket)" in answered
        sent = invoke(
            "run", "note-agent/a", "Note", '{"text": "x"}', "--by", "erin", "--id", "x", "--json", config=config
        )
        assert sent.code == 0
        assert "by erin (claimed, via socket)" in said("journal", "note-agent/a", config=config)


@pytest.mark.parametrize("given", [(), ("-m", ""), ("-m", "  ")])
def test_a_denial_needs_a_reason(config: Path, given: tuple[str, ...]) -> None:
    approval_id = asked(config)
    refused = invoke("deny", approval_id, "--by", "dana", *given, config=config)
    assert refused.code == 2
    with RunningLoom(config):
        assert invoke("deny", approval_id, "--by", "dana", *given, config=config).code == 2
        assert asked(config) == approval_id


def test_the_person_who_registered_a_version_does_not_adopt_it(config: Path) -> None:
    other = next(each for each in invoke("policies", "--json", config=config).json if each["adopted"])
    first = next(each for each in invoke("policies", "--json", config=config).json if each["trigger"] == "code")
    assert invoke("policies", "adopt", first["version"], "--by", "vera", config=config).code == 0
    refused = invoke("policies", "adopt", other["version"], "--by", "Vera", config=config)
    assert refused.code == 1
    assert "proposed by [Vera]" in refused.err
    with RunningLoom(config):
        assert invoke("policies", "adopt", other["version"], "--by", "vera", config=config).code == 1
        assert invoke("policies", "adopt", other["version"], "--by", "dana", config=config).code == 0


def test_what_was_written_before_sources_were_kept_says_so(tmp_path: Path) -> None:
    config = configured(tmp_path / "shop")

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            old: dict[str, object] = {
                "step": None,
                "run_id": "r",
                "run_kind": "live",
                "by": "ana",
                "policies": [],
                "parameters": {},
            }
            body = json.dumps({**old, "seed": None, "note": None}).encode()
            new = draft(RunStartedEntry(run_id="r", run_kind="live", by="ana"))
            ready = new._replace(schema_version=1, body=body, body_digest=body_digest(new.salt, body))
            head = await loom.store.head("loom/runs")
            await loom.store.append(Append("loom/runs", head.sequence, (ready,)))

    asyncio.run(fill())
    assert "by ana (source not recorded)" in said("runs", "show", "r", config=config)
    assert invoke("runs", "show", "r", "--json", config=config).json["identity_source"] is None
