"""Whatever takes a limit shows the first of what matches, and no figure beside it depends on the limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from loom import Loom
from loom.cli.app import app
from tests.cli.agents import Fail, Note, NoteAgent
from tests.cli.support import configured, invoke
from tests.golden.reading import HERE, copied

ELSEWHERE = {("actors", "list"): "test_actors.py", ("oversight", "looks"): "test_oversight.py"}
"""What lists what no journal at hand has, by the tests that see to its limit."""
JOURNALS = ("care", "circuits", "evolution", "onboarding", "retention", "sealed")
ALSO: dict[str, tuple[str, ...]] = {"approvals": ("--all",), "turns": ("--all",)}
"""What a command has to be given to say anything of journals in which all is done."""


def limited(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command of the shell that takes a limit, and needs nothing else."""
    subcommands = getattr(command, "commands", None)
    if subcommands is not None:
        for name in subcommands:
            yield from limited(subcommands[name], (*path, name))
    elif any("--limit" in each.opts for each in command.params) and not any(each.required for each in command.params):
        yield path


COMMANDS = sorted(set(limited(typer.main.get_command(app))))


@pytest.fixture(scope="session")
def journals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return journals of every wing."""
    return [copied(HERE / name, tmp_path_factory.mktemp(name)) for name in JOURNALS]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in ELSEWHERE], ids=" ".join)
def test_a_limit_cuts_the_list_and_changes_no_figure(journals: list[Path], command: tuple[str, ...]) -> None:
    longest = 0
    for journal in journals:
        windows = _windows(journal) if command == ("drift",) else ()
        asked = (*command, *windows, *ALSO.get(command[0], ()), "-j", str(journal), "--json")
        whole, one = [invoke(*asked, "--limit", limit) for limit in ("1000", "1")]
        if whole.code == 2:
            continue  # this journal has nothing that it could be asked of
        assert one.code == whole.code
        longest = max(longest, _compare(_read(whole.out), _read(one.out)))
    assert longest > 1, "no journal at hand has two of what is listed"


def test_the_commands_with_a_limit_are_found() -> None:
    assert {("decisions",), ("turns", "list"), ("circuits", "audit"), ("gate", "audit")} <= set(COMMANDS)


def _windows(journal: Path) -> tuple[str, ...]:
    """Return two runs of a journal to be compared, if it has two."""
    runs = [each["run_id"] for each in invoke("runs", "-j", journal, "--json").json][:2]
    return () if len(runs) < 2 else ("--baseline", f"run:{runs[1]}", "--current", f"run:{runs[0]}")


def _read(out: str) -> Any:
    try:
        return json.loads(out)
    except json.JSONDecodeError:
        return [json.loads(line) for line in out.splitlines()]


def _compare(whole: Any, one: Any) -> int:
    """Compare an answer with the one that was cut to one; return how long the longest list in it is."""
    if isinstance(whole, list):
        assert one in (whole[:1], whole[-1:])  # some show the newest last
        return len(whole)
    assert one.keys() == whole.keys()
    lists = [name for name, value in whole.items() if isinstance(value, list) and len(value) > len(one[name])]
    for name, value in whole.items():
        if name in lists:
            assert one[name] == value[:1]
        elif not name.startswith("next_"):
            assert one[name] == value, name
    return max((len(whole[name]) for name in lists), default=0)


def test_a_filter_applies_before_the_limit_and_a_count_is_of_more_than_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom.actors.turns_view._PAGE", 2)
    config = configured(tmp_path)

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            for number in range(4):
                await loom.actor(NoteAgent, "a").ask(Note(text=f"note {number}"), by="robin")
            for key in ("a", "b", "a"):
                await loom.actor(NoteAgent, key).tell(Note(text="heavy", weight=30), by="robin")
            with pytest.raises(Exception, match="no ink"):
                await loom.actor(NoteAgent, "b").ask(Fail(text="no ink"), by="robin")
            for number in range(4):
                await loom.actor(NoteAgent, "a").ask(Note(text=f"note {number}"), by="robin")

    asyncio.run(fill())
    for arguments, journal in (
        (("turns", "--actor", "note-agent/b"), "note-agent/b"),
        (("turns", "--all", "--actor", "note-agent/b"), "note-agent/b"),
        (("turns", "--status", "failed"), "note-agent/b"),
    ):
        [found] = invoke(*arguments, "--limit", "1", "--json", config=config).json
        assert found["summary"]["journal"] == journal
    assert invoke("approvals", "--all", "--approver", "somebody", config=config).out == "No approvals of somebody.\n"
    [one] = invoke("approvals", "--all", "--approver", "editor", "--limit", "1", "--json", config=config).json
    assert one["approver"] == "editor"
    settled = invoke("run", "--once", "--json", config=config).json
    assert (settled["before"], len(settled["left"])) == (3, 3)
    [turns] = [each for each in invoke("doctor", "--json", config=config).json["checks"] if each["about"] == "turns"]
    assert turns["found"] == "3 unfinished, none stuck"
    assert len(invoke("turns", "--all", "--json", config=config).json) == 12
