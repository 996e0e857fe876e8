"""Traces: decisions that are read with everything that is joined to them.

Order is by position, so the same query has the same result. A page continues after the last position of the one before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from loom.decisions.approvals import ApprovalChains
from loom.decisions.confirming import Confirmed, confirmed_decisions, confirmed_one
from loom.decisions.decision import Decision, PrecedentReference
from loom.decisions.effects_view import EffectsProjection
from loom.decisions.enrichments_view import EnrichmentsProjection
from loom.decisions.entries import DecisionJournalEntry, DecisionObservedEntry
from loom.decisions.explanation import Explanation, explain
from loom.decisions.finding import ByTime, matching, within
from loom.decisions.model_costs import ModelCall, ModelCosts
from loom.decisions.relations import chain_of, lineage_of
from loom.decisions.run import Run
from loom.decisions.runs import RunsView
from loom.decisions.trace import (
    SUMMARY,
    DecisionChain,
    DecisionLineage,
    DecisionSummary,
    DecisionTrace,
    DecisionWithBody,
    Effect,
    Enrichment,
    OutcomeObserved,
    PrecedentSeen,
)
from loom.decisions.traces_view import TracesProjection
from loom.decisions.waits import waits_of
from loom.errors import (
    DecisionNotFoundError,
    EntryUnreadableError,
    ErasedError,
    RunNotFoundError,
    ViewsDifferError,
)
from loom.journal.entry import Recorded
from loom.projections import Confirmation, Queries
from loom.projections.joining import join
from loom.projections.sql import prefix_range

__all__ = ["CONFIRM_OUTCOMES", "Traces"]

_BY_PREFIX = f"""
SELECT {SUMMARY}, by, identity_source, via, command_type, correlation_id FROM trace_decisions
WHERE decision_id >= ? AND decision_id < ? LIMIT 3
"""  # noqa: S608 - constants only
_FIND = f"SELECT {SUMMARY} FROM trace_decisions WHERE "  # noqa: S608
_FIND_BY_COMMAND = f"SELECT {SUMMARY}, command_type FROM trace_decisions WHERE "  # noqa: S608
_NEWEST = " ORDER BY position DESC LIMIT :limit"
_AMONG = f"SELECT {SUMMARY} FROM trace_decisions WHERE decision_id IN (SELECT value FROM json_each(?))"  # noqa: S608
_LINKED = "SELECT position, decision_id, {0} FROM trace_decisions WHERE {0} = ? ORDER BY position LIMIT ?"
_CHILDREN, _REPLAYS = (_LINKED.format(name) for name in ("parent_decision_id", "replayed_from"))
_DIVERGED = "SELECT position, said FROM trace_divergences WHERE journal = ? AND command_id = ?"
_OUTCOMES = "SELECT * FROM trace_outcomes WHERE decision_id = ? ORDER BY position"
_ENRICHMENTS = "SELECT * FROM enrichments WHERE decision_id = ? ORDER BY position"
_EFFECTS = """
SELECT *, count(*) OVER () AS number FROM turn_effects WHERE journal = ? AND command_id = ? ORDER BY position LIMIT ?
"""
_NAMES = ("traces",)
_RELATED = 1_000
CONFIRM_OUTCOMES = Confirmation(TracesProjection(), "trace_outcomes")
_CONFIRM_EFFECTS = Confirmation(
    EffectsProjection(), "turn_effects", rests_on=lambda row: (row["position"], row["ended_position"])
)
_CONFIRM_DIVERGENCES = Confirmation(TracesProjection(), "trace_divergences")
_CONFIRM_ENRICHMENTS = Confirmation(EnrichmentsProjection(), "enrichments")


class Traces:
    """Reads decisions: one in full, those that match, what led to one and what followed from it.

    `alike` describes the precedent class of a decision in words, by attribute, for its explanation.
    """

    def __init__(self, queries: Queries, *, alike: Callable[[Decision], Mapping[str, str]] = lambda _: {}) -> None:
        self._queries = queries
        self._alike = alike
        self._approvals = ApprovalChains(queries)
        self._runs = RunsView(queries)
        self._costs = ModelCosts(queries)

    async def get(self, decision_id: str) -> DecisionTrace:
        """Return the decision with this id, or the only one whose id begins with it; raise `DecisionNotFoundError`."""
        (row, *_), recorded = await self._one(decision_id)
        await join(self._queries.entries, [recorded])
        entry = recorded.entry
        if not isinstance(entry, DecisionJournalEntry | DecisionObservedEntry):
            raise EntryUnreadableError(
                f"decision [{row['decision_id']}] is written in a way that cannot be read; expected one of schema "
                f"[{DecisionJournalEntry.schema_version}] at most: read it with the loom that wrote it"
            )
        decision = entry.decision
        observed = entry if isinstance(entry, DecisionObservedEntry) else None
        turn = (row["journal"], row["command_id"]) if row["command_id"] and observed is None else None
        approvals = () if turn is None else await self._approvals.of_turn(*turn)
        effects, left_out = ((), 0) if turn is None else await self._effects(turn, decided=recorded.position)
        return DecisionTrace(
            **dict(DecisionSummary.of(row)),
            by=row["by"],
            identity_source=row["identity_source"],
            via=row["via"],
            command_type=row["command_type"],
            correlation_id=row["correlation_id"],
            entry_hash=recorded.entry_hash.hex(),
            schema_version=recorded.schema_version,
            decision=decision,
            **({} if observed is None else _observed(observed)),
            approvals=approvals,
            effects=effects,
            effects_left_out=left_out,
            model_calls=() if turn is None else await self._model_calls(turn, recorded.position),
            waits=() if turn is None else await waits_of(self._queries, turn, before=recorded.position),
            precedents=await self._precedents(decision.precedents),
            enrichments=await self._enrichments(decision.decision_id),
            outcomes=await self._outcomes(decision.decision_id),
            children=await self._ids(_CHILDREN, decision.decision_id),
            replays=await self._ids(_REPLAYS, decision.decision_id),
            run=await self._run(decision.run_id),
            divergence=await self._divergence(*turn) if turn is not None and row["status"] == "open" else None,
        )

    async def known(self, decision_id: str) -> Decision | None:
        """Return the decision with this id, or the only one whose id begins with it; None where there is none."""
        try:
            _, recorded = await self._one(decision_id)
            await join(self._queries.entries, [recorded])
        except (DecisionNotFoundError, ErasedError, ViewsDifferError):
            return None
        return recorded.entry.decision if isinstance(recorded.entry, DecisionJournalEntry) else None

    async def find(
        self,
        *,
        decision_type: str | None = None,
        command_type: str | None = None,
        is_exception: bool | None = None,
        actor_type: str | None = None,
        actor_key: str | None = None,
        policy: str | None = None,
        policy_version: str | None = None,
        run_id: str | None = None,
        origin: Literal["original", "replayed", "observed"] | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by_time: ByTime = "decided",
        limit: int = 50,
        after: int | None = None,
        with_body: bool = False,
    ) -> tuple[DecisionSummary, ...]:
        """Return the decisions that match all filters, newest first. Observed ones are included unless `origin` is set.

        With `with_body` each is a `DecisionWithBody`: the page has the full record of its decisions.

        `since` and `until` limit the time of the decisions (for observed ones as their source claims), or of their
        records. `policy_version` is a version id or a full hash; `until` itself is excluded; `after` is the position of
        the last one already seen.
        """
        matches, parameters = matching(
            {
                "decision_type": decision_type,
                "command_type": command_type,
                "is_exception": is_exception,
                "actor_type": actor_type,
                "actor_key": actor_key,
                "policy": policy,
                "policy_version": policy_version,
                "run_id": run_id,
                "origin": origin,
                "status": status,
                "since": since,
                "until": until,
                "after": after,
                "by_time": by_time,
            }
        )
        select = _FIND if command_type is None else _FIND_BY_COMMAND
        rows = await self._queries.fetch(f"{select}{matches}{_NEWEST}", {**parameters, "limit": limit}, names=_NAMES)
        found = [DecisionSummary.of(each.row) for each in await confirmed_decisions(self._queries, rows)]
        kept = tuple(each for each in found if within(each, since=since, until=until, status=status, by_time=by_time))
        return await self.with_bodies(kept) if with_body else kept

    async def with_bodies(self, found: Sequence[DecisionSummary]) -> tuple[DecisionWithBody, ...]:
        """Return decisions of a list with their full records."""
        entries = await self._queries.entries.at([each.position for each in found])
        await join(self._queries.entries, entries.values())
        bodies = {at: getattr(recorded.entry, "decision", None) for at, recorded in entries.items()}
        return tuple(DecisionWithBody(**dict(each), decision=bodies.get(each.position)) for each in found)

    async def chain(self, decision_id: str) -> DecisionChain:
        """Return what led to a decision, outermost first, and what followed from it, nearest first.

        A lineage of more than 200 generations, or 1,000 decisions, is cut there, and `cut` says so.
        """
        return await chain_of(self._queries, (await self._one(decision_id))[0])

    async def lineage(self, decision_id: str) -> DecisionLineage:
        """Return a decision among its replays: the original, its replays, their replays, in this order.

        It is the same from any of them. More than 200 generations up or down, or 1,000 members, are cut, as `cut` says.
        """
        return await lineage_of(self._queries, (await self._one(decision_id))[0])

    async def explain(self, decision_id: str) -> Explanation:
        """Return one decision, explained in the order in which a person asks about it."""
        trace = await self.get(decision_id)
        return explain(trace, alike=self._alike(trace.decision))

    async def _one(self, decision_id: str) -> tuple[Confirmed, Recorded]:
        rows = await self._queries.fetch(_BY_PREFIX, prefix_range(decision_id), names=_NAMES)
        found = [row for row in rows if row["decision_id"] == decision_id] or rows
        if len(found) == 1:
            return await confirmed_one(self._queries, found[0])
        several = ", ".join(row["decision_id"] for row in found)
        raise DecisionNotFoundError(
            f"decision [{decision_id!r:.80}] is {f'ambiguous [{several}, …]' if found else 'not known'}; "
            "expected [the id of one decision, or an unambiguous beginning of it]: see `loom decisions`"
        )

    async def _run(self, run_id: str | None) -> Run | None:
        if run_id is None:
            return None
        try:
            run = await self._runs.get(run_id)
        except RunNotFoundError:
            return None
        return run if run.run_id == run_id else None

    async def _divergence(self, journal: str, command_id: str | None) -> str | None:
        rows = await self._queries.fetch(_DIVERGED, (journal, command_id), names=_NAMES, consistent=False)
        return next((row["said"] for row in await self._queries.confirmed(rows, _CONFIRM_DIVERGENCES)), None)

    async def _precedents(self, references: Sequence[PrecedentReference]) -> tuple[PrecedentSeen, ...]:
        ids = json.dumps([reference.decision_id for reference in references])
        rows = await self._queries.fetch(_AMONG, (ids,), names=_NAMES, consistent=False) if references else ()
        confirmed = await confirmed_decisions(self._queries, rows)
        known = {each.row["decision_id"]: DecisionSummary.of(each.row) for each in confirmed}
        return tuple(
            PrecedentSeen(decision_id=each.decision_id, relation=each.relation, decision=known.get(each.decision_id))
            for each in references
        )

    async def _effects(self, turn: tuple[str, str], *, decided: int) -> tuple[tuple[Effect, ...], int]:
        """Return the effects of a turn from its entries, and the number of effects that are left out."""
        rows = await self._queries.fetch(_EFFECTS, (*turn, _RELATED), names=("effects",))
        confirmed = await self._queries.confirmed(rows, _CONFIRM_EFFECTS)
        left_out = rows[0]["number"] - len(rows) if rows else 0
        return tuple(Effect.of(row, decided=decided) for row in confirmed), left_out

    async def _model_calls(self, turn: tuple[str, str], decided: int) -> tuple[ModelCall, ...]:
        return tuple(each for each in await self._costs.of_turn(*turn) if each.position < decided)

    async def _enrichments(self, decision_id: str) -> tuple[Enrichment, ...]:
        rows = await self._queries.fetch(_ENRICHMENTS, (decision_id,), names=("enrichments",))
        return tuple(Enrichment.of(row) for row in await self._queries.confirmed(rows, _CONFIRM_ENRICHMENTS))

    async def _outcomes(self, decision_id: str) -> tuple[OutcomeObserved, ...]:
        rows = await self._queries.fetch(_OUTCOMES, (decision_id,), names=_NAMES, consistent=False)
        return tuple(OutcomeObserved.of(row) for row in await self._queries.confirmed(rows, CONFIRM_OUTCOMES))

    async def _ids(self, statement: str, decision_id: str) -> tuple[str, ...]:
        rows = await self._queries.fetch(statement, (decision_id, _RELATED), names=_NAMES, consistent=False)
        return tuple(each.row["decision_id"] for each in await confirmed_decisions(self._queries, rows))


def _observed(entry: DecisionObservedEntry) -> dict[str, Any]:
    """Return where an observed decision was read, and who made it according to its source."""
    who = {"decided_identity_source": entry.identity_source, "decided_via": entry.via}
    return {"source": entry.source, "decided_by": entry.decided_by, **who}
