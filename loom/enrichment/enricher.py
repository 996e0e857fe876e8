"""The enricher: it follows the decisions, and asks a critic about those that the modes name, within the budget.

Recording a decision never waits for it; the reply of its turn does, if the config says so. A failure of a critic never
changes the decision. The result of each request is an entry in the enricher's own journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from pydantic import ValidationError

from loom.background import Background, Child, stopped
from loom.decisions.analysis import DecisionAnalysis
from loom.decisions.decision import Decision
from loom.decisions.enrichments import EnrichmentEntry, EnrichmentFailedEntry, EnrichmentRefusedEntry
from loom.decisions.entries import DecisionJournalEntry, DecisionObservedEntry
from loom.decisions.runs import RunsView
from loom.enrichment.budget import Budget, Refused, Reservation
from loom.enrichment.config import EnrichmentConfig
from loom.enrichment.critic import Critic, CriticAnswer, fenced
from loom.enrichment.entries import EnricherSetEntry, ImportEnrichedEntry, Settlement
from loom.errors import CriticError, LoomError, RunConflictError
from loom.identity import By, Identity, check_limit, new_id
from loom.journal.appending import append_last
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore, draft
from loom.projections import Queries
from loom.projections.joining import join
from loom.sealing import Outgoing, Subjects
from loom.sealing.facts import placeholders_in
from loom.spans import note_enrichment, observe_budget, span
from loom.telemetry import get_logger

__all__ = ["ENRICHMENT_JOURNAL", "Enricher", "ImportEnriched"]

ENRICHMENT_JOURNAL = "loom/enrichment"
"""The journal of the answers of critics."""

_SETTINGS_JOURNAL = "loom/enricher"
_ATTEMPTS = 3
_LINGER_S = 0.05
_RETRY_S = 5.0
_WAITING = """
SELECT position, decision_id, journal, sequence FROM enrichment_waiting
WHERE position > :after AND (enrich = 'always' OR (enrich IS NULL AND {}))
ORDER BY position LIMIT :limit
"""
_AMONG = """
SELECT position, decision_id, journal, sequence FROM enrichment_waiting
WHERE decision_id IN (SELECT value FROM json_each(:ids)) AND position > :after
  AND (enrich = 'always' OR (enrich IS NULL AND {}))
ORDER BY position
"""
_IMPORTED = """
SELECT position, decision_id, journal, sequence FROM trace_decisions
WHERE run_id = :run_id AND position > :after
  AND NOT EXISTS (
    SELECT 1 FROM enrichments
    WHERE enrichments.decision_id = trace_decisions.decision_id AND enrichments.status = 'enriched')
ORDER BY position LIMIT :limit
"""
_PAGE = 100
_TYPES = "decision_type IN (SELECT value FROM json_each(:types))"

_log = get_logger("loom.enrichment")


Asked: TypeAlias = Literal["enriched", "failed", "refused"]
"""The result of a request about one decision."""


class ImportEnriched(NamedTuple):
    """The result of requests about an import; `exhausted` says that the budget ended before all decisions were done."""

    run_id: str
    enriched: int
    failed: int
    exhausted: bool


class _Waiting(NamedTuple):
    position: int
    decision_id: str
    journal: str
    sequence: int


class Enricher:
    """Asks a critic about decisions. `start` it, `close` it; `idle` waits until nothing is left to do."""

    def __init__(
        self,
        store: JournalStore,
        queries: Queries,
        critic: Critic,
        budget: Budget,
        config: EnrichmentConfig,
        *,
        now: Callable[[], datetime],
        subjects: Subjects | None = None,
        make_draft: Callable[[Entry], Draft] = draft,
        background: Background | None = None,
    ) -> None:
        self._background = background or Background()
        self._store = store
        self._outgoing = Outgoing(store, subjects, to="critic", plain_fields=config.plain_fields, make_draft=make_draft)
        self._queries = queries
        self._critic = critic
        self._budget = budget
        self._config = config
        self._now = now
        self._draft = make_draft
        self._settings = SingletonJournal(store, _SETTINGS_JOURNAL, self._fold_settings, make_draft=make_draft)
        self._set: EnricherSetEntry | None = None
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._looking = asyncio.Lock()
        self._under_way: dict[str, Child[Asked | None]] = {}
        self._dealt_with: set[str] = set()
        """Decisions that an earlier read of the view may still show as waiting."""
        self._places = asyncio.Semaphore(config.concurrency)
        self._task: Child[None] | None = None

    async def start(self) -> None:
        """Settle what an earlier process left open, record the modes if they have changed, and begin to follow."""
        await self._settle_lost()
        await self._note_settings()
        observe_budget(self._budget.left)
        self._store.on_commit(lambda _: self._wake.set())
        self._wake.set()
        self._task = self._background.keep_running(self._follow, name="loom-enricher")

    async def close(self) -> None:
        """Stop asking. Running calls are cancelled, and their worst case counts."""
        tasks = [task for task in (self._task, *self._under_way.values()) if task is not None]
        if not tasks:  # it followed nothing, and no request is open
            return
        await stopped(*tasks)
        try:
            await self._settle_lost()
        except LoomError as error:  # the next start settles it
            _log.warning("reservations_left_open", error=str(error))

    async def idle(self) -> None:
        """Wait until every recorded decision that is to be enriched is done."""
        while True:
            under_way = await self._look()
            if not under_way:
                return
            await asyncio.wait(under_way)

    async def hold(self, decision_ids: Sequence[str]) -> None:
        """Wait until decisions that are to be enriched have an enrichment, a refusal or a failure, for a limited time.

        Decisions without one after `patience_s` are done later.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.patience_s):
                tasks = await self._look(decision_ids)
                if tasks:
                    await asyncio.wait(tasks)

    async def enrich_import(self, run_id: str, *, by: By, limit: int | None = None) -> ImportEnriched:
        """Ask about imported decisions, oldest first, in the name of a person. Nothing else asks about them.

        Decisions with an enrichment are skipped. At most `limit` others are asked about, each within the budget, until
        that refuses. Raises `RunNotFoundError`, and `RunConflictError` for a run that is no finished import.
        """
        run = await RunsView(self._queries).get(run_id)
        if run.kind != "import" or run.status != "completed":
            raise RunConflictError(
                f"run [{run.run_id}] is [{run.kind}, {run.status}]; expected an import that has ended: finish it first"
            )
        await self._settle_lost()
        await self._write(ImportEnrichedEntry(run_id=run.run_id, **Identity.of(by).written()))
        counts: Counter[Asked] = Counter()
        after, left = 0, sys.maxsize if limit is None else check_limit(limit)
        refused = False
        while left and not refused:
            bounds = {"run_id": run.run_id, "after": after, "limit": min(left, _PAGE)}
            rows = await self._queries.fetch(_IMPORTED, bounds, names=("traces", "enrichments"))
            if not rows:
                break
            at_once = self._config.concurrency
            for first in range(0, len(rows), at_once):
                tasks = [self._begin(_Waiting(*row)) for row in rows[first : first + at_once]]
                counts.update(each for each in await asyncio.gather(*tasks) if each is not None)
                refused = counts["refused"] > 0
                if refused:
                    break
            after, left = rows[-1]["position"], left - len(rows)
        return ImportEnriched(run.run_id, counts["enriched"], counts["failed"], refused)

    # --- following ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_LINGER_S)
            self._wake.clear()
            try:
                await self._look()
            except LoomError as error:
                _log.warning("enricher_stalled", error=str(error))
                await asyncio.sleep(_RETRY_S)
                self._wake.set()

    async def _look(self, among: Sequence[str] | None = None) -> list[Child[Asked | None]]:
        """Start tasks for the waiting decisions, all or some, and return the tasks of all that were found waiting."""
        async with self._looking:
            before = set(self._dealt_with)
            waiting = [each for each in await self._waiting(among) if each.decision_id not in self._dealt_with]
            if among is None:
                self._dealt_with -= before  # this read was consistent: they are not shown again
            return [self._begin(each) for each in waiting]

    async def _waiting(self, among: Sequence[str] | None) -> list[_Waiting]:
        """Return decisions that are to be enriched, oldest first: the first ones of all, or those among some."""
        mode = self._config.mode
        condition = {"never": "false", "hybrid": _TYPES, "always": "true"}[mode]
        after = 0 if self._set is None else self._set.from_position
        bounds: dict[str, object] = {"after": after, "limit": self._config.concurrency * 4}
        if mode == "hybrid":
            bounds["types"] = json.dumps(self._config.auto_enrich_on)
        if among is not None:
            bounds["ids"] = json.dumps(list(among))
            del bounds["limit"]
        statement = _WAITING if among is None else _AMONG
        rows = await self._queries.fetch(statement.format(condition), bounds, names=("enrichments",))
        return [_Waiting(*row) for row in rows]

    def _begin(self, waiting: _Waiting) -> Child[Asked | None]:
        task = self._under_way.get(waiting.decision_id)
        if task is None:
            task = self._background.start(self._enrich(waiting), name=f"loom-enrich {waiting.decision_id[:12]}")
            self._under_way[waiting.decision_id] = task
            task.add_done_callback(lambda _: self._ended(waiting.decision_id))
        return task

    def _ended(self, decision_id: str) -> None:
        del self._under_way[decision_id]
        self._wake.set()

    # --- one decision ---------------------------------------------------------------------------

    async def _enrich(self, waiting: _Waiting) -> Asked | None:
        asked: Asked | None = None
        try:
            async with self._places:
                decision = await self._decision(waiting)
                if decision is not None:
                    asked = await self._ask(decision)
                self._dealt_with.add(waiting.decision_id)
        except LoomError as error:  # the journal cannot be written: it stays queued
            _log.warning("not_enriched", decision=waiting.decision_id, error=str(error))
            await asyncio.sleep(_RETRY_S)
        return asked

    async def _ask(self, decision: Decision) -> Asked:
        decision_id = decision.decision_id
        if self._budget.attempts(decision_id) >= _ATTEMPTS:
            await self._failed(decision_id, "Lost", f"[{_ATTEMPTS}] calls were cancelled with their process", 0, 0.0)
            return "failed"
        reserved = await self._budget.reserve(
            decision_id,
            reservation_id=new_id(),
            worst_case_micro_usd=max(0, self._critic.worst_case_micro_usd),
            # Each running call is limited by its patience, and the number of calls ahead by the number of slots.
            patience_s=self._config.patience_s * (self._config.concurrency + 1),
        )
        if isinstance(reserved, Refused):
            refused = EnrichmentRefusedEntry(decision_id=decision_id, reason=reserved.reason, detail=reserved.detail)
            await self._write(refused)
            return "refused"
        began = time.perf_counter()
        with span("loom.enrichment", {"loom.decision": decision_id}) as under_way:
            try:
                shown = await self._shown(decision)
                async with asyncio.timeout(self._config.patience_s):
                    answer = await self._critic.analyse(fenced(shown, mark=secrets.token_hex(8)))
                analysis = DecisionAnalysis.of(answer.analysis, model=answer.model, generated_at=self._now())
            except Exception as error:
                under_way.set_attribute("loom.outcome", type(error).__name__)
                note_enrichment(status="failed", duration_s=time.perf_counter() - began, confidence=None)
                await self._settle_failure(reserved, error, _ms_since(began))
                return "failed"
            under_way.set_attribute("loom.outcome", "enriched")
            duration_s = time.perf_counter() - began
            note_enrichment(status="enriched", duration_s=duration_s, confidence=analysis.confidence)
            await self._settle_answer(reserved, answer, analysis, _ms_since(began))
            return "enriched"

    async def _shown(self, decision: Decision) -> Decision:
        """Return a decision as the critic may see it: sealed values are replaced, except those that the config has."""
        plain = decision.model_dump(mode="json")
        if not any(placeholders_in(plain)):
            return decision
        return Decision.model_validate(await self._outgoing.shown(plain, what=f"decision {decision.decision_id}"))

    async def _settle_answer(
        self, reserved: Reservation, answer: CriticAnswer, analysis: DecisionAnalysis, duration_ms: float
    ) -> None:
        settlement: Settlement = "unknown_price" if answer.cost_micro_usd is None else "known"
        cost = await self._budget.settle(reserved, answer.cost_micro_usd, settlement=settlement)
        await self._write(
            EnrichmentEntry(
                decision_id=reserved.account, analysis=analysis, cost_micro_usd=cost, duration_ms=duration_ms
            )
        )

    async def _settle_failure(self, reserved: Reservation, error: Exception, duration_ms: float) -> None:
        known = error.cost_micro_usd if isinstance(error, CriticError) else None
        cost = await self._budget.settle(reserved, known, settlement="failed")
        name, words = type(error).__name__, str(error)
        if isinstance(error, TimeoutError):
            words = f"no analysis within {self._config.patience_s:g} s"
        elif isinstance(error, ValidationError):
            words = f"[{error.error_count()}] fields do not fit, first {error.errors(include_input=False)[0]['msg']}"
        await self._failed(reserved.account, name, words, cost, duration_ms)

    async def _failed(self, decision_id: str, name: str, words: str, cost: int, duration_ms: float) -> None:
        message = words.replace("\x00", "").encode(errors="replace").decode()[:2_000]
        await self._write(
            EnrichmentFailedEntry(
                decision_id=decision_id, type_name=name, message=message, cost_micro_usd=cost, duration_ms=duration_ms
            )
        )

    async def _decision(self, waiting: _Waiting) -> Decision | None:
        async for recorded in self._store.read(waiting.journal, after=waiting.sequence - 1, until=waiting.sequence):
            await join(self._store, [recorded])
            if isinstance(recorded.entry, DecisionJournalEntry | DecisionObservedEntry):
                return recorded.entry.decision
        return None

    # --- the journal ----------------------------------------------------------------------------

    async def _write(self, entry: Entry) -> None:
        async with self._writing:
            await append_last(self._store, ENRICHMENT_JOURNAL, (self._draft(entry),))

    async def _settle_lost(self) -> None:
        for reservation in await self._budget.unsettled():
            await self._budget.settle(reservation, None, settlement="lost")

    async def _note_settings(self) -> None:
        mode, types = self._config.mode, tuple(self._config.auto_enrich_on)

        def make() -> Entry | None:
            if self._set is not None and (self._set.mode, self._set.auto_enrich_on) == (mode, types):
                return None
            return EnricherSetEntry(mode=mode, auto_enrich_on=types, from_position=self._store.acknowledged)

        await self._settings.append_if_missing(make)

    def _fold_settings(self, recorded: Recorded) -> None:
        if isinstance(recorded.entry, EnricherSetEntry):
            self._set = recorded.entry


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1_000, 3)
