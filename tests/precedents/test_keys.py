"""Same inputs, same keys: under any hash seed, in any Python, by anybody who computes them from the declaration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import AdmissionError
from loom.precedents import Bin, EquivalenceRule, SetOf
from tests.precedents.test_equivalence import FACTS, GOLDEN, OUTCOME, RULE, golden_cases

ROOT = Path(__file__).parents[2]
INDEPENDENT = Path(__file__).parent / "independent.py"
PRINT_KEYS = """
import json
from tests.precedents.test_keys import printed
print(json.dumps(printed()))
"""

STEP = {"step": "enter_income", "persona": {"energy": 0.31, "risk": 1.2, "effort": 3.4, "value": 0.0, "control": 2}}
WALK = {**STEP, "intent": "price_check", "dominant_factors": ["risk_spike", "cognitive_fatigue"], "u": 0.61}
DROPSIM = EquivalenceRule(
    "dropsim",
    attributes=(
        "step",
        "intent",
        Bin("persona.energy", low=0, high=0.9),
        Bin("persona.risk", low=0, high=3),
        Bin("persona.effort", low=0, high=3),
        Bin("persona.value", low=0, high=3),
        Bin("persona.control", low=0, high=2),
        SetOf("dominant_factors"),
    ),
    outcome=("decision",),
)
"""The rule of the specification: step, outcome, five binned dimensions, intent, set of dominant factors."""


def cases() -> list[tuple[EquivalenceRule, dict[str, Any], dict[str, Any]]]:
    walks = [
        {**WALK, "step": step, "persona": {**STEP["persona"], "energy": energy}}  # type: ignore[dict-item]
        for step in ("landing", "Prüfung 🏥")
        for energy in (0, 0.17999999999999997, 0.18, 0.9, 1.5, -2)
    ]
    return [(RULE, FACTS, OUTCOME), *((DROPSIM, walk, {"decision": "DROP"}) for walk in walks)]


def printed() -> list[dict[str, str]]:
    return [*golden_cases().values(), *(rule.classify(*case).model_dump() for rule, *case in cases())]


def asked() -> str:
    return json.dumps(
        [{"rule": rule.document(), "facts": facts, "outcome": outcome} for rule, facts, outcome in cases()]
    )


def managed() -> str:
    """Return the versions that pyenv has, where it is: its launchers start none that is not named."""
    if shutil.which("pyenv") is None:
        return ""
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True, timeout=60)
    return ":".join(reversed(listed.stdout.split()))


def test_keys_are_the_same_under_twenty_hash_seeds() -> None:
    def keys(seed: int) -> Any:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "TZ": "Asia/Tokyo", "LC_ALL": "C"}
        done = subprocess.run(
            [sys.executable, "-c", PRINT_KEYS], env=environment, cwd=ROOT, capture_output=True, check=True, timeout=100
        )
        return json.loads(done.stdout)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(keys, range(20))) == [printed()] * 20


def test_keys_are_those_that_the_declaration_gives_in_every_python_at_hand() -> None:
    expected = [rule.classify(*case).model_dump() for rule, *case in cases()]
    names = ("python3", "python3.10", "python3.12", "python3.13", "python3.14")
    pythons = {sys.executable, *filter(None, map(shutil.which, names))}
    environment = {**os.environ, "PYENV_VERSION": managed()}
    tried = 0
    for python in sorted(pythons):
        done = subprocess.run(
            [python, str(INDEPENDENT)],
            input=asked().encode(),
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if done.returncode == 0:
            assert json.loads(done.stdout) == expected, python
            tried += 1
        else:
            assert python != sys.executable, done.stderr  # a launcher of another version may have none behind it
    assert tried > 0


@given(
    st.fixed_dictionaries(dict.fromkeys("abc", st.integers(-9, 9) | st.floats(-9, 9) | st.text("xyé", max_size=2))),
    st.floats(-10, 10, allow_nan=False),
    st.lists(st.integers(0, 3) | st.text("xy", max_size=2), max_size=5),
)
def test_any_case_has_the_keys_that_the_declaration_gives(
    facts: dict[str, Any], number: float, tags: list[Any]
) -> None:
    from tests.precedents import independent

    rule = EquivalenceRule("r", attributes=("a", Bin("n", low=-1, high=2.5, bins=7), SetOf("tags")), outcome=("b", "c"))
    given_facts = {**facts, "n": number, "tags": tags}
    assert rule.classify(given_facts, facts).model_dump() == independent.keys(rule.document(), given_facts, facts)


# --- the rule of the specification ---------------------------------------------------------------


def situation(**changes: Any) -> str:
    persona = {**STEP["persona"], **changes.pop("persona", {})}  # type: ignore[dict-item]
    return DROPSIM.situation_key({**WALK, "persona": persona, **changes})


def test_the_keys_of_dropsim_are_those_of_the_golden_file() -> None:
    golden = json.loads((GOLDEN.parent / "dropsim.json").read_text(encoding="utf-8"))
    assert [rule.classify(*case).model_dump() for rule, *case in cases()[1:]] == golden


@pytest.mark.parametrize(
    "change",
    [
        {"step": "landing"},
        {"intent": "learn_basics"},
        {"dominant_factors": ["risk_spike"]},
        {"dominant_factors": []},
        *({"persona": {name: 1.7 if name == "control" else 0.7}} for name in ("energy", "risk", "effort", "value")),
        {"persona": {"control": 0.1}},
    ],
    ids=str,
)
def test_dropsim_tells_cases_apart_by_what_its_rule_names(change: dict[str, Any]) -> None:
    assert situation(**change) != situation()


def test_dropsim_takes_no_notice_of_the_draw_or_the_order_of_factors() -> None:
    assert situation(u=0.01, dominant_factors=["cognitive_fatigue", "risk_spike", "risk_spike"]) == situation()
    assert situation(persona={"energy": 0.35}) == situation(), "0.31 and 0.35 lie in the second fifth of 0 to 0.9"
    assert situation(persona={"effort": 3.0}) == situation(), "3.4 lies above the range, in its last part"


def test_dropsim_keeps_who_dropped_apart_from_who_went_on() -> None:
    dropped, went_on = (DROPSIM.classify(WALK, {"decision": each}) for each in ("DROP", "CONTINUE"))
    assert dropped.situation == went_on.situation
    assert dropped.precedent != went_on.precedent


def test_what_lies_outside_its_range_says_so() -> None:
    assert DROPSIM.outside(WALK) == {"persona.effort": "above"}
    persona = {"energy": -0.1, "risk": 9, "effort": 1, "value": 3, "control": 0}
    outside = {**WALK, "persona": persona}
    assert DROPSIM.outside(outside, {"decision": "DROP"}) == {"persona.energy": "below", "persona.risk": "above"}
    words = DROPSIM.describe(outside, {"decision": "DROP"})
    assert words["persona.energy"] == "0 to 0.18 (part 1 of 5), below the range"
    assert words["persona.risk"] == "2.4 to 3 (part 5 of 5), above the range"
    assert words["persona.value"] == "2.4 to 3 (part 5 of 5)"
    assert words["dominant_factors"] == "cognitive_fatigue, risk_spike"
    assert words["decision"] == "DROP"


def test_what_has_no_key_is_named_in_words_and_never_an_error() -> None:
    words = DROPSIM.describe({"step": "landing", "persona": {"energy": "much"}})
    assert words["step"] == "landing"
    assert words["intent"] == "without a key: value at [$.intent] is missing"
    assert words["persona.energy"] == "without a key: value at [$.persona.energy] is ['much']"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_has_no_key(value: float) -> None:
    with pytest.raises(AdmissionError):
        situation(persona={"risk": value})
