"""The simulation itself: it is deterministic, finds what is planted, and its seeds break no law of loom's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.plants import planted
from tests.simulation.run import Simulator


def digests(seeds: str, *, hash_seed: str) -> list[str]:
    """Return the digests of seeds as another process comes to them, by seed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", seeds, "--digests"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return sorted(line for line in done.stdout.splitlines() if len(line.split()) == 2)


def test_a_seed_has_one_trace_in_every_process_and_order_of_seeds() -> None:
    forwards = digests("0:8", hash_seed="1")
    assert len(set(forwards)) == 8
    assert forwards == digests("7:-1", hash_seed="77")


def test_a_trace_ends_with_what_is_durable_and_no_law_is_broken() -> None:
    with Simulator() as simulator:
        outcomes = [simulator.run(seed) for seed in range(8, 20)]
    assert [each.broken for each in outcomes] == [[]] * len(outcomes)
    assert sum(each.crashes for each in outcomes) > 0
    assert all(" durable " in "\n".join(each.trace) for each in outcomes)


@pytest.mark.parametrize(("bug", "seed"), [("reply-before-commit", 0), ("effect-repeated", 5)])
def test_a_planted_bug_is_found(bug: str, seed: int) -> None:
    with planted(bug), Simulator() as simulator:
        assert simulator.run(seed).broken
