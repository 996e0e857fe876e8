"""`loom replay judge`, `loom replay run` and `loom policies audit`, without a loom and beside a running one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from loom import Loom
from loom.decisions import DecisionJournalEntry
from loom.journal import Append, draft
from tests.cli.agents import Note, NoteAgent
from tests.cli.support import CONFIG, configured, invoke
from tests.history.support import bank, rows, written
from tests.projections.tampering import tamper
from tests.replay.test_judging import CASES, V2, Ask, Other, Seller, decided, registered


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace="main", module="tests.replay.test_judging:Seller"))

    async def fill() -> None:
        async with Loom.open(path, by="robin") as loom:
            await decided(loom, *CASES)
            await registered(loom, V2)

    asyncio.run(fill())
    return path


def test_judging_tells_what_flips_and_ends_with_one(config: Path) -> None:
    said = invoke("replay", "judge", "--under", V2.version_hash, "--cases", config=config)
    assert said.code == 1
    assert "5 decisions judged again under policy_v2_" in said.out
    assert "coverage   100.0%" in said.out
    lines = said.out.splitlines()
    flips = [line.split() for line in lines if line.startswith(("deny", "require"))]
    assert flips[0][:3] == ["deny", "allow", "1"]  # a refusal that would be a grant comes first
    assert sum("else → within" in line for line in lines) == 1


def test_judging_under_the_same_version_ends_with_zero(config: Path) -> None:
    own = invoke("policies", "--json", config=config).json[0]["version"]
    said = invoke("replay", "judge", "--under", own, "--json", config=config)
    assert said.code == 0
    assert (said.json["unchanged"], said.json["flipped"], said.json["coverage"]) == (5, 0, 1.0)


def test_judging_as_json_has_what_the_table_has(config: Path) -> None:
    said = invoke("replay", "judge", "-u", V2.version_hash, "--of", "seller/one", "--cases", "--json", config=config)
    assert said.json["flipped"] == 2
    assert {each["verdict"] for each in said.json["listed"]} == {"flipped"}


def test_what_is_kept_needs_a_name_and_is_a_run(config: Path) -> None:
    nobody = invoke("replay", "judge", "-u", V2.version_hash, "--keep", config=config)
    assert nobody.code == 2
    kept = invoke("replay", "judge", "-u", V2.version_hash, "--keep", "--by", "vera", "--json", config=config)
    assert kept.code == 1
    shown = invoke("runs", "show", kept.json["run_id"], "--json", config=config)
    assert (shown.json["kind"], shown.json["by"], shown.json["decisions"]) == ("replay", "vera", 5)
    again = invoke("replay", "judge", "-u", V2.version_hash, "--run", kept.json["run_id"], "--json", config=config)
    assert (again.code, again.json["unchanged"]) == (0, 5)


async def test_beside_a_running_loom_judging_reads_and_keeping_goes_through_it(config: Path) -> None:
    async with Loom.open(config, by="robin") as loom:
        await loom.reached()
        read = await asyncio.to_thread(invoke, "replay", "judge", "-u", V2.version_hash, "--json", config=config)
        arguments = ("replay", "judge", "-u", V2.version_hash, "--keep", "--by", "vera", "--json")
        kept = await asyncio.to_thread(invoke, *arguments, config=config)
        run = await loom.runs.get(kept.json["run_id"])
    assert read.json["flipped"] == 2
    assert run.by == "vera"


def test_an_unknown_version_an_unknown_run_and_nothing_to_judge_are_told(config: Path) -> None:
    assert invoke("replay", "judge", "-u", "policy_v9_deadbeef", config=config).code == 1
    nothing = invoke("replay", "judge", "-u", V2.version_hash, "--since", "2099-01-01", config=config)
    assert nothing.code == 0
    assert "nothing was judged" in nothing.out
    assert invoke("replay", "judge", "-u", V2.version_hash, "--run", "nobody", config=config).code == 2


def test_running_again_tells_what_would_be_decided(config: Path) -> None:
    said = invoke("replay", "run", "--under", V2.version_hash, config=config)
    assert said.code == 1
    assert "5 decisions run again under policy_v2_" in said.out
    assert "2 flipped, 3 unchanged; coverage 100.0%" in said.out
    assert invoke("replay", "run", "-u", V2.version_hash, "--json", config=config).json["counts"]["flipped"] == 2


def test_running_again_goes_by_when_decisions_were_made_unless_by_when_they_were_recorded(config: Path) -> None:
    file = written(config.parent / "h.csv", rows(24))
    (config.parent / "map.yaml").write_text(json.dumps(bank()))
    invoke("import", file, "--map", config.parent / "map.yaml", "--by", "vera", config=config)
    [run] = [each for each in invoke("runs", "--json", config=config).json if each["kind"] == "import"]
    march = ("--run", run["run_id"], "--since", "2015-03-01", "--until", "2015-04-01", "--json")
    made = invoke("replay", "run", "-u", V2.version_hash, *march, config=config)
    assert made.json["counts"] == {"not_replayable": 2}  # observed: no code decided them
    recorded = invoke("replay", "run", "-u", V2.version_hash, *march, "--by-time", "recorded", config=config)
    assert recorded.json["cases"] == []


def test_the_states_of_an_actor_are_still_asked_for_by_its_name_alone(config: Path) -> None:
    short, long = invoke("replay", "seller/one", config=config), invoke("replay", "state", "seller/one", config=config)
    assert (short.code, short.out) == (0, long.out)
    assert invoke("replay", "--verify", "seller/one", config=config).code == 0


def test_an_audit_is_sound_until_something_was_changed(config: Path) -> None:
    sound = invoke("policies", "audit", config=config)
    assert sound.code == 0
    assert "5 decisions: sound" in sound.out
    assert invoke("policies", "audit", "--json", config=config).json["verdict"] == "sound"

    async def forge() -> None:
        async with Loom.open(config, by="robin") as loom:
            denied = [(await loom.traces.get(each.decision_id)).decision for each in await loom.traces.find()]
            entries = []
            for number, decision in enumerate(each for each in denied if each.evaluation and each.evaluation.denied):
                said = decision.evaluation and decision.evaluation.model_copy(update={"effect": "allow"})
                forged = decision.replace(decision_id=f"{number:064x}", evaluation=said)
                entries.append(draft(DecisionJournalEntry(decision=forged)))
            await loom.store.append(Append("seller/old", 0, entries))

    asyncio.run(forge())
    found = invoke("policies", "audit", config=config)
    assert found.code == 1
    assert "NOT sound" in found.out
    assert invoke("policies", "audit", "--json", config=config).json["counts"] == {"mismatch": 3}


def test_an_audit_rests_on_no_view_and_says_what_was_changed_there(config: Path) -> None:
    views = config.parent / "data" / "main" / "journal.views.db"
    whole = invoke("policies", "audit", config=config).out
    tamper(views, "UPDATE trace_decisions SET effect = 'allow', policy_hash = 'x'")
    unchanged = invoke("policies", "audit", config=config)
    assert (unchanged.code, unchanged.out, unchanged.err) == (0, whole, "")
    tamper(
        views, "UPDATE trace_decisions SET position = 9999 WHERE position = (SELECT max(position) FROM trace_decisions)"
    )
    short = invoke("policies", "audit", config=config)
    assert short.code == 3
    assert "4 decisions: confirmed, and 1 rows of the views were left out" in short.out
    assert "1 rows of the views differ from the journal" in short.err
    assert "[trace_decisions 9999: there is no decision at its position]: see `loom verify --views`" in short.err
    assert invoke("policies", "audit", "--json", config=config).json["left_out"] == 1


def test_an_audit_that_confirmed_nothing_or_not_all_says_so_and_ends_with_three(config: Path) -> None:
    async def decide() -> None:
        async with Loom.open(config, actors=[Other], by="robin") as loom:
            for _ in range(4):
                await loom.actor(Other, "one").ask(Ask(facts={}))
            await loom.actor(Seller, "bare").ask(Ask(facts={}, looks=False))

    asyncio.run(decide())
    nothing = invoke("policies", "audit", "--of", "other/one", config=config)
    assert nothing.code == 3
    assert nothing.out.startswith("4 decisions: none could be confirmed; nothing was found against them")
    assert "no rule to judge by" in nothing.out
    bare = invoke("policies", "audit", config=config)
    assert bare.code == 3
    assert bare.out.startswith("10 decisions: 1 could not be confirmed; nothing was found against them")
    assert "not confirmed: no facts recorded" in bare.out
    assert invoke("policies", "audit", "--json", config=config).json["unconfirmed"] == 1
    whole = invoke("policies", "audit", "--of", "seller/one", config=config)
    assert (whole.code, whole.out.splitlines()[0]) == (0, "5 decisions: sound")


@pytest.mark.parametrize("verb", ["judge", "run"])
def test_a_replay_that_could_judge_too_little_is_no_pass(config: Path, verb: str) -> None:
    async def decide() -> None:
        async with Loom.open(config, by="robin") as loom:
            for _ in range(3):
                await loom.actor(Seller, "blind").ask(Ask(facts={"percent": "15", "industry": "retail"}))
            await loom.actor(Other, "blind").ask(Ask(facts={}))

    asyncio.run(decide())
    own = invoke("policies", "--json", config=config).json[0]["version"]
    whole = ("replay", verb, "-u", own)
    assert invoke(*whole, "--min-coverage", "50", config=config).code == 0
    strict = invoke(*whole, "--min-coverage", "100", config=config)
    assert strict.code == 3
    assert "at least 100 % was asked for" in strict.err
    unknown = invoke("replay", verb, "-u", V2.version_hash, "--of", "other/blind", config=config)
    assert unknown.code == (2 if verb == "judge" else 3)  # judge refuses a version of another policy
    if verb == "judge":
        blind = invoke(*whole, "--of", "seller/blind", config=config)
        assert blind.code == 3
        [row] = [line.split() for line in blind.out.splitlines() if line.startswith("indeterminate")]
        assert row == ["indeterminate", "then", "and", "now", "3"]
        document = invoke(*whole, "--of", "seller/blind", "--json", config=config)
        assert (document.json["coverage"], document.json["indeterminate"], document.json["unchanged"]) == (0.0, 3, 0)
        assert document.code == 3
        assert invoke(*whole, "--of", "seller/blind", "--min-coverage", "0", config=config).code == 0


def test_turns_none_of_which_can_be_driven_again_are_no_pass(tmp_path: Path) -> None:
    config = configured(tmp_path)

    async def park() -> None:
        async with Loom.open(config, by="robin") as loom:
            await loom.actor(NoteAgent, "z").tell(Note(text="heavy", weight=30), id="parked", by="robin")

    asyncio.run(park())
    assert invoke("turns", "abandon", "parked", "--by", "vera", "-m", "no", config=config).code == 0
    said = invoke("replay", "--verify", "note-agent/z", config=config)
    assert said.code == 3, said
    assert "1 not replayable" in said.out
