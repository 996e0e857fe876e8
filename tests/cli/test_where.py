"""Which loom is meant: the config from here upwards, a journal by name, or a clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.support import invoke


@pytest.fixture
def journal(filled: Path) -> Path:
    return filled.parent / "data" / "w" / "journal.db"


def test_the_config_is_found_from_below(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = filled.parent / "some" / "where"
    below.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(below)
    assert invoke("journal", "--json").code == 0


def test_a_directory_names_the_config_in_it(filled: Path) -> None:
    assert invoke("journal", "--json", config=filled.parent).code == 0


def test_a_journal_is_named_by_its_file_its_directory_or_its_url(journal: Path) -> None:
    named = [invoke("journal", "--json", "-j", each) for each in (journal, journal.parent, f"sqlite:///{journal}")]
    assert [each.code for each in named] == [0, 0, 0]
    assert named[0].json == named[1].json == named[2].json


def test_a_journal_that_is_named_says_itself_to_which_workspace_it_belongs(journal: Path) -> None:
    assert invoke("verify", "--json", "-j", journal).json["workspace"] == "w"


def test_the_default_place_is_taken_where_no_config_is(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled.parent / "data" / "w", tmp_path / "loom-data" / "w")
    monkeypatch.chdir(tmp_path)
    assert invoke("journal", "-w", "w", "--json").code == 0
    nothing = invoke("journal")
    assert nothing.code == 2


def test_without_anything_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = invoke("decisions")
    assert said.code == 2
    assert "loom init" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("command", ["decisions", "journal", "verify", "turns", "export", "approvals", "policies"])
def test_a_journal_that_is_not_there_is_named(command: str, tmp_path: Path) -> None:
    said = invoke(command, "-j", tmp_path / "no.db")
    assert said.code == 2
    assert "no.db" in said.err
    assert not (tmp_path / "no.db").exists()


def test_a_config_that_is_wrong_is_one_message(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("wrkspace: x\n", encoding="utf-8")
    said = invoke("decisions", config=config)
    assert said.code == 2
    assert "wrkspace" in said.err
    assert "Traceback" not in said.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in invoke("decisions", "--debug", "-j", tmp_path / "no.db").err


def test_a_file_that_is_no_journal_is_refused_everywhere(tmp_path: Path) -> None:
    foreign = tmp_path / "journal.db"
    foreign.write_text("this is no database, but it is long enough to look like a file with something in it\n" * 40)
    for command in ("decisions", "journal", "turns", "export"):
        said = invoke(command, "-j", foreign)
        assert said.code == 2, command
        assert "Traceback" not in said.err
    verified = invoke("verify", "-j", foreign)
    assert verified.code == 1
    assert "NOT VERIFIED" in verified.out
    assert invoke("doctor", "-j", foreign).code == 1
