"""Keeping what judging again came to: traces of their own, in a journal of their own, in a run of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loom.decisions.decision import Decision, PolicyReference
from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.traces import Traces
from loom.errors import AppendUnknownError
from loom.identity import derived_id, journal_name
from loom.journal.entry import Entry
from loom.journal.store import Append, Draft, JournalStore, draft
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import BAD_FACTS
from loom.policies.registry import PolicyVersion
from loom.replay.judging import Case
from loom.replay.saying import UnderWhich
from loom.replay.scenario import Scenario

__all__ = ["REPLAY_TYPE", "Keeper"]

REPLAY_TYPE = "replay"
"""The type of the journals that replays are kept in: `replay/<run id>`."""


class Keeper:
    """Writes judged cases as replayed decisions; the journals they come from are only read."""

    def __init__(
        self,
        store: JournalStore,
        traces: Traces,
        *,
        run_id: str,
        under_which: UnderWhich,
        scenario: Scenario | None = None,
        make_draft: Callable[..., Draft] = draft,
    ) -> None:
        self._store = store
        self._traces = traces
        self._run_id = run_id
        self._under_which = under_which
        self._scenario = scenario
        self._draft = make_draft
        self._journal = journal_name(REPLAY_TYPE, run_id)
        self._sequence = 0

    async def keep(self, cases: Sequence[Case]) -> None:
        """Append one replayed decision for each case that could be judged, all of a page at once."""
        drafts = []
        for case in cases:
            if case.verdict != "not_replayable":
                original = (await self._traces.get(case.decision_id)).decision
                version, policy = self._under_which(original.under.hash)
                assert version is not None and policy is not None  # noqa: S101, PT018 - the case was judged by them
                entry: Entry = DecisionJournalEntry(decision=self._replayed(original, case, version, policy))
                drafts.append(self._draft(entry, policy_hash=version.hash_bytes))
        if not drafts:
            return
        append = Append(self._journal, self._sequence, drafts)
        await self._store.room()
        try:
            receipt = await self._store.append(append)
        except AppendUnknownError as unknown:
            resolved = await self._store.resolve(unknown)
            if resolved is None:
                raise
            receipt = resolved
        self._sequence = receipt.sequence

    def _replayed(self, original: Decision, case: Case, version: PolicyVersion, policy: AnyPolicy) -> Decision:
        known_bad = case.old_rule == BAD_FACTS
        facts = original.facts or {}
        if self._scenario is not None:
            facts = self._scenario.facts(facts) or {}
        evaluation = policy.evaluate_json(facts, ignore_unknown=not known_bad)
        words = {"unchanged": f"unchanged: {case.new}", "indeterminate": "indeterminate, then and now"}
        change = words.get(case.verdict, f"{case.old} → {case.new}")
        return Decision(
            decision_id=derived_id("replayed", self._run_id, original.decision_id),
            decision_type=original.decision_type,
            rationale=f"{self._asked(version)}: {change}; {evaluation.why}",
            policy=PolicyReference(name=version.name, version=version.version, hash=version.hash, rule=evaluation.rule),
            facts=facts if self._scenario is not None else original.facts,
            evaluation=evaluation,
            outcome={},
            is_exception=evaluation.is_exception,
            exception_reason=evaluation.exception_reason,
            context=original.context,
            run_id=self._run_id,
            origin="replayed",
            replayed_from=original.decision_id,
        )

    def _asked(self, version: PolicyVersion) -> str:
        if self._scenario is None:
            return f"judged again under {version.version}"
        return f"simulated under {version.version}, what if {self._scenario.in_words()}"
