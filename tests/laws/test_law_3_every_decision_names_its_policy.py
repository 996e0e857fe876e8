"""Law 3: every decision names a registered policy version and keeps the facts it was judged on; or it is observed.

An observed one has no policy and no evaluation, names who decided where that is known, and its source.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.actors import Command
from loom.decisions import Decision, DecisionJournalEntry, DecisionObservedEntry, ObservedSource
from loom.decisions.entries import DECISIONS, EvaluatedEntry
from loom.errors import AdmissionError, PolicyNotRegisteredError
from loom.identity import Identity
from loom.policies.registry import PolicyRegistry
from tests.actors.agents import Case, Folding, Limits, discount
from tests.actors.support import entries, opened
from tests.history.support import bank, rows


class Judge(Command[str]):
    percent: int | None = None
    under: str | None = None


class Judging(Folding):
    policy = discount

    async def execute(self, command: Judge) -> str:
        if command.percent is not None:
            self.evaluate(Case(percent=command.percent))
        return await self.record_decision(rationale="because", policy=command.under)


class Unruled(Judging):
    policy = None  # type: ignore[assignment]


async def decide(directory: Path, asked: list[tuple[bool, int | None, int | None]]) -> None:
    """Decide with and without a policy and facts, while other versions are adopted; then look at every decision."""
    async with opened(directory, agents=[Judging, Unruled]) as loom:
        for ruled, percent, adopted in asked:
            if adopted is not None:
                version = await loom.policies.register(discount.with_params(Limits(limit=adopted)), by="alice")
                await loom.policies.adopt(version.version, by="bob")
            agent = Judging if ruled else Unruled
            await loom.actor(agent, "one").ask(Judge(percent=percent if ruled else None))
        recorded = await entries(loom)
        registry = PolicyRegistry(loom.store)
        await registry.load()
        evaluated: dict[str, EvaluatedEntry] = {}
        decided = 0
        for each in recorded:
            if isinstance(each.entry, EvaluatedEntry):
                evaluated[str(each.command_id)] = each.entry
            if not isinstance(each.entry, DecisionJournalEntry):
                continue
            decided += 1
            decision = each.entry.decision
            version = registry.resolve_hash(each.policy_hash or b"")  # in the header that is hashed
            assert (version.name, version.version, version.hash) == (
                decision.under.name,
                decision.under.version,
                decision.under.hash,
            )
            judged = evaluated.get(str(each.command_id))
            assert decision.facts == (judged.facts if judged else None)
            assert decision.evaluation == (judged.evaluation if judged else None)
            if judged is not None:  # and the version says so again
                runnable = loom.policies.runnable(version)
                assert runnable.evaluate_json(judged.facts) == judged.evaluation
        assert decided == len(asked)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(0, 100), st.none() | st.integers(0, 100)),
        min_size=1,
        max_size=6,
    )
)
def test_every_decision_names_a_registered_version_and_keeps_its_facts(asked: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(decide(Path(directory), asked))


class Catching(Judging):
    async def execute(self, command: Judge) -> str:
        with pytest.raises(PolicyNotRegisteredError):
            await super().execute(command)
        return "refused"


@pytest.mark.parametrize("under", ["policy_v9_12345678", "f" * 64, "v1_00000000"])
async def test_a_decision_under_a_version_that_is_not_registered_is_refused(tmp_path: Path, under: str) -> None:
    async with opened(tmp_path, agents=[Catching]) as loom:
        assert await loom.actor(Catching, "one").ask(Judge(under=under)) == "refused"
        assert not [each for each in await entries(loom) if each.kind == "decision"]


# --- observed ones --------------------------------------------------------------------------------


async def test_an_observed_decision_has_no_policy_and_names_its_source_and_who_decided(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Judging]) as loom:
        await loom.actor(Judging, "one").ask(Judge(percent=5))
        done = await loom.history.load(rows(30), bank(), by="vera")
        recorded = [each for each in await entries(loom) if each.kind in DECISIONS]
    own_ids = set()
    for each in recorded:
        decision = each.entry.decision  # type: ignore[attr-defined]
        observed = isinstance(each.entry, DecisionObservedEntry)
        assert (decision.origin == "observed", decision.policy is None, each.policy_hash is None) == (observed,) * 3
        if not isinstance(each.entry, DecisionObservedEntry):
            continue
        source = each.entry.source
        assert decision.evaluation is None
        assert decision.facts
        assert (source.name, source.digest) == ("bank", done.report.file_digest)
        assert each.command_id == f"bank:{source.own_id}"
        own_ids.add(source.own_id)
        who = rows(30)[source.row - 1]["who"] or None
        assert each.entry.decided_by == who
        assert who is None or each.entry.identity == Identity(who, "claimed", f"import:{source.digest}:{source.row}")
    assert len(own_ids) == 30


class Forging(Judging):
    async def execute(self, command: Judge) -> str:
        source = ObservedSource(name="bank", own_id="1", digest="d" * 64, row=1, row_digest="e" * 64)
        forged = Decision(decision_id="f" * 64, decision_type="mortgage", rationale="because", origin="observed")
        with pytest.raises(AdmissionError, match="is loom's own"):
            await self.record(DecisionObservedEntry(decision=forged, source=source))
        return "refused"


async def test_a_turn_writes_no_observed_decision(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Forging]) as loom:
        assert await loom.actor(Forging, "one").ask(Judge()) == "refused"
        assert not [each for each in await entries(loom) if each.kind == "decision_observed"]
