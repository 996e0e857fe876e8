"""Record the results of judging again: as traces of their own, in a separate journal and run."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from loom.decisions.decision import Decision, PolicyReference
from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.traces import Traces
from loom.errors import AppendUnknownError, ErasedError
from loom.identity import derived_id, journal_name
from loom.journal.entry import Entry
from loom.journal.store import Append, Draft, JournalStore, draft
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import BAD_FACTS, Evaluation
from loom.policies.registry import PolicyVersion
from loom.replay.judging import Case
from loom.replay.saying import UnderWhich
from loom.replay.scenario import Scenario
from loom.sealing import Opened, SealedValue
from loom.sealing.facts import FACTS_AT, placeholders_in
from loom.sealing.pointers import escaped, names_in
from loom.sealing.protecting import redacted

__all__ = ["REPLAY_TYPE", "ReplayRecorder"]

REPLAY_TYPE = "replay"
"""The type of the journals that hold recorded replays: `replay/<run id>`."""


class ReplayRecorder:
    """Writes judged cases as replayed decisions; the journals of the originals are only read."""

    def __init__(
        self,
        store: JournalStore,
        traces: Traces,
        *,
        run_id: str,
        under_which: UnderWhich,
        scenario: Scenario | None = None,
        opened: Opened | None = None,
        make_draft: Callable[..., Draft] = draft,
    ) -> None:
        self._store = store
        self._traces = traces
        self._run_id = run_id
        self._under_which = under_which
        self._scenario = scenario
        self._opened = opened
        self._draft = make_draft
        self._journal = journal_name(REPLAY_TYPE, run_id)
        self._sequence = 0

    async def keep(self, cases: Sequence[Case]) -> None:
        """Append one replayed decision for each case that could be judged, a whole page in one append."""
        drafts = []
        for case in cases:
            if case.verdict != "not_replayable":
                original = (await self._traces.get(case.decision_id)).decision
                version, policy = self._under_which(original.under.hash)
                assert version is not None and policy is not None  # noqa: S101, PT018 - the case was judged by them
                try:
                    again = await self._replayed(original, case, version, policy)
                except ErasedError:  # erased since it was judged: there is nothing to record
                    continue
                entry: Entry = DecisionJournalEntry(decision=again)
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

    async def _replayed(self, original: Decision, case: Case, version: PolicyVersion, policy: AnyPolicy) -> Decision:
        known_bad = case.old_rule == BAD_FACTS
        recorded, texts = await self._read(original)
        facts = recorded if self._scenario is None else self._scenario.facts(recorded) or {}
        said = policy.evaluate_json(facts, ignore_unknown=not known_bad)
        evaluation = _without_texts(said, texts) if texts else said
        words = {"unchanged": f"unchanged: {case.new}", "indeterminate": "indeterminate, then and now"}
        change = words.get(case.verdict, f"{case.old} → {case.new}")
        return Decision(
            decision_id=derived_id("replayed", self._run_id, original.decision_id),
            decision_type=original.decision_type,
            rationale=f"{self._asked(version)}: {change}; {evaluation.why}",
            policy=PolicyReference(name=version.name, version=version.version, hash=version.hash, rule=evaluation.rule),
            facts=await self._written(original, facts) if self._scenario is not None else original.facts,
            evaluation=evaluation,
            outcome={},
            is_exception=evaluation.is_exception,
            exception_reason=evaluation.exception_reason,
            context=original.context,
            run_id=self._run_id,
            origin="replayed",
            replayed_from=original.decision_id,
        )

    async def _read(self, original: Decision) -> tuple[Mapping[str, JsonValue], frozenset[str]]:
        """Return the facts of a decision, opened as they were for judging, and the texts that were sealed in them."""
        facts = original.facts or {}
        if self._opened is None:
            return facts, frozenset()
        opened = await self._opened.facts(facts)
        if opened.facts is None:
            raise ErasedError(f"the facts of [{original.decision_id}] do not open any more")
        return opened.facts, opened.texts

    async def _written(self, original: Decision, facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return changed facts with their sealed values sealed again, for the same subject at the same place.

        A function may have moved sealed values anywhere, so everything that it returns is sealed.
        """
        assert self._scenario is not None  # noqa: S101 - facts are changed by one
        sealed = {path: each for path, each in placeholders_in(original.facts, "") if isinstance(each, SealedValue)}
        if not sealed or self._opened is None:
            return dict(facts)
        subjects = sorted({each.subject for each in sealed.values()})
        if "what_if" not in self._scenario.said:
            return {
                name: await self._sealed_for(subjects, value, f"{FACTS_AT}/{escaped(name)}")
                for name, value in facts.items()
            }
        written: Any = copy.deepcopy(dict(facts))
        for path, each in sealed.items():
            keys = await self._opened.vault.keys(each.subject)
            home, at = _place(written, path)
            if at is not None:  # if the scenario replaced the surrounding value, the caller gave it in clear
                home[at] = keys.seal(home[at], about=each.about, once=f"{self._run_id} {original.decision_id}")
        return dict(written)

    async def _sealed_for(self, subjects: Sequence[str], value: JsonValue, about: str) -> JsonValue:
        """Return a value sealed for several subjects, one seal inside another: opening needs the keys of all."""
        assert self._opened is not None  # noqa: S101 - only opened values are sealed again
        for subject in subjects:
            value = await self._opened.vault.seal(subject, value, about=about)
        return value

    def _asked(self, version: PolicyVersion) -> str:
        if self._scenario is None:
            return f"judged again under {version.version}"
        return f"simulated under {version.version}, what if {self._scenario.in_words()}"


def _place(value: Any, path: str) -> tuple[Any, Any]:
    """Return the container of the value at a path, and its name or index there; None if there is none."""
    *parents, last = names_in(path)
    for name in parents:
        value = value[_at(value, name)] if _at(value, name) is not None else None
    return value, _at(value, last)


def _at(value: Any, name: str) -> str | int | None:
    if isinstance(value, dict):
        return name if name in value else None
    return int(name) if isinstance(value, list) and name.isdigit() and int(name) < len(value) else None


def _without_texts(evaluation: Evaluation, texts: Collection[str]) -> Evaluation:
    """Return an evaluation whose texts and details do not contain the values that were opened for it."""

    def short(words: str | None) -> str | None:
        return None if words is None else redacted(words, texts)

    details = {
        name: "[sealed]" if json.dumps(value) in texts else redacted(value, texts) if isinstance(value, str) else value
        for name, value in evaluation.details.items()
        if value not in texts
    }
    return evaluation.model_copy(
        update={
            "why": short(evaluation.why),
            "exception_reason": short(evaluation.exception_reason),
            "details": details,
            "why_not": tuple(each.model_copy(update={"why": short(each.why)}) for each in evaluation.why_not),
        }
    )
