"""Histories that hypothesis makes up: entries of several turns in several journals, likely or not, in any order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st

from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.decisions import (
    ApprovalEscalatedEntry,
    DecisionJournalEntry,
    EvaluatedEntry,
    OutcomeObservedEntry,
    PrecedentReference,
    RunEndedEntry,
    RunStartedEntry,
)
from loom.identity import derived_id
from loom.journal import (
    Entry,
    Step,
    TurnAbandonedEntry,
    TurnCompletedEntry,
    TurnContinuedEntry,
    TurnFailedEntry,
    TurnResumedEntry,
    TurnRetriedEntry,
)
from loom.policies.entries import PolicyAdoptedEntry
from loom.precedents import EquivalenceRule, FromContext
from loom.precedents.entries import EquivalenceRuleRegisteredEntry
from tests.projections.journals import MOMENT, RULE, answer, command, decision, evaluation, request

Happening = tuple[str, str | None, Entry]
"""A journal, a command id, and what was recorded."""

_RULES = (
    RULE,
    EquivalenceRule("discount", attributes=("percent", "deal.region"), outcome=("granted",)),
    EquivalenceRule("industry", attributes=("industry", FromContext("customer")), outcome=("granted",)),
)


def registered(rule: EquivalenceRule) -> EquivalenceRuleRegisteredEntry:
    """Return the entry that makes a rule known."""
    version = f"rule_v1_{rule.hash[:8]}"
    return EquivalenceRuleRegisteredEntry(
        name=rule.name, number=1, version=version, hash=rule.hash, document=rule.document(), by="ana"
    )


_MAKERS: tuple[Callable[[str, int], Entry], ...] = (
    lambda name, n: command(by=f"person-{n % 2}"),
    lambda name, n: EvaluatedEntry(step=Step("evaluate", name), facts={"percent": n}, evaluation=evaluation(n)),
    lambda name, n: request(f"{name}-{n % 3}", deadline=MOMENT + timedelta(hours=n), escalate_to=("cfo", "ceo")),
    lambda name, n: answer(f"{name}-{n % 3}", granted=n % 2 == 0, comment="seen"),
    lambda name, n: ApprovalEscalatedEntry(
        approval_id=derived_id("approval", f"{name}-{n % 3}"),
        approver=("cfo", "ceo")[n % 2],
        passed_over="vp_sales",
        deadline=MOMENT + timedelta(hours=n + 1),
    ),
    lambda name, n: DecisionJournalEntry(
        decision=decision(
            f"{name}-{n}",
            facts={"industry": ("healthcare", "retail")[n % 2], "percent": 5 * n},
            parent_decision_id=derived_id("test", f"{name}-{n - 1}") if n % 3 else None,
            precedents=(
                PrecedentReference(
                    decision_id=derived_id("test", f"{name}-0"), relation=("followed", "overruled")[n % 5 == 0]
                ),
            ),
            reasoning=("first", f"then {n}"),
            origin="replayed" if n == 7 else "original",
            run_id=f"run-{n % 3}" if n % 4 else None,
        )
    ),
    lambda name, n: OutcomeObservedEntry(
        decision_id=derived_id("test", f"{name}-{n}"),
        correct=(True, False, None)[n % 3],
        actual={"kept": n},
        observed_by="ana",
        observed_at=MOMENT,
    ),
    lambda name, n: EffectIntendedEntry(
        step=Step("perform", f"key-{n % 2}"), action="send", key=f"key-{n % 2}", repeatable=n % 3 == 0
    ),
    lambda name, n: EffectPerformedEntry(
        step=Step("perform", f"key-{n % 2}"), action="send", key=f"key-{n % 2}", result=n, duration_ms=1.0
    ),
    lambda name, n: RunStartedEntry(
        run_id=f"run-{n % 3}", run_kind=("live", "simulation", "replay")[n % 3], by="ana", parameters={"n": n}, seed=n
    ),
    lambda name, n: RunEndedEntry(run_id=f"run-{n % 3}", status=("completed", "failed")[n % 2], by="ana", result=n),
    lambda name, n: PolicyAdoptedEntry(
        name="discount", version="policy_v1_9af01c22", hash=("9af01c22" * 8, "f" * 64)[n % 2], by="ana"
    ),
    lambda name, n: registered(_RULES[n % 3]),
    lambda name, n: TurnResumedEntry(attempt=1 + n % 4),
    lambda name, n: TurnContinuedEntry(),
    lambda name, n: TurnRetriedEntry(by="ana"),
    lambda name, n: TurnCompletedEntry(reply={"n": n}),
    lambda name, n: TurnFailedEntry(type_name="ValueError", message=f"number {n}"),
    lambda name, n: TurnAbandonedEntry(by="ana", reason="enough"),
)


@st.composite
def happenings(draw: st.DrawFn) -> Happening:
    name = draw(st.sampled_from(("acme", "beta")))
    turn = draw(st.sampled_from((None, "turn-1", "turn-2")))
    made = draw(st.sampled_from(_MAKERS))(f"{name}-{turn}", draw(st.integers(0, 9)))
    if made.kind == "command_received" and turn is None:
        turn = "turn-3"
    return f"discount-agent/{name}", turn, made


def received_once(happenings: list[Happening]) -> list[Happening]:
    """Leave out commands that a journal would refuse, as it has received them before."""
    seen: set[tuple[str, str | None]] = set()
    kept = []
    for journal, turn, entry in happenings:
        if entry.kind == "command_received":
            if (journal, turn) in seen:
                continue
            seen.add((journal, turn))
        kept.append((journal, turn, entry))
    return kept


def begun(happenings: list[Happening]) -> list[Happening]:
    """Let most turns be received before anything else happens to them, as it is in life."""
    received = [(f"discount-agent/{name}", f"turn-{turn}", command()) for name in ("acme", "beta") for turn in (1, 2)]
    return received_once([*received[: len(happenings) % 5], *happenings])


histories = st.lists(happenings(), min_size=8, max_size=40).map(begun)
