"""What the tools do, apart from the protocol: each reads one workspace, and returns plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import JsonValue

from loom.decisions import Approval, ApprovalChains, Decision, DecisionSummary, Traces, explain
from loom.decisions.entries import PrecedentFound
from loom.errors import AdmissionError, OutOfRangeError
from loom.journal.store import JournalReader
from loom.mcp.access import check_form, reading_key
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.precedents import Precedents

__all__ = ["MOST", "Opened", "Opens", "Tools"]

MOST = 50
"""The most decisions or requests in one answer."""

Row = dict[str, JsonValue]


@dataclass(frozen=True)
class Opened:
    """One workspace as the tools read it: nothing here can write."""

    reader: JournalReader
    traces: Traces
    approvals: ApprovalChains
    precedents: Precedents
    policies: PolicyRegistry
    """With the code at hand, so that rules in Python can be asked too."""
    alike: Callable[[Decision], Mapping[str, str]]


Opens = Callable[[], AbstractAsyncContextManager[Opened]]


class Tools:
    """The tools of one workspace. Each call reads the journal as it is then, and checks the key again.

    `explorer` is where people answer requests, such as `http://127.0.0.1:8765`; None where no page is served.
    """

    def __init__(self, opens: Opens, *, workspace: str, explorer: str | None = None) -> None:
        self._opens = opens
        self.workspace = workspace
        self._explorer = None if explorer is None else explorer.rstrip("/")

    async def check(self, key: str | None) -> None:
        """Raise `KeyRefusedError` unless a key may ask. For what has not the form of one nothing is opened."""
        check_form(key)
        async with self._opens() as opened:
            await reading_key(opened.reader, key)

    async def list_decisions(
        self,
        key: str | None,
        *,
        policy: str | None = None,
        decision_type: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 20,
        after: int | None = None,
    ) -> Row:
        """Return decisions that match, newest first; `after` is the `position` of the last one already seen."""
        _check(limit)
        actor_type, slash, actor_key = (actor or "").partition("/")
        async with self._opens() as opened:
            await reading_key(opened.reader, key)
            found = await opened.traces.find(
                policy=policy,
                decision_type=decision_type,
                actor_type=actor_type or None,
                actor_key=actor_key if slash else None,
                since=since,
                until=until,
                limit=limit,
                after=after,
            )
        return {"decisions": [_decision(each) for each in found], "more": len(found) == limit}

    async def why(self, key: str | None, *, decision_id: str) -> Row:
        """Return one decision explained, question by question."""
        async with self._opens() as opened:
            await reading_key(opened.reader, key)
            trace = await opened.traces.get(decision_id)
            told = explain(trace, alike=opened.alike(trace.decision))
        return {**_decision(trace), "explanation": told.model_dump(mode="json")}

    async def find_precedents(
        self,
        key: str | None,
        *,
        decision_id: str | None = None,
        facts: Mapping[str, JsonValue] | None = None,
        words: str | None = None,
        limit: int = 5,
    ) -> Row:
        """Return earlier decisions like one decision, with these facts, or with these words in their rationale."""
        _check(limit)
        if (decision_id is None) == (facts is None and words is None):
            raise AdmissionError("expected a decision_id, or facts or words to search for: give one of the two")
        async with self._opens() as opened:
            await reading_key(opened.reader, key)
            if decision_id is None:
                found = await opened.precedents.find(facets=facts, text=words, limit=limit)
                return {"precedents": [_precedent(each) for each in found], "class": None}
            trace = await opened.traces.get(decision_id)
            alike = trace.decision.precedent_class
            if alike is None:
                return {"precedents": [], "class": None, "note": "this decision has no class of like cases"}
            found = await opened.precedents.find(situation=alike.situation, limit=limit, before=trace.position)
        return {"precedents": [_precedent(each) for each in found], "class": alike.situation}

    async def what_would_policy_say(self, key: str | None, *, policy: str, facts: Mapping[str, JsonValue]) -> Row:
        """Return what a policy would say of facts. Nothing is decided, and nothing is written."""
        async with self._opens() as opened:
            await reading_key(opened.reader, key)
            version = _version(opened.policies, policy)
            said = opened.policies.runnable(version).evaluate_json(dict(facts))
        return {
            "policy": version.name,
            "version": version.version,
            "evaluation": said.model_dump(mode="json"),
            "note": "what the rule says; nothing was decided or recorded",
        }

    async def pending_approvals(self, key: str | None, *, limit: int = 20) -> Row:
        """Return the requests that wait for a person."""
        _check(limit)
        async with self._opens() as opened:
            await reading_key(opened.reader, key)
            found = await opened.approvals.pending(limit=limit)
        return {"approvals": [_approval(each) for each in found]}

    async def request_to_answer(self, key: str | None, *, approval_id: str) -> tuple[Row, str | None]:
        """Return a request, and the page on which a person answers it; None for a page where it needs no answer."""
        async with self._opens() as opened:
            await reading_key(opened.reader, key)
            approval = await opened.approvals.get(approval_id)
        page = None
        if approval.pending and self._explorer is not None:
            page = f"{self._explorer}/inbox/{quote(approval.approval_id, safe='')}"
        return _approval(approval), page


def _check(limit: int) -> None:
    if not 1 <= limit <= MOST:
        raise OutOfRangeError(f"limit is [{limit}]; expected [1 to {MOST}]: ask for fewer, and go on after the last")


def _version(registry: PolicyRegistry, policy: str) -> PolicyVersion:
    """Return the version that a name or an id means: of a name the adopted one, else the newest."""
    if policy in registry.names():
        return registry.adopted(policy) or registry.latest(policy)
    return registry.resolve(policy)


def _decision(each: DecisionSummary) -> Row:
    kept: dict[str, Any] = DecisionSummary.model_dump(each, mode="json")
    names = ("decision_id", "position", "journal", "decision_type", "policy_name", "policy_version", "rule", "effect")
    more = ("decided_at", "verdict", "is_exception", "status", "origin", "rationale", "outcome")
    return {name: kept[name] for name in (*names, *more)}


def _precedent(each: PrecedentFound) -> Row:
    found: Row = each.model_dump(mode="json")
    return found


def _approval(each: Approval) -> Row:
    return {
        "approval_id": each.approval_id,
        "journal": each.journal,
        "status": each.status,
        "approver": each.approver,
        "reason": each.reason,
        "requested_at": each.requested_at.isoformat(),
        "deadline": None if each.deadline is None else each.deadline.isoformat(),
        "answered_by": None if each.answerer is None else str(each.answerer),
        "comment": each.comment,
    }
