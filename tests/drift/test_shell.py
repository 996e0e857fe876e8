"""`loom drift`: a table for people, a document for programs, and exit codes that a pipeline can lean on."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from loom import Loom
from loom.drift import DriftReport, Window
from tests.cli.support import Answer, RunningLoom, configured, invoke, run
from tests.drift.agents import LoanAgent, RequestLoan, loans

Weights = Mapping[str, int]
EVEN: Weights = {"bank": 1, "health": 1, "retail": 1}
TOWARDS_BANKS: Weights = {"bank": 4, "health": 1, "retail": 1}


async def fill(config: Path) -> None:
    """Make four runs: two that are alike, one in which others came, and one under another limit."""
    draw = random.Random(3)
    async with Loom.open(config, by="robin") as loom:

        async def decide(run_id: str, weights: Weights, count: int = 150) -> None:
            names, shares = list(weights), list(weights.values())
            async with loom.runs.run(run_id=run_id), asyncio.TaskGroup() as group:
                for number in range(count):
                    [industry] = draw.choices(names, shares)
                    asked = RequestLoan(industry=industry, amount=draw.randrange(40))
                    group.create_task(loom.actor(LoanAgent, f"a{number % 20}").ask(asked, by="robin"))

        await decide("spring", EVEN)
        await decide("summer", EVEN)
        await decide("autumn", TOWARDS_BANKS)
        await decide("short", EVEN, count=10)
        tuned = await loom.policies.register(loans.with_params(type(loans.params)(most=30)), by="dana")
        await loom.policies.adopt(tuned.version, by="kim")
        await decide("winter", EVEN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configured(tmp_path_factory.mktemp("drift"), module="tests.drift.agents")
    asyncio.run(fill(config))
    return config


def ask(config: Path, baseline: str, current: str, *more: str, width: int = 200) -> Answer:
    return invoke(
        "drift", "--baseline", baseline, "--current", current, *more, config=config, env={"COLUMNS": str(width)}
    )


def test_where_nothing_changed_it_exits_with_0_and_says_so(made: Path) -> None:
    said = ask(made, "run:spring", "run:summer")
    assert said.code == 0, said.err
    assert "No change was found" in said.out
    assert "JS divergence" in said.out
    assert "judged under   loom.drift policy_v0_" in said.out


def test_where_the_policy_changed_it_exits_with_1_and_says_where_it_comes_from(made: Path) -> None:
    said = ask(made, "run:spring", "run:winter")
    assert said.code == 1
    assert "The pattern changed: " in said.out
    assert "how they were answered" in said.out
    assert "deny → allow" in said.out
    assert "could be judged again" in said.out
    assert "industry bank" in said.out


def test_where_others_came_it_says_that_the_policy_had_no_part(made: Path) -> None:
    said = ask(made, "run:spring", "run:autumn")
    assert said.code == 1
    assert "All of it is who came" in said.out
    assert "would have answered all 150 cases the same" in said.out


def test_too_little_data_exits_with_3(made: Path) -> None:
    said = ask(made, "run:spring", "run:short")
    assert said.code == 3
    assert "Nothing can be said: a window holds 10 decisions, fewer than 30." in said.out
    said = ask(made, "..2001-01-01", "2001-01-01..2002-01-01")
    assert said.code == 3
    assert "neither window holds a decision" in said.out


@pytest.mark.parametrize("pair", [("run:spring", "run:winter"), ("run:spring", "run:short"), ("..2001-01-01", "7d..")])
def test_the_document_holds_the_whole_report(made: Path, pair: tuple[str, str]) -> None:
    said = ask(made, *pair, "--json")
    assert said.code == {"run:winter": 1}.get(pair[1], 3)
    report = DriftReport.model_validate(said.json)
    assert said.json["detected"] is (said.code == 1)
    assert said.json["explanation"] == list(report.explanation)
    assert sum(before for before, _ in report.counts.values()) == report.baseline.decisions


def test_asking_twice_gives_the_same_document(made: Path) -> None:
    assert ask(made, "run:spring", "run:winter", "--json").out == ask(made, "run:spring", "run:winter", "--json").out


def test_a_severity_may_be_asked_for_before_a_change_fails_a_pipeline(made: Path) -> None:
    severity = ask(made, "run:spring", "run:autumn", "--json").json["severity"]
    assert severity in ("minor", "warning")
    assert ask(made, "run:spring", "run:autumn", "--at-least", severity).code == 1
    assert ask(made, "run:spring", "run:autumn", "--at-least", "stable").code == 1
    assert ask(made, "run:spring", "run:autumn", "--at-least", "critical").code == 0
    assert ask(made, "run:spring", "run:autumn", "--at-least", "grave").code == 2


def test_it_says_which_test_was_used_and_the_severity_is_never_stable(made: Path) -> None:
    said = ask(made, "run:spring", "run:winter")
    assert "The pattern changed: " in said.out
    assert "stable" not in said.out
    assert "marks of 0.1 and 0.3" in said.out or "mark of" in said.out
    assert "beyond chance" in said.out
    assert "permutation " in said.out
    assert ask(made, "run:spring", "run:winter", "--json").json["permutation"]["test"] == "permutation"


def test_metrics_are_shown_apart_from_the_pattern_and_change_no_exit_code(made: Path) -> None:
    said = ask(made, "run:spring", "run:winter")
    assert "Metrics, apart from the pattern (by size alone: warning from 5%, critical from 15%)" in said.out
    assert "loans.most" in said.out
    assert "grant rate" in said.out
    alike = ask(made, "run:spring", "run:summer", "--json")
    assert alike.code == 0
    assert {each["name"] for each in alike.json["metrics"]["shifts"]} >= {"completion rate", "grant rate"}


def test_the_same_people_in_two_runs_are_tested_in_pairs(tmp_path: Path) -> None:
    config = configured(tmp_path, module="tests.drift.agents")

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            for run_id, most in (("one", 10), ("two", 20)):
                tuned = await loom.policies.register(loans.with_params(type(loans.params)(most=most)), by="dana")
                await loom.policies.adopt(tuned.version, by="kim")
                async with loom.runs.run(run_id=run_id), asyncio.TaskGroup() as group:
                    for number in range(60):
                        asked = RequestLoan(industry=f"kind {number}", amount=number % 40)
                        group.create_task(loom.actor(LoanAgent, f"c{number}").ask(asked, by="robin"))

    asyncio.run(fill())
    said = ask(config, "run:one", "run:two")
    assert said.code == 1
    assert "in pairs" in said.out
    assert "Tested in pairs, by sign flips: 60 subjects are in both windows, with 60 pairs" in said.out
    assert "granted no → granted yes: 19" in said.out
    by_industry = ask(config, "run:one", "run:two", "--pair-by", "industry, amount", "--json").json
    assert (by_industry["pairs"]["pair_by"], by_industry["pairs"]["turned"]) == (["industry", "amount"], 19)
    assert ask(config, "run:one", "run:two", "--pair-by", "industry,,").code == 2


def test_windows_may_be_versions_and_narrowed_by_commas(made: Path) -> None:
    listed = invoke("policies", "--name", "loans", "--json", config=made).json
    first, second = (each["version"] for each in listed)
    said = ask(made, f"version:{first},run:spring", f"version:{second.removeprefix('policy_')}", "--json")
    assert said.code == 1
    assert said.json["baseline"]["window"]["policy_version"] == first
    assert said.json["current"]["window"]["policy_version"] == second
    assert ask(made, "run:spring,actor:loan-agent,policy:loans", "run:summer,type:policy_application").code == 0


def test_runs_may_be_shortened_as_long_as_they_name_one(made: Path) -> None:
    assert ask(made, "run:spr", "run:sum").code == 0
    ambiguous = ask(made, "run:s", "run:winter")
    assert ambiguous.code == 2
    assert "is ambiguous" in ambiguous.err


@pytest.mark.parametrize(
    "window", ["run:nobody", "version:policy_v9_00000000", "spring", "run:", "2026-13-01..", "..", "run:a,run:b", ""]
)
def test_a_window_that_is_none_is_wrong_usage_and_never_taken_for_drift(made: Path, window: str) -> None:
    said = ask(made, "run:spring", window)
    assert said.code == 2
    assert "expected" in said.err or "known versions" in said.err


def test_windows_that_share_decisions_are_wrong_usage(made: Path) -> None:
    said = ask(made, "run:spring", "run:spring")
    assert said.code == 2
    assert "share [150] decisions" in said.err


def test_an_unknown_rule_is_wrong_usage_and_a_known_one_is_not(made: Path) -> None:
    assert ask(made, "run:spring", "run:summer", "--rule", "nobody").code == 2
    assert ask(made, "run:spring", "run:summer", "--rule", "loans").code == 0


def test_without_the_code_of_the_policy_the_change_is_told_and_the_split_is_not(made: Path) -> None:
    said = invoke(
        "drift", "-b", "run:spring", "-n", "run:winter", "--json", "--journal", str(made.parent / "data" / "w")
    )
    assert said.code == 1
    assert said.json["split"]["not_rejudged"] == {"code_changed": 150}
    assert said.json["split"]["policy"] is None
    assert said.json["split"]["situations"] >= 0


def test_a_split_need_not_be_asked_for(made: Path) -> None:
    said = ask(made, "run:spring", "run:winter", "--no-split", "--json")
    assert said.json["split"] is None
    assert "Where it comes from" not in ask(made, "run:spring", "run:winter", "--no-split").out


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_it_can_be_read_at_any_width(made: Path, width: int) -> None:
    said = ask(made, "run:spring", "run:winter", "--limit", "3", width=width)
    assert said.code == 1
    assert "The pattern changed" in said.out


def test_nothing_is_written_by_asking(made: Path) -> None:
    journal = made.parent / "data" / "w" / "journal.db"
    before = journal.read_bytes()
    ask(made, "run:spring", "run:winter")
    assert journal.read_bytes() == before


def test_it_answers_beside_a_running_loom(made: Path, tmp_path: Path) -> None:
    with RunningLoom(made):
        said = run("drift", "-b", "run:spring", "-n", "run:winter", "--json", "-c", str(made), cwd=tmp_path)
    assert said.code == 1, said.err
    assert said.json["split"]["rejudged"] == 150


def test_the_document_is_the_same_in_any_process(made: Path, tmp_path: Path) -> None:
    asked = ("drift", "-b", "run:spring", "-n", "run:winter", "--json", "-c", str(made))
    said = {run(*asked, cwd=tmp_path, env={"PYTHONHASHSEED": seed}).out for seed in ("0", "1", "77")}
    assert len(said) == 1
    assert '"detected": true' in said.pop()


def test_what_was_kept_is_told_by_the_journal(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made.parent, copy, ignore=shutil.ignore_patterns("*.sock"))

    async def keep() -> None:
        async with Loom.open(copy / made.name, by="robin") as loom:
            await loom.drift.compare(Window(run="spring"), Window(run="winter"), keep=True, by="dana")

    asyncio.run(keep())
    said = invoke("journal", "loom/drift", config=copy / made.name)
    assert said.code == 0
    assert "drift_compared" in said.out
    assert "detected, " in said.out
    assert "by dana (claimed, via python): The pattern of decisions changed" in said.out


def shares(report: Mapping[str, Sequence[Mapping[str, float]]]) -> float:
    return sum(each["share_of_divergence"] for each in (*report["rose"], *report["fell"]))


def test_the_parts_of_all_classes_make_up_the_whole(made: Path) -> None:
    said = ask(made, "run:spring", "run:winter", "--limit", "1000", "--json")
    assert shares(said.json) == pytest.approx(1)
