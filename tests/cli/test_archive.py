"""`loom archive` by hand: sealed, verified, read, replayed and pruned, beside nobody and beside a loom that runs."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from pathlib import Path

import pytest

from loom import Loom
from tests.cli.agents import Note, NoteAgent
from tests.cli.support import RunningLoom, configured, invoke, run

WHY = ("--override-retention", "a test")
SEALED = ("archive", "--older-than", "0s", "--by", "vera", *WHY)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configured(tmp_path_factory.mktemp("kept"))

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            for name in ("a", "b"):
                for number in range(3):
                    await loom.actor(NoteAgent, name).ask(Note(text=f"note {number}"), by="robin")

    asyncio.run(fill())
    return config


@pytest.fixture
def config(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "loom.config.yaml"


def test_nothing_is_a_year_old_yet_and_an_age_that_is_none_is_told(config: Path, tmp_path: Path) -> None:
    said = invoke("archive", "-o", tmp_path / "a.zip", config=config)
    assert (said.code, said.out) == (1, "")
    assert "no journal of an actor has been at rest since" in said.err
    assert not (tmp_path / "a.zip").exists()
    wrong = invoke("archive", "--older-than", "soon", config=config)
    assert wrong.code == 2
    assert "[soon] is no age" in wrong.err


def test_what_retention_keeps_is_sealed_for_a_reason_alone_and_the_config_says_what_it_keeps(
    config: Path, tmp_path: Path
) -> None:
    asked = ("archive", "--older-than", "0s", "--by", "vera", "-o", tmp_path / "a.zip")
    said = invoke(*asked, config=config)
    assert (said.code, said.out) == (1, "")
    assert "longer than retention keeps it" in said.err
    assert not (tmp_path / "a.zip").exists()
    said = invoke(*asked, "--override-retention", " ", config=config)
    assert said.code == 2
    assert "an override of retention has no reason" in said.err
    assert not (tmp_path / "a.zip").exists(), "a file that no journal vouches for is not left behind"
    text = config.read_text()
    config.write_text(text + "retention: {keep_days: 365, kinds: {note-agent: 0}}\n")
    checks = {each["about"]: each["found"] for each in invoke("doctor", "--json", config=config).json["checks"]}
    assert checks["retention"] == "365 days after the last entry (note-agent 0)"
    assert invoke("archive", "--by", "vera", "-o", tmp_path / "b.zip", config=config).code == 0
    pruned = invoke("archive", "prune", tmp_path / "b.zip", "--by", "vera", "-m", "over", "-y", "--json", config=config)
    assert sorted(pruned.json["journals"]) == ["note-agent/a", "note-agent/b"]
    journaled = invoke("journal", "loom/archives", "--json", config=config).lines
    assert [each["kind"] for each in journaled] == ["archived", "pruned", "pruned"], "nothing was overridden"


def test_journals_are_sealed_verified_read_and_replayed(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    sealed = invoke(*SEALED, "-o", path, "--json", config=config)
    assert (sealed.json["journals"], sealed.json["by"], sealed.json["left"]) == (2, "vera", {})
    assert invoke(*SEALED, "-o", path, config=config).code == 2, "it is there already"
    verified = invoke("archive", "verify", path, config=config)
    assert verified.code == 0
    assert verified.out.startswith("VERIFIED ")
    assert "knows this archive, and agrees with it" in verified.out
    listed = invoke("archive", "show", path, config=config)
    assert "note-agent/a" in listed.out
    assert "context" in listed.out
    here = invoke("archive", "show", path, "note-agent/a", "--json", config=config).lines
    assert here == invoke("journal", "note-agent/a", "--json", config=config).lines
    assert "note 1" in invoke("archive", "show", path, "note-agent/a", config=config).out
    assert invoke("archive", "show", path, "note-agent/z", config=config).code == 1
    last = here[-1]["sequence"]
    there = invoke("replay", "note-agent/a", "--at", str(last), "--json", config=config).json
    assert invoke("archive", "replay", path, "note-agent/a", "--json", config=config).json == there
    driven = invoke("archive", "replay", path, "note-agent/a", "--verify", "--json", config=config)
    assert driven.code == 0
    assert {each["verdict"] for each in driven.json} == {"same"}
    assert len(driven.json) == 3
    assert invoke("archive", "replay", path, "note-agent/z", config=config).code != 0


def test_an_archive_is_verified_where_there_is_no_loom_and_a_changed_one_is_found(
    config: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "a.zip"
    assert invoke(*SEALED, "-o", path, config=config).code == 0
    alone = run("archive", "verify", path, "--json", cwd=tmp_path_factory.mktemp("elsewhere")).json
    assert (alone["ok"], alone["compared"]) == (True, "absent")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"note 1", b"note 7"))
    changed = invoke("archive", "verify", tmp_path / "b.zip", config=config)
    assert changed.code == 1
    assert "NOT VERIFIED" in changed.out
    assert invoke("archive", "verify", tmp_path / "none.zip", config=config).code == 2


def test_bodies_are_pruned_only_when_somebody_says_yes(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    assert invoke(*SEALED, "-o", path, config=config).code == 0
    prune = ("archive", "prune", path, "--by", "vera", "-m", "a year has passed")
    refused = invoke(*prune, config=config)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert invoke("verify", "--json", config=config).json["counts"].get("PRUNED") is None
    kept = invoke(*prune, "--yes", "--json", config=config)
    assert (kept.code, kept.json["journals"]) == (1, []), "they are younger than retention keeps them"
    assert kept.json["left"]["note-agent/a"].startswith("retention keeps it until ")
    done = invoke(*prune, "--yes", "--json", *WHY, config=config)
    assert sorted(done.json["journals"]) == ["note-agent/a", "note-agent/b"]
    after = invoke("verify", "--json", config=config)
    assert (after.code, after.json["counts"]["PRUNED"]) == (0, 2)
    assert invoke("journal", "note-agent/a", "--raw", config=config).out.count("(erased)") > 3
    compared = invoke("archive", "verify", path, config=config)
    assert compared.code == 0, "heads are the same"
    again = invoke(*SEALED, "-o", tmp_path / "b.zip", config=config)
    assert again.code == 1, "what was pruned is not sealed again without its bodies"


def test_a_loom_that_runs_is_told_and_prunes_itself(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with RunningLoom(config) as running:
        assert invoke(*SEALED, "-o", path, config=config).code == 0
        done = invoke("archive", "prune", path, "--by", "vera", "-m", "so be it", "-y", *WHY, config=config)
        assert done.code == 0, done
        code, _ = running.end()
        assert code == 0
    assert invoke("verify", config=config).code == 0
