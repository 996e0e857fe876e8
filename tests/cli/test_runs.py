"""`loom runs`, and what `loom decisions` and `loom why` say of runs and replays; beside a running loom, and without."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from loom import DecisionJournalEntry, Loom
from loom.journal import Append, draft
from tests.cli.agents import Note, NoteAgent
from tests.cli.support import RunningLoom, configured, ids, invoke

EVIL = "evil \x1b[31mred [bold]bold[/bold]"


async def _fill(config: Path) -> None:
    """A simulation of two decisions, a replay of one of them in a run that is left open, and one beside all runs."""
    async with Loom.open(config, by="robin") as loom:
        version = (await loom.policies.register(NoteAgent.policy, by="robin")).version
        async with loom.runs.run(
            kind="simulation",
            run_id="sim-1",
            policies=[version],
            parameters={"personas": 2, "evil": EVIL},
            seed=7,
            note=EVIL,
        ):
            for key in ("a", "b"):
                await loom.actor(NoteAgent, key).ask(Note(text=f"note of {key}"), id=f"within-{key}", by="robin")
        await loom.actor(NoteAgent, "a").ask(Note(text="beside"), id="beside", by="robin")
        await loom.runs.start(run_id="replay-1", kind="replay", by="dana")
        first = (await loom.traces.get((await loom.traces.find(run_id="sim-1"))[-1].decision_id)).decision
        again = first.replace(
            decision_id="f" * 64, origin="replayed", replayed_from=first.decision_id, run_id="replay-1", refers=None
        )
        await loom.store.append(Append("replay/one", 0, (draft(DecisionJournalEntry(decision=again)),)))
        await loom.reached()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the config of a workspace with runs; it is only read."""
    config = configured(tmp_path_factory.mktemp("runs"))
    asyncio.run(_fill(config))
    return config


@pytest.fixture
def own(config: Path, tmp_path: Path) -> Path:
    """Return the config of a copy that may be written to."""
    shutil.copytree(config.parent, tmp_path / "own")
    return tmp_path / "own" / config.name


def test_runs_are_listed_newest_first_with_what_was_decided_in_them(config: Path) -> None:
    listed = invoke("runs", "--json", config=config).json
    assert [(each["run_id"], each["kind"], each["status"], each["decisions"], each["actors"]) for each in listed] == [
        ("replay-1", "replay", "open", 1, 1),
        ("sim-1", "simulation", "completed", 2, 2),
    ]
    said = invoke("runs", config=config)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[1].startswith("replay-1")
    assert "policy_v1_" in lines[2]
    assert "\x1b" not in said.out
    assert "[bold]" in said.out


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--kind", "replay"], ["replay-1"]),
        (["--status", "completed"], ["sim-1"]),
        (["-n", "1"], ["replay-1"]),
        (["--kind", "live"], []),
    ],
)
def test_runs_are_filtered_before_the_limit(config: Path, options: list[str], wanted: list[str]) -> None:
    assert ids(invoke("runs", "list", *options, "--json", config=config), "run_id") == wanted


def test_a_filter_that_is_none_is_a_usage_error_and_nothing_found_is_said(config: Path) -> None:
    assert invoke("runs", "--kind", "party", config=config).code == 2
    assert invoke("runs", "--kind", "live", config=config).out == "No runs match.\n"


def test_one_run_is_shown_with_what_it_was_started_with_and_its_newest_decisions(config: Path) -> None:
    said = invoke("runs", "show", "sim", config=config)
    assert said.code == 0
    for words in ("simulation run sim-1 (completed)", "seed", "7", "parameter personas", "2 by 2 actors", "note of b"):
        assert words in said.out, words
    assert "\x1b" not in said.out
    assert "loom decisions --run sim-1" in said.err
    assert invoke("runs", "show", "sim-1", "--json", config=config).json["parameters"] == {"personas": 2, "evil": EVIL}
    assert "its end is not recorded" in invoke("runs", "show", "replay-1", config=config).out


def test_a_run_that_is_not_known_is_a_no(config: Path) -> None:
    said = invoke("runs", "show", "nothing", config=config)
    assert said.code == 1
    assert "run ['nothing'] is not known" in said.err
    assert invoke("decisions", "--run", "nothing", config=config).code == 1


def test_decisions_of_a_run_and_replayed_ones_are_found(config: Path) -> None:
    def rationales(*options: str) -> list[str]:
        return [each["journal"] for each in invoke("decisions", *options, "--json", config=config).json]

    assert len(rationales()) == 4
    assert rationales("--run", "sim") == ["note-agent/b", "note-agent/a"]
    assert rationales("--replayed") == ["replay/one"]
    assert len(rationales("--original")) == 3
    assert len(rationales("--command", "Note")) == 3
    assert rationales("--command", "Nothing") == []


def test_why_tells_the_run_and_the_replays(config: Path) -> None:
    [first] = [
        each for each in invoke("decisions", "--run", "sim", "--json", config=config).json if each["actor_key"] == "a"
    ]
    for decision_id in (first["decision_id"], "f" * 64):
        said = invoke("why", decision_id, config=config)
        assert said.code == 0
        assert "Which is the original, and which replay it?" in said.out
        original, replay = said.out.split("which replay it?")[1].split("\n")[1:3]
        assert first["decision_id"][:12] in original
        assert "ffffffffffff" in replay
        assert "in run replay-1" in replay
    plain = invoke("why", "ffff", "--json", config=config).json
    assert plain["run"]["run_id"] == "replay-1"
    assert [each["depth"] for each in plain["lineage"]["members"]] == [0, 1]
    [beside] = [each for each in invoke("decisions", "--original", "--json", config=config).json if not each["run_id"]]
    assert "lineage" not in invoke("why", beside["decision_id"], "--json", config=config).json
    assert "Which is the original" not in invoke("why", beside["decision_id"], config=config).out
    told = invoke("why", first["decision_id"], config=config).out
    assert "sim-1, a simulation run (completed), started" in told
    assert "\x1b" not in told


def test_the_entries_of_runs_have_a_line_each(config: Path) -> None:
    said = invoke("journal", "loom/runs", config=config)
    assert "sim-1 simulation by robin (claimed, via python) personas=2" in said.out
    assert "sim-1 completed by robin (claimed, via python)" in said.out


def test_a_run_that_was_left_open_is_ended_by_a_person(own: Path) -> None:
    assert invoke("runs", "end", "replay", config=own).code == 2  # by nobody
    said = invoke("runs", "end", "replay", "--by", "dana", "-m", "its process died", "--json", config=own)
    assert said.code == 0
    assert (said.json["status"], said.json["ended_by"], said.json["reason"]) == (
        "abandoned",
        "dana",
        "its process died",
    )
    again = invoke("runs", "end", "replay-1", "--by", "dana", "--status", "completed", config=own)
    assert again.code == 1
    assert "a run ends once" in again.err
    assert invoke("runs", "end", "nothing", "--by", "dana", config=own).code == 1


def test_runs_are_read_and_ended_beside_a_running_loom(own: Path) -> None:
    with RunningLoom(own) as running:
        assert ids(invoke("runs", "--json", config=own), "run_id") == ["replay-1", "sim-1"]
        assert invoke("runs", "end", "replay-1", "--by", "dana", "--status", "failed", config=own).code == 0
        assert invoke("runs", "show", "replay-1", "--json", config=own).json["status"] == "failed"
        assert invoke("decisions", "--run", "sim-1", "--json", config=own).json
        assert running.end()[0] == 0
