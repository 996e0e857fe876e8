"""Testimony Record 0.2: what was believed on which evidence, what was done, who agreed, and a chain of digests.

A record is written in the order of the journal. `at` is when the decision was journaled, and never goes back; when
something was looked up or answered is in `happened_at`. What the format asks for and loom does not know is said so: a
name that nothing has checked has the source `x-loom-claimed`, and a decision without a rule the risk source
`x-loom-no-rule`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from pydantic import JsonValue

from loom.decisions import Approval, DecisionTrace
from loom.decisions.decision import DecisionInput
from loom.formats.plain import Json, compact_json, digest_of, moment
from loom.formats.reading import LeftOut
from loom.identity import Identity

__all__ = ["SPEC", "TestimonyRecord", "testimony_entries"]

SPEC = "testimony-record/0.2"
_CHAIN_EVERY = 200
_RISK = {"allow": "low", "require_approval": "high", "deny": "high", "indeterminate": "high"}
_SOURCES = {"api_key": "api-key", "oidc": "oidc"}
_KINDS = {"look_up": "api", "handed_in": "message", "gone": "derived"}


async def testimony_entries(
    traces: AsyncIterator[DecisionTrace], *, workspace: str, left_out: LeftOut
) -> AsyncIterator[Json]:
    """Yield the entries of a record, with a link of the chain at least every 200 entries, and at the end."""
    record = TestimonyRecord(workspace)
    async for trace in traces:
        if trace.verdict is None and trace.decision.evaluation is not None:
            left_out.add("its rule asks for an approval that it does not have, so it is neither permitted nor refused")
            continue
        for entry in record.entries_of(trace):
            yield entry
        if record.open_entries >= _CHAIN_EVERY:
            yield record.link()
    if record.open_entries:
        yield record.link()


class TestimonyRecord:
    """Makes the entries of one record: unique ids, times that do not go back, and the chain."""

    __test__ = False  # the name is the format's

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._at = ""
        self._covered: list[Json] = []
        self._links = 0
        self._began = False

    @property
    def open_entries(self) -> int:
        """How many entries no link covers yet."""
        return len(self._covered) - (1 if self._links else 0)

    def entries_of(self, trace: DecisionTrace) -> list[Json]:
        """Return the entries of one decision: evidence, beliefs, approvals, and the decision."""
        self._at = max(self._at, moment(trace.recorded_at))
        made: list[Json] = []
        if not self._began:
            self._began = True
            made.append(self._scope())
        evidence = [self._evidence(trace, number, each) for number, each in enumerate(trace.context, start=1)]
        beliefs = self._beliefs(trace)
        approvals = [self._approval(trace, each) for each in trace.approvals if _consented(each)]
        granted = next((each["id"] for each in reversed(approvals) if each["answer"] == "granted"), None)
        made += [*evidence, *beliefs, self._decision(trace, beliefs, granted), *approvals]
        self._covered += made
        return made

    def link(self) -> Json:
        """Return the entry that covers all since the link before it, and that link: a change anywhere shows."""
        self._links += 1
        entry = self._entry(
            "integrity",
            f"link-{self._links}",
            {
                "scheme": "hash-chain",
                "digest": f"sha256:{_digest(self._covered)}",
                "covers": [each["id"] for each in self._covered],
            },
        )
        self._covered = [entry]
        return entry

    def _scope(self) -> Json:
        return self._entry(
            "scope",
            "scope",
            {
                "acts": True,
                "declared_by": {"id": f"loom:{self._workspace}", "kind": "system"},
                "description": f"decisions in the journals of the workspace {self._workspace}",
            },
        )

    def _evidence(self, trace: DecisionTrace, number: int, each: DecisionInput) -> Json:
        fields: Json = {
            "kind": _KINDS[each.source],
            "source": f"{each.system}://{each.entity}?{each.query}",
            "digest": digest_of(each.model_dump(mode="json")),
            "loom_source": each.source,
        }
        if each.retrieved_at is not None:
            fields["happened_at"] = moment(each.retrieved_at)
        if each.failure is not None:
            fields["failed"] = each.failure.type_name
        return self._entry("evidence", f"{trace.decision_id}-evidence-{number}", fields)

    def _beliefs(self, trace: DecisionTrace) -> list[Json]:
        """Return the facts as beliefs; one cites the look-ups whose result has the same value under the same name."""
        subject = {"id": trace.journal, "kind": "agent"}
        return [
            self._entry(
                "belief",
                f"{trace.decision_id}-fact-{number}",
                {
                    "subject": trace.journal,
                    "proposition": f"{name} = {compact_json(value)}",
                    "polarity": "affirm",
                    "state": "unknown" if value is None else "believed_true",
                    "asserted_by": dict(subject),
                    "evidence": [
                        f"{trace.decision_id}-evidence-{at}"
                        for at, each in enumerate(trace.context, start=1)
                        if isinstance(each.result, dict) and name in each.result and each.result[name] == value
                    ],
                },
            )
            for number, (name, value) in enumerate((trace.decision.facts or {}).items(), start=1)
        ]

    def _decision(self, trace: DecisionTrace, beliefs: list[Json], approval: JsonValue) -> Json:
        evaluation = trace.decision.evaluation
        permitted = trace.verdict != "denied"
        executed, outcome = _done(trace, permitted=permitted)
        proposer: Json = {"id": trace.journal, "kind": "agent"}
        if trace.origin == "observed":
            proposer = {"id": trace.decided_by or trace.journal, "kind": "human" if trace.decided_by else "system"}
        fields: Json = {
            "action_type": trace.decision_type,
            "risk_class": _RISK[evaluation.effect] if evaluation else "medium",
            "risk_source": "policy" if evaluation else "x-loom-no-rule",
            "proposed_by": proposer,
            "verdict": "permitted" if permitted else "refused",
            "executed": executed,
            "outcome": outcome,
            "reason": trace.rationale,
            "inputs": [each["id"] for each in beliefs],
            "happened_at": moment(trace.decided_at),
            "loom_entry_hash": f"sha256:{trace.entry_hash}",
        }
        if trace.decision.policy is not None:
            policy = trace.decision.policy
            fields["policy"] = {"name": policy.name, "version": policy.version, "hash": f"sha256:{policy.hash}"}
        if approval is not None:
            fields["approval"] = approval
        return self._entry("decision", trace.decision_id, fields)

    def _approval(self, trace: DecisionTrace, approval: Approval) -> Json:
        who = approval.answerer
        assert who is not None  # noqa: S101 - see `_consented`
        fields: Json = {
            "decision": trace.decision_id,
            "approver": {"id": who.name, "kind": "human"},
            "identity_source": _source(who),
            "answer": approval.status,
            "asked": approval.approver,
        }
        if approval.answered_at is not None:
            fields["happened_at"] = moment(approval.answered_at)
        if approval.comment is not None:
            fields["comment"] = approval.comment
        return self._entry("approval", f"{trace.decision_id}-approval-{approval.approval_id}", fields)

    def _entry(self, kind: str, name: str, fields: Json) -> Json:
        return {"spec": SPEC, "type": kind, "id": name, "at": self._at, **fields}


def _consented(approval: Approval) -> bool:
    """Tell whether a person answered; what a deadline answered is no approval of the format."""
    return approval.status in ("granted", "denied") and approval.answered_by is not None


def _done(trace: DecisionTrace, *, permitted: bool) -> tuple[bool, str]:
    """Return whether loom saw it run, and what became of it.

    An action without effects outside is done when its turn has ended with a reply.
    """
    if not permitted:
        return False, "not_attempted"
    if trace.origin == "observed":
        return False, "unconfirmed"
    after = [each for each in trace.effects if not each.before]
    if any(each.status == "unknown" for each in after):
        return False, "unconfirmed"
    if any(each.status == "performed" for each in after):
        return True, "confirmed"
    if after or trace.status in ("failed", "abandoned"):
        return False, "not_attempted" if not after else "unconfirmed"
    return (True, "confirmed") if trace.status == "settled" else (False, "unconfirmed")


def _source(who: Identity) -> str:
    kind = (who.source or "not-recorded").partition(":")[0]
    return _SOURCES.get(kind, f"x-loom-{kind.replace('_', '-')}")


def _digest(entries: list[Json]) -> str:
    lines = [json.dumps(_plain(each), sort_keys=True, separators=(",", ":"), ensure_ascii=False) for each in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return a value without what the digest leaves out: names that begin with a low line."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if not name.startswith("_")}
    return [_plain(each) for each in value] if isinstance(value, list) else value
