"""The story of the onboarding: made-up people, their decisions, what another policy would have said, and the drift."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples import onboarding_drop_off as story
from loom.testing import Scenario

EXAMPLE = Path(story.__file__)
PERSONAS = 300


def _told(_: int) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), str(PERSONAS)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def twice() -> tuple[str, str]:
    """Run the story twice, at the same time."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(_told, range(2))
    return first, second


def numbers(pattern: str, text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(pattern, text)]


def test_it_says_the_same_every_time_to_the_letter(twice: tuple[str, str]) -> None:
    first, second = twice
    assert first == second


def test_everybody_meets_the_first_step_and_each_step_only_who_went_on(twice: tuple[str, str]) -> None:
    for run in re.split(r"(?m)^(?=\d+ personas of run)", twice[0])[1:]:
        [decisions] = numbers(r"made ([\d,]+) decisions", run)
        met, dropped = numbers(r" +([\d,]+) met it", run), numbers(r"([\d,]+) dropped", run)
        assert met[0] == PERSONAS
        assert sum(met) == decisions
        went_on = [were - lost for were, lost in zip(met, dropped, strict=True)]
        assert went_on[:-1] == met[1:]
        assert numbers(r"([\d,]+) came through", run) == went_on[-1:]
        assert 0 < went_on[-1] < PERSONAS / 2


def test_the_graph_has_met_what_was_decided(twice: tuple[str, str]) -> None:
    [decisions, _] = numbers(r"made ([\d,]+) decisions", twice[0])
    assert f"The context graph: {PERSONAS} personas met steps {decisions:,} times." in twice[0]
    assert re.search(r"income +loses to .*risk_spike \d+", twice[0])


def test_another_policy_is_asked_about_every_decision_and_the_same_one_agrees(twice: tuple[str, str]) -> None:
    [decisions, _] = numbers(r"made ([\d,]+) decisions", twice[0])
    assert f"The {decisions:,} decisions of run spring, judged again under policy_v2_" in twice[0]
    [unchanged] = numbers(r"([\d,]+) unchanged, [\d,]+ flipped, 100% could be judged", twice[0])
    flips = numbers(r"(\d+) (?:DROP|CONTINUE) → (?:DROP|CONTINUE)", twice[0])
    assert unchanged + sum(flips) == decisions
    assert len(flips) == 2
    assert f"under their own version: {decisions:,} unchanged, 0 flipped" in twice[0]
    assert twice[0].index("DROP → CONTINUE") < twice[0].index("CONTINUE → DROP"), "refusals that turn into grants first"


def test_the_drift_is_told_in_words(twice: tuple[str, str]) -> None:
    drift = twice[0][twice[0].index("Is the pattern of run autumn still that of run spring?") :]
    assert "By what-weighed (rule_v1_" in drift
    assert "current decisions could be judged again" in drift
    assert "who came" in drift


def test_a_decision_shows_its_draw_its_probability_and_what_weighed(twice: tuple[str, str]) -> None:
    assert re.search(r"income +DROP +a draw of 0\.\d{3} against a probability of 0\.\d{3}; risk_spike", twice[0])
    assert "mind.risk: 1.8 to 2.4 (part 4 of 5)" in twice[0]
    assert re.search(r"\d+ personas: dominant_factors .*intent", twice[0])


async def test_a_persona_resumes_wherever_it_is_cut_short() -> None:
    mind, intent = story.born("spring", 18, hurried=0.1)
    walk = story.Onboard(run="spring", mind=mind, intent=intent)
    happened = (await Scenario(story.Persona, key="spring-0018", always_resume=True).when(walk)).then(reply="income")
    assert [each.decision_type for each in happened.decisions] == list(story.STEPS)[:5]
    assert happened.state == story.Walked(steps=5, last="income", decision="DROP")
    *went_on, last = happened.decisions
    assert {each.outcome["decision"] for each in went_on} == {"CONTINUE"}
    for decision in happened.decisions:
        assert decision.facts is not None
        assert decision.evaluation is not None
        met = story.Encounter.model_validate(decision.facts)
        probability = decision.evaluation.details["probability"]
        assert isinstance(probability, float)
        assert (met.u < probability) == (decision is not last)
        assert story.behaviour.evaluate_json(decision.facts) == decision.evaluation, "the facts are all that was read"


def test_the_states_of_personas_stay_within_their_ranges() -> None:
    for number in range(1, 300):
        mind, intent = story.born("spring", number, hurried=0.5)
        assert intent in story.INTENTS
        for step in story.STEPS.values():
            mind = story.after(mind, step)
            assert (
                story.Persona.equivalence.outside(
                    {"mind": mind.model_dump(), "step": "s", "intent": intent, "dominant_factors": []}
                )
                == {}
            )
