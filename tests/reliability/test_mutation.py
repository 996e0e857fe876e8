"""R38: faults in the code of the core are found out by its tests; what no test asks for is not, and is named."""

from __future__ import annotations

import math
import os

import pytest

from tests.mutation.core import CORE, PLANTED
from tests.mutation.score import ENOUGH, chosen_of, gone, scored
from tests.reliability.board import Tally, row

MUTANTS = os.environ.get("LOOM_MUTANTS", "8")
"""How many mutants of each module, or `all`."""
FILES = ("loom/journal/appending.py", "loom/journal/chain.py", "loom/journal/plain.py")
"""Small modules with quick tests, where not all are asked for."""


@pytest.mark.seconds(30)
@pytest.mark.timeout(0)
@row("R38")
def test_faults_in_the_core_are_found_out(tally: Tally) -> None:
    whole = MUTANTS == "all"
    scores = [
        scored(file, sample=None if whole else int(MUTANTS), seed=f"{tally.piece.seed}")
        for file in (CORE if whole else FILES)
    ]
    tried = sum(score.tried for score in scores)
    killed = sum(score.killed for score in scores)
    tally.tried(tried)
    # A sample may be unlucky by chance: three standard deviations are allowed, which are nothing where all are tried.
    allowed = 0.0 if whole else 3 * math.sqrt(ENOUGH * (1 - ENOUGH) / tried)
    tally.check(killed / tried >= ENOUGH - allowed, f"{killed} of {tried} are found out")
    for score in scores:
        if whole:
            tally.check(score.share >= ENOUGH, f"{score.file}: {score.killed} of {score.tried}")
        tally.note(f"{score.file}: {score.killed} of {score.tried} mutants found out ({score.share:.1%})")
        for left in score.left:
            tally.note(f"survives: {score.file}:{left}")
    tally.check(not [*gone()], "equivalent mutants are listed that are not there")


@pytest.mark.seconds(4)
@pytest.mark.timeout(120)
@row("R38")
def test_what_no_test_asks_for_survives(tally: Tally) -> None:
    [file] = PLANTED
    score = scored(file)
    unasked = [left for left in score.left if left.function == "is_far"]
    there = [each for each in chosen_of(file)[0] if each.function == "is_far"]
    tally.tried(score.tried - len(unasked))
    tally.check(len(unasked) == len(score.left), f"what is asked for survives: {score.left}")
    tally.control(trials=len(there), found=len(unasked))
