"""A decision id is derived: the same turn gives the same one, anywhere and whenever, and another turn another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.decisions import decision_id
from loom.errors import CommandConflictError
from loom.testing import fixed_sources
from tests.actors.agents import Carry, Do, Interpreter
from tests.actors.support import opened

TEXT = st.text(max_size=6)
PARTS = st.fixed_dictionaries(
    {
        "workspace": TEXT,
        "journal": TEXT,
        "command_id": TEXT,
        "decision_type": TEXT,
        "occurrence": st.integers(0, 20),
        "policy_hash": TEXT,
    }
)
GOLDEN = "02566e3f3ce2eac704c2510e4526cd4aa4f9ddea8645bb1cf5ed9575afcc10f4"
SIMULATED = Carry(
    program=[Do(verb="decide", key="step-1"), Do(verb="decide", key="step-1"), Do(verb="decide", key="2")]
)


@given(PARTS, PARTS)
def test_two_decisions_have_one_id_only_if_they_are_one_in_every_part(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (decision_id(**one) == decision_id(**other)) == (one == other)


def test_the_id_of_a_decision_never_changes() -> None:
    parts: dict[str, Any] = {
        "workspace": "default",
        "journal": "persona/p-0001",
        "command_id": "run-1:p-0001:step-3",
        "decision_type": "drop_off",
        "occurrence": 0,
        "policy_hash": "9af01c22" * 8,
    }
    assert decision_id(**parts) == GOLDEN


async def _simulated(directory: Path, *, run_id: str, seed: str) -> list[str]:
    """Return the ids of what is decided, oldest first, with another clock and other chance for each seed."""
    async with opened(directory, sources=fixed_sources(seed=seed)) as loom:
        async with loom.runs.run(run_id=run_id, seed=seed):
            for persona in ("p-0001", "p-0002"):
                await loom.actor(Interpreter, persona).ask(SIMULATED, id=f"sim:{persona}")
        return [each.decision_id for each in reversed(await loom.traces.find())]


async def test_a_simulation_that_is_run_again_elsewhere_and_later_gives_the_same_ids(tmp_path: Path) -> None:
    first = await _simulated(tmp_path / "a", run_id="monday", seed="one")
    assert len(set(first)) == 6
    assert await _simulated(tmp_path / "b", run_id="tuesday", seed="other") == first


async def test_in_one_workspace_another_run_needs_command_ids_of_its_own(tmp_path: Path) -> None:
    await _simulated(tmp_path, run_id="monday", seed="one")
    with pytest.raises(CommandConflictError, match=r"came before in run \[monday\]"):
        await _simulated(tmp_path, run_id="tuesday", seed="one")
