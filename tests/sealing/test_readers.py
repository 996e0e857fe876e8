"""Readers: who opens the sealed facts of decisions, what is journaled of it, and what becomes of them without."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loom import Loom, LoomConfig
from loom.decisions import Decision, DecisionJournalEntry
from loom.errors import AdmissionError, ConfigError, NotAReaderError
from loom.identity import Edge, Identity, derived_id
from loom.journal import Append, draft
from loom.operations import Operations
from loom.policies.tables import Table
from loom.replay import Selection
from loom.sealing import MASTER_KEY, SealedOpenedEntry, SealingConfig, declared_paths, is_sealed, protect
from tests.cli.support import invoke
from tests.replay.test_judging import CASES, TABLE, V2, Ask, Seller, registered

READER = Identity("vera", "api_key:0123456789abcdef", "http")
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
READERS = ("api_key:0123456789abcdef", f"os_user:{os.getuid()}")
OF_ADA = Selection(journal="seller/ada")
SECRET = {"percent": 31, "industry": "a secret trade"}
QUOTES = Table.of({**TABLE, "otherwise": {"name": "else", "effect": "deny", "why": "not {industry}"}})


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opening(path: Path, *, readers: Sequence[str] = READERS) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True, readers=tuple(readers))})
    async with Loom.open(config, actors=[Seller], by="robin") as loom:
        yield loom


async def sealed(loom: Loom, subject: str, *cases: dict[str, Any]) -> list[Decision]:
    """Have decisions made, and write them down as those of a subject: with their facts sealed."""
    made, drafts = [], []
    declared = declared_paths({"facts.percent": "seal", "facts.industry": "seal"})
    for facts in cases:
        one = await loom.actor(Seller, "plain").ask(Ask(facts=facts))
        plain = (await loom.traces.get(one)).decision
        written: Any = await protect({"facts": facts}, declared, vault=loom.subjects.vault, subject=subject)
        own = derived_id("test", subject, one)
        made.append(plain.model_copy(update={"decision_id": own, "facts": written["facts"], "refers": None}))
        drafts.append(draft(DecisionJournalEntry(decision=made[-1]), policy_hash=bytes.fromhex(plain.under.hash)))
    head = await loom.store.head(f"seller/{subject}")
    await loom.store.append(Append(f"seller/{subject}", head.sequence, tuple(drafts)))
    await loom.reached()
    return made


async def openings(loom: Loom) -> list[SealedOpenedEntry]:
    return [e.entry async for e in loom.store.read("loom/access") if isinstance(e.entry, SealedOpenedEntry)]


async def test_sealed_facts_are_judged_and_audited_only_once_a_reader_opened_them(tmp_path: Path) -> None:
    async with opening(tmp_path) as loom:
        await sealed(loom, "ada", *CASES)
        [v2] = await registered(loom, V2)
        closed, audited = await loom.replay.judge(OF_ADA, under=v2), await loom.policies.audit(OF_ADA)
        assert closed.not_replayable == {"sealed": len(CASES)}
        assert (audited.counts, audited.verdict, audited.confirmed) == ({"sealed": len(CASES)}, "unconfirmed", 0)
        assert await openings(loom) == []

        opened = await loom.replay.opening(OF_ADA, by=READER, reason="a complaint")
        [entry] = await openings(loom)
        assert (entry.by, entry.identity_source, entry.via) == ("vera", READER.source, "http")
        assert (entry.subjects, entry.reason, entry.purpose) == (("ada",), "a complaint", "judge")
        assert entry.what == {"selections": [{"journal": "seller/ada"}]}
        found = await loom.replay.judge(OF_ADA, under=v2, opened=opened)
        plain = await loom.replay.judge(Selection(journal="seller/plain"), under=v2)
        assert (found.not_replayable, found.flipped) == ({}, plain.flipped)
        assert found.flipped
        again = await loom.policies.audit(OF_ADA, opened=opened)
        assert (again.confirmed, again.verdict) == (len(CASES), "sound")
        assert len([c async for c in loom.replay.cases(OF_ADA, under=v2, opened=opened) if c.verdict == "flipped"])
        assert len(await openings(loom)) == 1, "one for the run"

        await loom.subjects.erase("ada", by="vera", reason="asked for")
        for sight in (None, opened):
            gone = await loom.replay.judge(OF_ADA, under=v2, opened=sight)
            assert gone.not_replayable == {"erased": len(CASES)}
            looked = await loom.policies.audit(OF_ADA, opened=sight)
            assert (looked.counts, looked.verdict) == ({"erased": len(CASES)}, "unconfirmed")
        await loom.replay.opening(OF_ADA, by=READER, reason="again")
        assert len(await openings(loom)) == 1, "nothing is left to open"


async def test_what_was_opened_for_some_subjects_opens_nothing_of_others(tmp_path: Path) -> None:
    async with opening(tmp_path) as loom:
        await sealed(loom, "ada", CASES[0])
        opened = await loom.replay.opening(OF_ADA, by=READER, reason="a complaint")
        await sealed(loom, "bob", CASES[1])
        of_bob = Selection(journal="seller/bob")
        [own] = {each.under.hash for each in await sealed(loom, "ada", CASES[2])}
        assert (await loom.replay.judge(of_bob, under=own, opened=opened)).not_replayable == {"sealed": 1}
        assert (await loom.replay.judge(OF_ADA, under=own, opened=opened)).not_replayable == {}


NOBODY = [
    ("vera", "only claimed"),
    (Identity("vera", "system", None), "none of the readers"),
    (Identity("vera", None, None), "only claimed"),
    (Identity("vera", "api_key:ffffffffffffffff", "http"), "none of the readers"),
]


@pytest.mark.parametrize(("by", "why"), NOBODY)
async def test_a_name_that_is_claimed_or_not_a_readers_opens_nothing(tmp_path: Path, by: Any, why: str) -> None:
    async with opening(tmp_path) as loom:
        await sealed(loom, "ada", CASES[0])
        with pytest.raises(NotAReaderError, match=why):
            await loom.replay.opening(OF_ADA, by=by, reason="a complaint")
        with pytest.raises(AdmissionError, match="say why"):
            await loom.replay.opening(OF_ADA, by=READER, reason=" ")
        refused: dict[str, Any] = {"subject": "ada", "by": "vera", "reason": "asked for"}
        with pytest.raises(NotAReaderError, match="only claimed"):
            await Operations(loom).call("subjects.export", refused, edge=Edge("socket"))
        assert [each async for each in loom.store.read("loom/access")] == []


async def test_a_locked_vault_opens_nothing(tmp_path: Path) -> None:
    async with opening(tmp_path) as loom:
        await sealed(loom, "ada", CASES[0])
        loom.subjects.vault, kept = None, loom.subjects.vault
        with pytest.raises(ConfigError, match="no vault"):
            await loom.replay.opening(OF_ADA, by=READER, reason="a complaint")
        loom.subjects.vault = kept
        assert await openings(loom) == []


@pytest.mark.parametrize("reader", ["vera", "claimed", "system", "api_key:short", "os_user:-1", "os_user:vera", ""])
def test_only_what_is_established_can_be_a_reader(reader: str) -> None:
    with pytest.raises(ValidationError, match="is none"):
        SealingConfig(readers=(reader,))


async def test_a_kept_replay_has_its_copy_sealed_for_the_same_subject(tmp_path: Path) -> None:
    async with opening(tmp_path) as loom:
        [original] = await sealed(loom, "ada", SECRET)
        [v2] = await registered(loom, QUOTES)
        opened = await loom.replay.opening(OF_ADA, by=READER, reason="a complaint")
        kept = await loom.replay.judge(OF_ADA, under=v2, keep=True, by="vera", opened=opened)
        other = await loom.replay.judge(
            OF_ADA, what_if={"percent": "-10"}, under=v2, keep=True, by="vera", opened=opened
        )
        by_code = await loom.replay.judge(
            OF_ADA, facts=lambda facts: {**facts, "percent": 40}, under=v2, keep=True, by="vera", opened=opened
        )
        copies: list[Any] = []
        for judged in (kept, other, by_code):
            async for each in loom.store.read(f"replay/{judged.run_id}"):
                assert b"secret trade" not in (each.body or b"")
                copies.append(each.entry)
        again, what_if, function = [each.decision for each in copies]
        assert again.facts == original.facts
        assert {name for name, value in what_if.facts.items() if is_sealed(value)} == {"percent", "industry"}
        assert {value["subject"] for each in (what_if, function) for value in each.facts.values()} == {"ada"}
        run = Selection(run_id=other.run_id)
        sight = await loom.replay.opening(run, by=READER, reason="a look at the copy")
        assert (await loom.policies.audit(run, opened=sight)).confirmed == 1
        await loom.subjects.erase("ada", by="vera", reason="asked for")
        assert (await loom.policies.audit(run, opened=sight)).counts == {"erased": 1}


def test_the_shell_opens_through_the_running_loom_or_by_opening_the_workspace(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text(
        "data: data\nmodules: [tests.replay.test_judging:Seller]\n"
        f"sealing: {{enabled: true, readers: [{', '.join(READERS)}]}}\n"
    )
    own = Seller.policy.version_hash

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            await sealed(loom, "ada", *CASES)

    asyncio.run(fill())
    judge = ("replay", "judge", "-u", own, "--of", "seller/ada")
    named = ("--open", "--by", ACCOUNT, "--why", "a complaint")
    said = invoke(*judge, "--json", config=config)
    assert (said.code, said.json["not_replayable"]) == (3, {"sealed": len(CASES)})
    audited = invoke("policies", "audit", "--of", "seller/ada", config=config)
    assert (audited.code, "facts are sealed" in audited.out) == (3, True)
    said = invoke(*judge, *named, "--cases", "--json", config=config)
    assert (said.code, said.json["unchanged"], said.json["coverage"]) == (0, len(CASES), 1.0)
    assert invoke("policies", "audit", "--of", "seller/ada", *named, "--json", config=config).json["sound"] is True
    against = invoke(
        *judge,
        *named,
        "--against",
        "outcome",
        "--map",
        "granted:true=allow",
        "--map",
        "granted:false=deny",
        "--cases",
        "--json",
        config=config,
    )
    assert against.json["not_replayable"] == {}
    claimed = invoke(*judge, "--open", "--by", f"not-{ACCOUNT}", "--why", "x", config=config)
    assert (claimed.code, "only claimed" in claimed.err, claimed.out) == (1, True, "")
    assert invoke(*judge, "--open", "--by", ACCOUNT, config=config).code == 2
    assert invoke(*judge, "--why", "x", config=config).code == 2
    lines = invoke("subjects", "show", "ada", "--json", config=config).lines
    assert [each["body"]["identity_source"] for each in lines if each["kind"] == "sealed_opened"] == [READERS[1]] * 3
    assert [each["body"]["purpose"] for each in lines if each["kind"] == "sealed_opened"] == ["judge", "audit", "judge"]
    assert "percent" not in json.dumps([each["body"] for each in lines if each["journal"] == "loom/access"])


async def test_a_running_loom_knows_the_account_that_asks(tmp_path: Path) -> None:
    async with opening(tmp_path) as loom:
        await sealed(loom, "ada", CASES[0])
        given: dict[str, Any] = {
            "selection": {"journal": "seller/ada"},
            "under": Seller.policy.version_hash,
            "opened_by": ACCOUNT,
            "opened_why": "a complaint",
        }
        operations = Operations(loom)
        said: Any = await operations.call("replay.judge", given, edge=Edge("socket", None, os.getuid()))
        assert said["found"]["unchanged"] == 1
        for edge in (Edge("socket"), Edge("socket", None, 54_321)):
            with pytest.raises(NotAReaderError):
                await operations.call("replay.judge", given, edge=edge)
        assert [(each.by, each.identity_source) for each in await openings(loom)] == [(ACCOUNT, READERS[1])]
