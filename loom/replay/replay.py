"""`Replay`: states, verification, judging again and running again, from recorded entries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar, overload

from loom.actors.system import ActorSystem
from loom.decisions.runs import Runs
from loom.decisions.traces import Traces
from loom.errors import AdmissionError, JournalReadOnlyError
from loom.identity import By, check_limit
from loom.journal.store import Draft, JournalStore, draft
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry
from loom.projections import Queries
from loom.replay.against import ALSO, AgainstCase, AgainstTally, OutcomeJudgement, compared
from loom.replay.as_of import AsOf
from loom.replay.asking import Askable, Asked, check_own
from loom.replay.checking import TurnCheck, check_open_turns, sample_ended_turns
from loom.replay.done import OutcomeMap
from loom.replay.judging import OWN_VERSION, Case, Judgement, Tally, judged
from loom.replay.recorder import ReplayRecorder
from loom.replay.rerun import Rerun, RerunCase, rerun
from loom.replay.scenario import Change, WhatIf
from loom.replay.sealed import AsRecorded, Sight, Sights
from loom.replay.selection import Recall, Recalled, Selection, count, made_by_anybody
from loom.replay.state import StateAfter, fold_state, fold_states
from loom.replay.turn_verification import TurnVerification, verify_turns

__all__ = ["Decisions", "Progress", "Replay"]

T = TypeVar("T")

Decisions = Selection | Iterable[str]
"""Which decisions: a selection, or their ids."""

Progress = Callable[[int, int], None]
"""Called with the number of finished decisions and the total."""


class Replay:
    """Reads journals and runs recorded turns again; it never changes what it reads, bytes and hashes (law 5).

    Without `runs` no result can be recorded.
    """

    def __init__(
        self,
        store: JournalStore,
        system: ActorSystem,
        *,
        queries: Queries,
        policies: PolicyRegistry,
        runs: Runs | None = None,
        sights: Sights | None = None,
        make_draft: Callable[..., Draft] = draft,
    ) -> None:
        self._store = store
        self._system = system
        self._queries = queries
        self._policies = policies
        self._askable = Askable(policies)
        self._runs = runs
        self._sights = sights or Sights()
        self._draft = make_draft

    async def state(self, journal: str, *, until: int | None = None) -> Any:
        """Return the state that a journal folds to, after all of it or up to and including sequence `until`."""
        return await fold_state(self._store, self._system, journal, until=until)

    def states(self, journal: str, *, until: int | None = None) -> AsyncIterator[StateAfter]:
        """Yield the state after each entry of a journal."""
        return fold_states(self._store, self._system, journal, until=until)

    def verify(self, journal: str) -> AsyncIterator[TurnVerification]:
        """Drive every finished turn of a journal again and yield whether the code still does the same."""
        return verify_turns(self._store, self._system, journal)

    def check(self) -> AsyncIterator[TurnCheck]:
        """Drive every open turn through its recorded steps and yield whether the code at hand could resume it."""
        return check_open_turns(self._store, self._system)

    def sample(self, number: int, *, seed: int | None = None) -> AsyncIterator[TurnVerification]:
        """Drive some finished turns of any journal again, chosen at random, and yield the result of each."""
        return sample_ended_turns(self._store, self._system, check_limit(number), seed=seed)

    async def as_of(self, position: int) -> AsOf:
        """Return the workspace as it was known when the journal ended at a position; raise `OutOfRangeError`."""
        return await AsOf.read(position, store=self._store, queries=self._queries, system=self._system)

    # --- judging again --------------------------------------------------------------------------

    @overload
    async def judge(
        self,
        decisions: Decisions,
        *,
        under: str | AnyPolicy | None = None,
        facts: Change | None = None,
        what_if: WhatIf | None = None,
        gaps: bool = False,
        keep: bool = False,
        by: By | None = None,
        opened: AsRecorded | None = None,
        progress: Progress | None = None,
    ) -> Judgement: ...

    @overload
    async def judge(
        self,
        decisions: Decisions,
        *,
        under: str | AnyPolicy | None = None,
        against: Literal["outcome"],
        mapping: Mapping[str, str] | None = None,
        per: Collection[str] = (),
        weigh: str | None = None,
        gaps: bool = False,
        opened: AsRecorded | None = None,
        progress: Progress | None = None,
    ) -> OutcomeJudgement: ...

    async def judge(
        self,
        decisions: Decisions,
        *,
        under: str | AnyPolicy | None = None,
        facts: Change | None = None,
        what_if: WhatIf | None = None,
        against: Literal["outcome"] | None = None,
        mapping: Mapping[str, str] | None = None,
        per: Collection[str] = (),
        weigh: str | None = None,
        gaps: bool = False,
        keep: bool = False,
        by: By | None = None,
        opened: AsRecorded | None = None,
        progress: Progress | None = None,
    ) -> Judgement | OutcomeJudgement:
        """Judge recorded facts under another version of their policy, or other facts, and return what has changed.

        `under` is a registered version, or an unregistered policy, to see what it would do; without it, each decision
        is judged under its own version. `facts` gets a copy of the recorded facts and returns those to judge; `what_if`
        declares the changes: `{"percent": "-10 %"}`. With `gaps` a table also says what holds for every value of the
        facts that were not recorded. With `keep` each case that could be judged becomes a trace in a run of its own, in
        the name of `by`: a replay run, or a simulation if the facts are changed; without `keep`, nothing is written.

        With `against="outcome"` it compares what the rule says with what was done, by a `mapping` of outcomes to
        effects: `{"granted:true": "allow", "granted:false": "deny"}`; without a mapping, it reports what the rule says
        alone. The result is grouped `per` month or decider, and `weigh` names a fact whose sum each cell has. Observed
        decisions are included, unless the selection names an origin, a run or ids.

        Raises `PolicyNotRegisteredError`, `PolicyMismatchError` if no decision is of that policy, and `AdmissionError`
        if nothing differs, or if the arguments contradict each other.
        """
        asked = self._askable.asked(under, facts, what_if, gaps=gaps, against=against is not None)
        sight = opened or self._sights.as_recorded()
        if against is not None:
            return await self._against(
                chosen(decisions), asked, mapping, sight=sight, per=per, weigh=weigh, progress=progress
            )
        if keep and gaps:
            raise AdmissionError(
                "a judgement over [gaps] cannot be kept; expected only one of the two: leave out keep or gaps"
            )
        return await self._again(chosen(decisions), asked, keep=keep, by=by, sight=sight, progress=progress)

    async def opening(
        self,
        decisions: Decisions,
        *,
        by: By,
        reason: str,
        against: Literal["outcome"] | None = None,
        purpose: Literal["judge", "audit"] = "judge",
    ) -> AsRecorded:
        """Open the sealed facts of decisions for judging and auditing, in memory, in a reader's name.

        One entry is journaled in `loom/access` before anything is opened, and none if nothing is sealed. With
        `against` the outcomes are opened, too. Raises `NotAReaderError` if `sealing.readers` does not name the reader,
        `AdmissionError` without a reason, `ConfigError` without a vault.
        """
        selection = chosen(decisions)
        meant = (selection,) if against is None else made_by_anybody(selection)
        recalls = [Recall(self._queries, each, also=ALSO if against else ()) for each in meant]
        return await self._sights.opening(recalls, by=by, reason=reason, purpose=purpose)

    async def _again(
        self,
        selection: Selection,
        asked: Asked,
        *,
        keep: bool,
        by: By | None,
        sight: AsRecorded,
        progress: Progress | None,
    ) -> Judgement:
        if keep and asked.version is not None and asked.version.number == 0:
            self._policies.resolve_hash(asked.version.hash_bytes)  # law 3: a recorded result names a registered version
        tally = Tally(asked.version, asked.scenario, gaps=asked.gaps)
        run_id, recorder = await self._keeper(selection, asked, by=by, sight=sight) if keep else (None, None)

        def judge(page: list[Recalled]) -> list[Case]:
            cases = list(judged(page, asked.under_which, asked.scenario, gaps=asked.gaps))
            for recalled, case in zip(page, cases, strict=True):
                tally.add(recalled, case)
            return cases

        recall = Recall(self._queries, selection)
        async for cases in self._each(recall, sight, judge, progress):
            if recorder is not None:
                await recorder.keep(cases)
        check_own(asked, of_another=tally.foreign)
        judgement = tally.judgement(run_id=run_id, left_out=recall.left_out)
        if run_id is not None and self._runs is not None:
            await self._runs.end(run_id, result=judgement.model_dump(mode="json", exclude={"run_id"}), by=by)
        return judgement

    async def _against(
        self,
        selection: Selection,
        asked: Asked,
        mapping: Mapping[str, str] | None,
        *,
        sight: AsRecorded,
        per: Collection[str],
        weigh: str | None,
        progress: Progress | None,
    ) -> OutcomeJudgement:
        means = None if mapping is None else OutcomeMap(mapping)
        tally = AgainstTally(asked.version, means, per=per, weigh=weigh, gaps=asked.gaps)

        def compare(page: list[Recalled]) -> None:
            for recalled, case in zip(page, compared(page, asked.under_which, means, gaps=asked.gaps), strict=True):
                tally.add(recalled, case)

        left_out = 0
        for each in made_by_anybody(selection):
            recall = Recall(self._queries, each, also=ALSO)
            async for _ in self._each(recall, sight, compare, progress):
                pass
            left_out += recall.left_out
        check_own(asked, of_another=tally.foreign)
        return tally.judgement(left_out=left_out)

    async def _each(
        self,
        recall: Recall,
        sight: AsRecorded,
        judge: Callable[[list[Recalled]], T],
        progress: Progress | None,
    ) -> AsyncIterator[T]:
        """Yield the result of each page; judge in a thread, so that a running loom can decide meanwhile."""
        total = await count(self._queries, recall.selection) if progress is not None else 0
        done = 0
        async for page in recall.pages():
            yield await asyncio.to_thread(judge, await sight.page(page))
            done += len(page)
            if progress is not None:
                progress(done, total)

    async def cases_against(
        self,
        decisions: Decisions,
        *,
        under: str | AnyPolicy | None = None,
        mapping: Mapping[str, str] | None = None,
        gaps: bool = False,
        opened: AsRecorded | None = None,
    ) -> AsyncIterator[AgainstCase]:
        """Yield every case of the rule against what was done: the cases that cells count.

        The cases of turns come first, then the observed ones, each in the order in which they were recorded.
        """
        asked = self._askable.asked(under, None, None, gaps=gaps, against=True)
        means = None if mapping is None else OutcomeMap(mapping)
        sight = opened or self._sights.as_recorded()
        for selection in made_by_anybody(chosen(decisions)):
            async for page in Recall(self._queries, selection, also=ALSO).pages():
                for case in compared(await sight.page(page), asked.under_which, means, gaps=gaps):
                    yield case

    async def cases(
        self,
        decisions: Decisions,
        *,
        under: str | None = None,
        facts: Change | None = None,
        what_if: WhatIf | None = None,
        gaps: bool = False,
        opened: AsRecorded | None = None,
    ) -> AsyncIterator[Case]:
        """Yield every case of judging again, oldest decision first; nothing is written."""
        asked = self._askable.asked(under, facts, what_if, gaps=gaps)
        sight = opened or self._sights.as_recorded()
        async for page in Recall(self._queries, chosen(decisions)).pages():
            for case in judged(await sight.page(page), asked.under_which, asked.scenario, gaps=gaps):
                yield case

    async def run(self, decisions: Decisions, *, under: str, progress: Progress | None = None) -> Rerun:
        """Run the actors' code again under another version, with recorded results, and return what would be decided.

        Nothing is fetched, performed or written. The turns of the selection are driven one after the other.
        """
        version = self._policies.resolve(under)
        selection = chosen(decisions)
        total = await count(self._queries, selection) if progress is not None else 0
        cases: list[RerunCase] = []
        async for page in Recall(self._queries, selection).pages():
            async for case in rerun(self._store, self._system, page, version):
                cases.append(case)
                if progress is not None:
                    progress(len(cases), total)
        return Rerun(policy=version.name, under=version.version, hash=version.hash, cases=tuple(cases))

    async def _keeper(
        self, selection: Selection, asked: Asked, *, by: By | None, sight: AsRecorded
    ) -> tuple[str, ReplayRecorder]:
        if self._runs is None:
            raise JournalReadOnlyError("a reader cannot record a replay; expected an open loom: open one")
        version = asked.version
        parameters: dict[str, object] = {
            "under": OWN_VERSION if version is None else version.version,
            "selection": selection.plain(),
        }
        if asked.scenario is not None:
            parameters |= asked.scenario.said
        run = await self._runs.start(
            kind="replay" if asked.scenario is None else "simulation",
            policies=[] if version is None else [version.hash],
            parameters=parameters,
            by=by,
        )
        recorder = ReplayRecorder(
            self._store,
            Traces(self._queries),
            run_id=run.run_id,
            under_which=asked.under_which,
            scenario=asked.scenario,
            opened=sight.opened if isinstance(sight, Sight) else None,
            make_draft=self._draft,
        )
        return run.run_id, recorder


def chosen(decisions: Decisions) -> Selection:
    """Return a selection as it is, or the selection of some ids."""
    return decisions if isinstance(decisions, Selection) else Selection(ids=tuple(decisions))
