"""Read windows: which decisions are in one, by class, by situation and effect, and one by one."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from loom.decisions import TracesProjection
from loom.decisions.decision import Decision, PolicyReference
from loom.decisions.entries import DecisionJournalEntry, DecisionObservedEntry
from loom.decisions.holding import positions_of
from loom.drift.window import Window
from loom.errors import AdmissionError, RunNotFoundError
from loom.journal.entry import Recorded
from loom.policies.registry import PolicyRegistry
from loom.precedents import PrecedentsProjection
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.hits import hold_precedents
from loom.projections import Queries
from loom.projections.joining import join
from loom.projections.private import PrivateViews
from loom.projections.sql import prefix_range

__all__ = ["Case", "Selected", "Tally", "WindowReader"]

_CONDITIONS = {
    "run": "t.run_id = :{0}run",
    "policy_version": "t.policy_version = :{0}policy_version",
    "policy_hash": "t.policy_hash = :{0}policy_hash",
    "policy": "t.policy_name = :{0}policy",
    "actor_type": "t.actor_type = :{0}actor_type",
    "decision_type": "t.decision_type = :{0}decision_type",
    "since_us": "t.decided_at_us >= :{0}since_us",
    "until_us": "t.decided_at_us < :{0}until_us",
    "recorded_since_us": "t.recorded_at_us >= :{0}recorded_since_us",
    "recorded_until_us": "t.recorded_at_us < :{0}recorded_until_us",
}
_RECORDED = {"since_us": "recorded_since_us", "until_us": "recorded_until_us"}
# Only precedents are part of a pattern: no replays, and no decisions of failed turns.
_WINDOW = """
FROM trace_decisions AS t JOIN precedents AS p ON p.position = t.position
WHERE p.excluded IS NULL AND t.position <= :at
"""
_CLASSES = f"""
SELECT p.rule, p.precedent, p.situation, p.outcome, count(*) AS decisions, max(t.position) AS newest {_WINDOW}
"""  # what is neither grouped nor counted is that of the newest decision: so SQLite has it for a single max()
_BY_CLASS = " GROUP BY p.rule, p.precedent"
_ANSWERS = f"SELECT p.situation, t.effect, p.precedent, count(*) AS decisions {_WINDOW} AND p.rule IS NOT NULL"
_BY_ANSWER = " GROUP BY p.situation, t.effect, p.precedent"
_RATES = """
SELECT count(*) AS actors, sum(denied = 0) AS completed, sum(denied) AS denied, sum(granted) AS granted
FROM (SELECT sum(t.verdict = 'denied') AS denied, sum(t.verdict = 'granted') AS granted {} GROUP BY t.journal)
"""
_VERSIONS = f"SELECT t.policy_name, t.policy_version, t.policy_hash, count(*) AS decisions {_WINDOW}"
_BY_VERSION = " GROUP BY t.policy_name, t.policy_version, t.policy_hash ORDER BY min(t.position)"
_HOW_MANY = f"SELECT count(*) AS decisions {_WINDOW}"
_ACTORS = f"SELECT t.journal, p.precedent, count(*) AS decisions {_WINDOW} AND p.rule IS NOT NULL"
_BY_ACTOR = " GROUP BY t.journal, p.precedent"
_CASES = """
SELECT t.position, t.decision_id, t.journal, t.decision_type, t.policy_name, t.effect, p.rule, p.situation, p.precedent,
  p.outcome, t.decided_at_us, t.recorded_at_us
FROM trace_decisions AS t JOIN precedents AS p ON p.position = t.position
WHERE p.excluded IS NULL AND t.position <= :at AND t.position > :after
"""
_AT = "SELECT coalesce(max(position), 0) AS position FROM trace_decisions"
_IN_ORDER = " ORDER BY t.position LIMIT :limit"
_POSITIONS = f"SELECT t.position {_WINDOW}"
_RUNS = """
SELECT run_id FROM runs WHERE run_id >= :low AND run_id < :high
UNION SELECT run_id FROM trace_runs WHERE run_id >= :low AND run_id < :high ORDER BY run_id LIMIT 3
"""
_ONE = "SELECT decision_id FROM trace_decisions WHERE position = ?"
_NAMES = ("traces", "precedents")
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Selected:
    """A window with full ids of run and version, and the parameters of its statement."""

    window: Window
    values: dict[str, object]

    def conditions(self, prefix: str = "") -> str:
        """Return the conditions, with names for their values that begin so."""
        return "".join(f" AND {_CONDITIONS[name].format(prefix)}" for name in self.values)

    def bound(self, prefix: str = "") -> dict[str, object]:
        """Return the values by these names."""
        return {f"{prefix}{name}": value for name, value in self.values.items()}


@dataclass(slots=True)
class Tally:
    """The content of a window: the count of each class, its newest decision, and the decisions without a class.

    `classes`, `newest`, `situations` and `outcomes` are by precedent key; `rules` counts the decisions that each rule
    has classified; `versions` are the policy versions in order of appearance. `by_actor` has the classes of each
    journal, where decisions were read one by one.
    """

    classes: Counter[str] = field(default_factory=Counter)
    newest: dict[str, int] = field(default_factory=dict)
    situations: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    versions: list[tuple[PolicyReference, int]] = field(default_factory=list)
    by_actor: dict[str, Counter[str]] = field(default_factory=dict)
    unclassified: int = 0

    @property
    def decisions(self) -> int:
        """How many decisions are in a class."""
        return self.classes.total()

    def count(
        self, precedent: str, situation: str, *, outcome: dict[str, Any], newest: int, decisions: int = 1
    ) -> None:
        """Count decisions of a class; `outcome` is that of one of them."""
        self.classes[precedent] += decisions
        self.outcomes[precedent] = outcome
        self.newest[precedent] = max(newest, self.newest.get(precedent, 0))
        self.situations[precedent] = situation


@dataclass(frozen=True, slots=True)
class Case:
    """One decision of a window. Both keys are None where it has no class; `erased` says that its body is pruned.

    `occurrence` says how many of its type came before it in its turn; None where no step of a turn wrote it.
    """

    position: int
    policy: str
    effect: str | None
    situation: str | None
    precedent: str | None
    facts: dict[str, Any] | None
    erased: bool
    journal: str = ""
    decision_type: str = ""
    occurrence: int | None = None
    outcome: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    rule: str | None = None
    decided_at_us: int = 0
    recorded_at_us: int = 0


class WindowReader:
    """Reads the windows of one comparison, all at the same position, whatever is decided meanwhile."""

    def __init__(self, queries: Queries, policies: PolicyRegistry, *, at: int) -> None:
        self._queries = queries
        self._policies = policies
        self._held: PrivateViews | None = None
        self.at = at

    @classmethod
    @contextlib.asynccontextmanager
    async def now(cls, queries: Queries, policies: PolicyRegistry) -> AsyncIterator[WindowReader]:
        """Yield a reader of the present content of the views."""
        [row] = await queries.fetch(_AT, names=_NAMES)
        reader = cls(queries, policies, at=min(row["position"], await queries.position(_NAMES)))
        try:
            yield reader
        finally:
            if reader._held is not None:
                await reader._held.close()

    async def hold(self, *windows: Selected) -> None:
        """Read the decisions of windows from their entries: the views only say where they are."""
        views = PrivateViews(TracesProjection(), PrecedentsProjection())
        positions: set[int] = set()
        for each in windows:
            bound = {**each.bound(), "at": self.at}
            statement = f"{_POSITIONS}{each.conditions()}"
            positions.update(await positions_of(self._queries, statement, bound, names=_NAMES))
        await hold_precedents(self._queries, views, sorted(positions))
        self._held = views

    async def select(self, window: Window) -> Selected:
        """Return the window with full ids; raise `RunNotFoundError` or `PolicyNotRegisteredError` for unknown ones."""
        values: dict[str, object] = {
            _RECORDED.get(name, name) if window.by_time == "recorded" else name: value
            for name in ("policy", "actor_type", "decision_type", "since_us", "until_us")
            if (value := getattr(window, name)) is not None
        }
        if window.run is not None:
            values["run"] = await self._run(window.run)
        if window.policy_version is not None:
            version = self._policies.resolve(window.policy_version)
            values |= {"policy_version": version.version, "policy_hash": version.hash}
        known: dict[str, Any] = {name: values[name] for name in ("run", "policy_version") if name in values}
        return Selected(window.model_copy(update=known), values)

    async def both(self, first: Selected, second: Selected) -> int:
        """Return how many decisions are in both windows."""
        statement = f"{_HOW_MANY}{first.conditions('a_')}{second.conditions('b_')}"
        [row] = await self._fetch(statement, first.bound("a_") | second.bound("b_"))
        return int(row["decisions"])

    async def rates(self, selected: Selected) -> dict[str, tuple[int, int]]:
        """Return the share that completed and the share that was granted, each as (number, of how many).

        An actor has completed if none of its decisions was denied. A decision that was neither granted nor denied
        counts in neither share.
        """
        inner = f"{_WINDOW}{selected.conditions()} AND t.verdict IS NOT NULL"
        [row] = await self._fetch(_RATES.format(inner), selected.bound())
        granted, denied = row["granted"] or 0, row["denied"] or 0
        return {
            "completion rate": (row["completed"] or 0, row["actors"]),
            "grant rate": (granted, granted + denied),
        }

    async def by_actor(self, selected: Selected) -> dict[str, Counter[str]]:
        """Return by journal how often each class was decided in it."""
        found: dict[str, Counter[str]] = {}
        for row in await self._fetch(f"{_ACTORS}{selected.conditions()}{_BY_ACTOR}", selected.bound()):
            found.setdefault(row["journal"], Counter())[row["precedent"]] = row["decisions"]
        return found

    async def tally(self, selected: Selected) -> Tally:
        """Return the content of a window, by the classes that the decisions got when they were made."""
        tally = Tally()
        for row in await self._fetch(f"{_CLASSES}{selected.conditions()}{_BY_CLASS}", selected.bound()):
            if row["rule"] is None:
                tally.unclassified += row["decisions"]
                continue
            tally.count(
                row["precedent"],
                row["situation"],
                outcome=json.loads(row["outcome"]),
                newest=row["newest"],
                decisions=row["decisions"],
            )
            tally.rules[row["rule"]] += row["decisions"]
        return tally

    async def tally_under(self, selected: Selected, rule: EquivalenceRule) -> Tally:
        """Return the content of a window by the classes of one rule. Decisions of other rules are classified again."""
        tally = Tally()
        async for page in self.cases(selected, rule):
            for each in page:
                if each.precedent is None or each.situation is None:
                    tally.unclassified += 1
                    continue
                tally.count(each.precedent, each.situation, outcome=each.outcome, newest=each.position)
                tally.rules[rule.hash] += 1
                tally.by_actor.setdefault(each.journal, Counter())[each.precedent] += 1
        return tally

    async def versions(self, selected: Selected) -> list[tuple[PolicyReference, int]]:
        """Return the policy versions that decided, first seen first, and how often."""
        conditions = f"{selected.conditions()} AND t.policy_hash IS NOT NULL"
        rows = await self._fetch(f"{_VERSIONS}{conditions}{_BY_VERSION}", selected.bound())
        return [(PolicyReference(name=row[0], version=row[1], hash=row[2]), row["decisions"]) for row in rows]

    async def answers(self, selected: Selected) -> Counter[tuple[str, str | None, str]]:
        """Return the counts by situation, effect (None: nothing was evaluated) and class."""
        rows = await self._fetch(f"{_ANSWERS}{selected.conditions()}{_BY_ANSWER}", selected.bound())
        return Counter({(row["situation"], row["effect"], row["precedent"]): row["decisions"] for row in rows})

    async def cases(self, selected: Selected, rule: EquivalenceRule | None) -> AsyncIterator[Sequence[Case]]:
        """Yield the decisions of a window page by page, under their own class, or classified again under `rule`."""
        after = 0
        while True:
            bound = {**selected.bound(), "after": after, "limit": _PAGE}
            rows = await self._fetch(f"{_CASES}{selected.conditions()}{_IN_ORDER}", bound)
            found = await self._queries.entries.at([row["position"] for row in rows])
            yield [_case(row, found[row["position"]], rule) for row in rows]
            if len(rows) < _PAGE:
                return
            after = rows[-1]["position"]

    async def decision(self, position: int) -> tuple[str, Decision | None]:
        """Return the id of a decision, and the decision itself unless its body is gone."""
        [row] = await self._views.fetch(_ONE, (position,))
        recorded = (await self._queries.entries.at([position]))[position]
        await join(self._queries.entries, [recorded])
        entry = recorded.entry
        return row["decision_id"], entry.decision if isinstance(
            entry, DecisionJournalEntry | DecisionObservedEntry
        ) else None

    async def _fetch(self, statement: str, bound: dict[str, object]) -> list[sqlite3.Row]:
        return await self._views.fetch(statement, {**bound, "at": self.at})

    @property
    def _views(self) -> PrivateViews:
        assert self._held is not None  # noqa: S101 - `hold` was called for each window
        return self._held

    async def _run(self, run_id: str) -> str:
        low, high = prefix_range(run_id)
        rows = await self._queries.fetch(_RUNS, {"low": low, "high": high}, names=("runs", *_NAMES))
        found = [row["run_id"] for row in rows]
        if run_id in found or len(found) == 1:
            return run_id if run_id in found else str(found[0])
        several = ", ".join(found)
        raise RunNotFoundError(
            f"run [{run_id!r:.80}] is {f'ambiguous [{several}, …]' if found else 'not known'}; expected [the id of one "
            "run, or an unambiguous beginning of it]: see `loom runs`"
        )


def _case(row: sqlite3.Row, recorded: Recorded, rule: EquivalenceRule | None) -> Case:
    written = _written(recorded)
    facts, outcome = written.get("facts"), json.loads(row["outcome"])
    situation, precedent, by = row["situation"], row["precedent"], row["rule"]
    if rule is not None and row["rule"] != rule.hash:
        situation = precedent = by = None
        if facts is not None or not rule.attributes:
            with contextlib.suppress(AdmissionError):  # facts without what the rule looks at have no class of it
                again = rule.classify(facts or {}, outcome, context=written.get("context") or {})
                situation, precedent, by = again.situation, again.precedent, again.rule
    return Case(
        position=row["position"],
        policy=row["policy_name"],
        effect=row["effect"],
        situation=situation,
        precedent=precedent,
        facts=facts,
        erased=recorded.body is None,
        journal=row["journal"],
        decision_type=row["decision_type"],
        occurrence=written.get("occurrence"),
        outcome=outcome,
        context=written.get("context") or {},
        rule=by,
        decided_at_us=row["decided_at_us"],
        recorded_at_us=row["recorded_at_us"],
    )


def _written(recorded: Recorded) -> dict[str, Any]:
    """Return the parts of a decision that are needed; to read all of it takes several times as long."""
    if (plain := recorded.plain) is None:
        return {}
    step, decision = plain.get("step"), plain["decision"]
    return {
        "facts": decision.get("facts"),
        "context": decision.get("context"),
        "occurrence": step[2] if isinstance(step, list) and len(step) == 3 else None,
    }
