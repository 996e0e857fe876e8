"""`loom oversight`: figures of people's answers, and blind second looks, without a loom that runs."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import invoke


def test_a_case_is_drawn_shown_without_its_outcome_and_answered_again_by_another_person(copied: Path) -> None:
    pending = [each["approval_id"] for each in invoke("approvals", "--json", config=copied).json]
    assert invoke("approve", pending[0], "--by", "dana", "-m", "go on", config=copied).code == 0

    shown = invoke("oversight", config=copied)
    assert shown.code == 0
    assert "dana (claimed)" in shown.out
    assert "judged by policy_v" in shown.err
    people = {each["person"]: each for each in invoke("oversight", "--json", config=copied).json["people"]}
    assert (people["dana"]["answers"], people["dana"]["denied"]) == (3, 1)  # two of them are of the copied workspace

    drawn = invoke("oversight", "sample", "--share", "1", "--by", "robin", "--json", config=copied)
    assert drawn.json["new"] == drawn.json["drawn"] == drawn.json["answers"]
    cases = invoke("oversight", "looks", "--json", config=copied).json
    assert len(cases) == drawn.json["new"] > 1
    assert invoke("oversight", "looks", "--json", "--limit", "1", config=copied).json == cases[:1]
    said = invoke("oversight", "looks", cases[-1]["look_id"][:12], config=copied)
    assert "dana" not in said.out
    assert "granted" not in said.out

    own = invoke("oversight", "answer", cases[-1]["look_id"], "--deny", "--by", "dana", config=copied)
    assert (own.code, "expected another person" in own.err) == (1, True)
    given = invoke("oversight", "answer", cases[-1]["look_id"], "--deny", "--by", "rosa", "-m", "no", config=copied)
    assert given.code == 0
    assert "differs from the first one" in given.out
    assert len(invoke("oversight", "looks", "--json", config=copied).json) == len(cases) - 1
    assert "second looks: 0 of 1 agree" in invoke("oversight", config=copied).out
