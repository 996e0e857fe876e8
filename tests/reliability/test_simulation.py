"""R10: the real runtime on virtual time, with faults that a seed decides; bugs that are planted have to be found."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.reliability.board import Tally, row
from tests.simulation.plants import PLANTS, planted
from tests.simulation.run import Simulator

SEEDS = int(os.environ.get("LOOM_SIMULATION_SEEDS", "5000" if os.environ.get("LOOM_NIGHTLY") else "60"))
"""How many seeds are tried: `make nightly` tries those of the row, which take some minutes."""

PARTS = 4
FOUND_WITHIN = 500


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@row("R10")
@pytest.mark.seconds(20)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_breaks_a_law(tally: Tally, part: int) -> None:
    with Simulator() as simulator:
        for seed in range(part, SEEDS, PARTS):
            outcome = simulator.run(seed)
            tally.tried()
            tally.heard["crashes"] += outcome.crashes
            tally.heard["durable entries"] += outcome.entries
            for broken in outcome.broken:
                tally.fail(f"python -m tests.simulation --seed {seed}: {broken}")


@row("R10")
@pytest.mark.seconds(15)
@pytest.mark.parametrize("bug", sorted(PLANTS))
def test_a_planted_bug_is_found(tally: Tally, bug: str) -> None:
    with planted(bug), Simulator() as simulator:
        found = next((seed for seed in range(FOUND_WITHIN) if simulator.run(seed).broken), None)
    tally.control(trials=1, found=int(found is not None))
    tally.note(f"{bug}: {'not found' if found is None else f'found by seed {found}'}")
