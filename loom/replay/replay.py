"""`Replay`: everything that can be asked of what was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from loom.actors.system import ActorSystem
from loom.decisions.runs import Runs
from loom.decisions.traces import Traces
from loom.errors import (
    AdmissionError,
    JournalReadOnlyError,
    PolicyCodeChangedError,
    PolicyMismatchError,
    PolicyNotRegisteredError,
)
from loom.identity import By
from loom.journal.store import Draft, JournalStore, draft
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.policies.version import unregistered
from loom.projections import Queries
from loom.replay.judging import OWN_VERSION, Case, Judgement, Tally, UnderWhich, judged
from loom.replay.kept import Keeper
from loom.replay.rehearsal import Rehearsal, rehearse
from loom.replay.rerun import Rerun, RerunCase, rerun
from loom.replay.scenario import Change, Scenario, WhatIf
from loom.replay.selection import Recall, Recalled, Selection, count
from loom.replay.state import StateAfter, fold_state, fold_states

__all__ = ["Decisions", "Progress", "Replay"]

Decisions = Selection | Iterable[str]
"""Which decisions: a selection, or their ids."""

Progress = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""


class Replay:
    """Reads journals and runs recorded turns again; what it reads stays as it was, bytes and hashes (law 5).

    Without `runs` nothing can be kept.
    """

    def __init__(
        self,
        store: JournalStore,
        system: ActorSystem,
        *,
        queries: Queries,
        policies: PolicyRegistry,
        runs: Runs | None = None,
        make_draft: Callable[..., Draft] = draft,
    ) -> None:
        self._store = store
        self._system = system
        self._queries = queries
        self._policies = policies
        self._runs = runs
        self._draft = make_draft

    async def state(self, journal: str, *, until: int | None = None) -> Any:
        """Return the state that a journal folds to, after all of it or up to and with sequence `until`."""
        return await fold_state(self._store, self._system, journal, until=until)

    def states(self, journal: str, *, until: int | None = None) -> AsyncIterator[StateAfter]:
        """Yield the state after each entry of a journal."""
        return fold_states(self._store, self._system, journal, until=until)

    def verify(self, journal: str) -> AsyncIterator[Rehearsal]:
        """Drive every finished turn of a journal again and yield whether the code still does what it did."""
        return rehearse(self._store, self._system, journal)

    # --- judging again --------------------------------------------------------------------------

    async def judge(
        self,
        decisions: Decisions,
        *,
        under: str | AnyPolicy | None = None,
        facts: Change | None = None,
        what_if: WhatIf | None = None,
        keep: bool = False,
        by: By | None = None,
        progress: Progress | None = None,
    ) -> Judgement:
        """Judge recorded facts under another version of their policy, or other facts, and return what has changed.

        `under` is a registered version, or a policy that nobody has registered, to see what it would do; without it,
        each decision is judged under its own. `facts` gets a copy of recorded facts and returns those to judge;
        `what_if` declares them: `{"percent": "-10 %"}`. With `keep` each case that could be judged becomes a trace in a
        run of its own, in the name of `by`: a replay run, or a simulation where the facts are others; without, nothing
        is written. Raises `PolicyNotRegisteredError`, `PolicyMismatchError` where no decision is of that policy, and
        `AdmissionError` where neither a version nor a scenario is given.
        """
        asked = self._asked(under, facts, what_if)
        if keep and asked.version is not None and not isinstance(under, str):
            self._policies.resolve_hash(asked.version.hash_bytes)  # law 3: what is kept names a registered version
        tally = Tally(asked.version, asked.scenario)
        selection = chosen(decisions)
        total = await count(self._queries, selection) if progress is not None else 0
        run_id, keeper = await self._keeper(selection, asked, by=by) if keep else (None, None)
        done, recall = 0, Recall(self._queries, selection)
        async for page in recall.pages():
            # In a thread, so that a loom that decides meanwhile goes on doing so.
            cases = await asyncio.to_thread(_judge_page, page, asked, tally)
            if keeper is not None:
                await keeper.keep(cases)
            done += len(page)
            if progress is not None:
                progress(done, total)
        if tally.foreign and asked.version is not None:
            raise PolicyMismatchError(
                f"version [{asked.version.version}] is of policy [{asked.version.name}], and none of the [{done}] "
                "decisions are; expected a version of their own policy: see `loom policies`"
            )
        judgement = tally.judgement(run_id=run_id, left_out=recall.left_out)
        if run_id is not None and self._runs is not None:
            await self._runs.end(run_id, result=judgement.model_dump(mode="json", exclude={"run_id"}), by=by)
        return judgement

    async def cases(
        self,
        decisions: Decisions,
        *,
        under: str | None = None,
        facts: Change | None = None,
        what_if: WhatIf | None = None,
    ) -> AsyncIterator[Case]:
        """Yield every case of judging again, oldest decision first; nothing is written."""
        asked = self._asked(under, facts, what_if)
        async for page in Recall(self._queries, chosen(decisions)).pages():
            for case in judged(page, asked.under_which, asked.scenario):
                yield case

    async def run(self, decisions: Decisions, *, under: str, progress: Progress | None = None) -> Rerun:
        """Run the actors' code again under another version, fed from the journal, and return what would be decided.

        Nothing is fetched, performed or written. Every turn of the selection is driven, one after the other.
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

    def _asked(self, under: str | AnyPolicy | None, facts: Change | None, what_if: WhatIf | None) -> _Asked:
        scenario = Scenario.of(facts, what_if)
        if under is None:
            if scenario is None:
                raise AdmissionError(
                    "decisions are to be judged again under [no version] and on [no other facts]; expected one of "
                    "[under, facts, what_if]: say what differs"
                )
            return _Asked(None, scenario, cache(self._own))
        if isinstance(under, AnyPolicy):
            version, policy = unregistered(under), under
            return _Asked(version, scenario, lambda _: (version, policy))
        resolved = self._policies.resolve(under)
        runnable = self._runnable(resolved)
        return _Asked(resolved, scenario, lambda _: (resolved, runnable))

    def _own(self, policy_hash: str) -> tuple[PolicyVersion | None, AnyPolicy | None]:
        """Return the version that a decision names, and its code; None for what there is not."""
        try:
            version = self._policies.resolve(policy_hash)
        except PolicyNotRegisteredError:
            return None, None
        return version, self._runnable(version)

    def _runnable(self, version: PolicyVersion) -> AnyPolicy | None:
        try:
            return self._policies.runnable(version) if version.has_rule else None
        except PolicyCodeChangedError:
            return None

    async def _keeper(self, selection: Selection, asked: _Asked, *, by: By | None) -> tuple[str, Keeper]:
        if self._runs is None:
            raise JournalReadOnlyError("a replay cannot be kept by a reader; expected an open loom: open one")
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
        keeper = Keeper(
            self._store,
            Traces(self._queries),
            run_id=run.run_id,
            under_which=asked.under_which,
            scenario=asked.scenario,
            make_draft=self._draft,
        )
        return run.run_id, keeper


@dataclass(frozen=True, slots=True)
class _Asked:
    """What decisions are judged under: one version or each its own, on their facts or on those of a scenario."""

    version: PolicyVersion | None
    scenario: Scenario | None
    under_which: UnderWhich


def chosen(decisions: Decisions) -> Selection:
    """Return the selection that is meant."""
    return decisions if isinstance(decisions, Selection) else Selection(ids=tuple(decisions))


def _judge_page(page: list[Recalled], asked: _Asked, tally: Tally) -> list[Case]:
    cases = list(judged(page, asked.under_which, asked.scenario))
    for recalled, case in zip(page, cases, strict=True):
        tally.add(recalled, case)
    return cases
