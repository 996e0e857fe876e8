"""Real journals for the tests of views: entries as a discount agent would write them, in a real store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from loom.decisions import (
    ApprovalAnsweredEntry,
    ApprovalRequestedEntry,
    ContextGatheredEntry,
    Decision,
    DecisionInput,
    DecisionJournalEntry,
    EvaluatedEntry,
    PolicyReference,
    PrecedentReferencedEntry,
)
from loom.identity import derived_id
from loom.journal import Append, CommandReceivedEntry, Entry, Receipt, Step, TurnCompletedEntry, draft
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.policies.evaluation import Evaluation, RuleMiss
from loom.precedents import Bin, EquivalenceRule

MOMENT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
RULE = EquivalenceRule("discount", attributes=("industry", Bin("percent", low=0, high=50)), outcome=("granted",))
SHOWN = "d" * 64


class SteppingClock:
    """A clock that goes on by one second each time it is asked."""

    def __init__(self) -> None:
        self.us = 1_770_000_000_000_000

    def now_us(self) -> int:
        self.us += 1_000_000
        return self.us


async def open_store(directory: Path, **options: Any) -> SqliteStore:
    return await SqliteStore.open(
        directory / "journal.db",
        clock=SteppingClock(),
        options=SqliteOptions(writer=WriterOptions(durability="process-crash-only", min_free_bytes=0), **options),
    )


async def write(store: SqliteStore, journal: str, *entries: Entry, command_id: str | None = None) -> Receipt:
    """Append entries of one turn, or of none."""
    head = await store.head(journal)
    drafts = [draft(entry, command_id=command_id) for entry in entries]
    return await store.append(Append(journal, head.sequence, drafts))


def command(by: str | None = "ana", command_type: str = "request_discount") -> CommandReceivedEntry:
    return CommandReceivedEntry(command_type=command_type, payload={"percent": 15}, by=by, correlation_id="c-1")


def evaluation(percent: int = 15) -> Evaluation:
    if percent <= 10:
        return Evaluation(effect="allow", rule="within_limit", why=f"percent {percent} is at most 10")
    return Evaluation(
        effect="require_approval",
        rule="over_limit",
        why=f"percent {percent} is more than 10",
        why_not=(RuleMiss(rule="within_limit", why=f"percent {percent} is not at most 10"),),
        tier="vp_sales",
        is_exception=True,
        exception_reason="over the limit of 10 percent",
    )


def decision(name: str, **changes: Any) -> Decision:
    """Return a decision whose id is derived from a name."""
    facts = changes.pop("facts", {"industry": "healthcare", "percent": 15, "deal": {"region": "emea"}})
    outcome = changes.pop("outcome", {"granted": True})
    said = evaluation(int(facts.get("percent", 0)))
    given: dict[str, Any] = {
        "decision_id": derived_id("test", name),
        "decision_type": "exception" if said.is_exception else "policy_application",
        "rationale": f"Three severe incidents outweigh five points for {name}.",
        "policy": PolicyReference(name="discount", version="policy_v1_9af01c22", hash="9af01c22" * 8, rule=said.rule),
        "facts": facts,
        "evaluation": said,
        "outcome": outcome,
        "is_exception": said.is_exception,
        "exception_reason": said.exception_reason,
        "context": {"customer": name},
    }
    if "precedent_class" not in changes:
        given["precedent_class"] = RULE.classify(facts, outcome)
    return Decision(**{**given, **changes})


def request(name: str, **changes: Any) -> ApprovalRequestedEntry:
    """Return a request whose id is derived from a name."""
    given: dict[str, Any] = {
        "step": Step("request_approval", "vp_sales"),
        "approval_id": derived_id("approval", name),
        "approver": "vp_sales",
        "reason": "over policy, 2 precedents",
        "shown": SHOWN,
        "requested_by": "ana",
    }
    return ApprovalRequestedEntry(**{**given, **changes})


def answer(name: str, *, granted: bool = True, by: str | None = "maria", **changes: Any) -> ApprovalAnsweredEntry:
    return ApprovalAnsweredEntry(
        approval_id=derived_id("approval", name), granted=granted, by=by, shown=SHOWN, **changes
    )


def whole_turn(name: str, *, percent: int = 15, industry: str = "healthcare") -> Sequence[Entry]:
    """Return all entries of a turn that looks something up, asks for consent and decides."""
    looked_up = DecisionInput(
        system="crm",
        entity="account",
        query=name,
        result={"industry": industry, "arr_usd": 500_000},
        relevance="industry groups cases",
        retrieved_at=MOMENT,
        duration_ms=12.5,
    )
    facts: dict[str, JsonValue] = {"industry": industry, "percent": percent}
    said = evaluation(percent)
    made = decision(name, facts=facts, inputs=(looked_up,))
    consent: tuple[Entry, ...] = ()
    if said.needs_approval:
        consent = (request(name, facts=facts, evaluation=said), answer(name, comment="They are worth it."))
    return (
        command(),
        ContextGatheredEntry(
            step=Step("gather_context", f"crm account {name}"), **looked_up.model_dump(exclude={"source"})
        ),
        EvaluatedEntry(step=Step("evaluate", "e"), facts=facts, evaluation=said),
        PrecedentReferencedEntry(step=Step("find_precedents", "p"), situation=RULE.situation_key(facts)),
        *consent,
        DecisionJournalEntry(step=Step("record_decision", made.decision_type), decision=made),
        TurnCompletedEntry(reply={"granted": True}),
    )
