"""The audit of the gate as a projection: what happened, under the names that its auditors know, in order."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from loom.decisions import DecisionJournalEntry
from loom.decisions.entries import RunEndedEntry, RunStartedEntry
from loom.gate.agents import register
from loom.gate.entries import (
    ContextCompiledEntry,
    ContractRegisteredEntry,
    CycleFailedEntry,
    EscalatedEntry,
    EscalationAnsweredEntry,
    ExecutedEntry,
    HandshakeEntry,
    ProposalReceivedEntry,
    ValidatedEntry,
)
from loom.gate.state import is_reasoned_rejection
from loom.journal.entry import Entry, Recorded
from loom.journal.kinds import CommandReceivedEntry
from loom.monitors import FindingEntry, MonitorTickEntry
from loom.projections import Confirmation
from loom.projections.sql import script
from loom.standings import StandingChangedEntry

__all__ = ["CONFIRM_EVENTS", "GateProjection"]

_TURN = "INSERT INTO gate_turns VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_TURN_OF = "SELECT run_id, correlation_id, causation_id FROM gate_turns WHERE journal = ? AND command_id = ?"
_EVENT = "INSERT INTO decision_audit_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STARTED = "SELECT 1 FROM decision_audit_events WHERE simulation_id = ? AND event = 'SIMULATION_START' LIMIT 1"
_REJECTED = "INSERT INTO gate_rejections VALUES (?, ?) ON CONFLICT DO NOTHING"
_EXECUTED = "INSERT INTO gate_executions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_LONGEST, _MOST = 200, 20
_VERDICT = "gate_verdict"


_OWN = (
    ContextCompiledEntry,
    ContractRegisteredEntry,
    CycleFailedEntry,
    EscalatedEntry,
    EscalationAnsweredEntry,
    ExecutedEntry,
    HandshakeEntry,
    ProposalReceivedEntry,
    ValidatedEntry,
)


class _Event(NamedTuple):
    name: str
    detail: dict[str, Any]
    severity: str = "INFO"
    flow_id: str | None = None
    root_id: str | None = None
    agent: str | None = None
    run_id: str | None = None
    about: Mapping[str, Any] = MappingProxyType({})


class GateProjection:
    """Keeps the audit, which rejections each flow had, and what was executed under which key."""

    name = "gate"
    version = 7
    kinds = frozenset(
        {
            "command_received",
            "decision",
            "run_started",
            "run_ended",
            "standing_changed",
            *(each.kind for each in _OWN),
            FindingEntry.kind,
            MonitorTickEntry.kind,
        }
    )
    schema = script("loom.gate", "views.sql")
    tables = (
        "decision_audit_events",
        "gate_turns",
        "gate_rejections",
        "gate_executions",
        "gate_contracts",
        "agent_registry",
    )

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind == CommandReceivedEntry.kind:
            if recorded.journal.startswith("gate/") and (said := recorded.plain) is not None:
                about = (said.get("run_id"), said["correlation_id"], said.get("causation_id"))
                view.execute(_TURN, (recorded.journal, recorded.command_id, *about))
            return
        if recorded.kind == DecisionJournalEntry.kind and not _is_verdict(recorded):
            return
        entry = recorded.entry
        if isinstance(entry, ContractRegisteredEntry | HandshakeEntry | StandingChangedEntry):
            register(entry, recorded, view)
        if isinstance(entry, ValidatedEntry) and is_reasoned_rejection(entry):
            view.execute(_REJECTED, (entry.flow_id, recorded.position))
        if isinstance(entry, ExecutedEntry):
            agent = recorded.journal.partition("/")[2]
            view.execute(_EXECUTED, (entry.idempotency_key, agent, entry.decision_id, recorded.position))
        event = _event_of(entry, recorded, view)
        if event is not None:
            _insert(event, recorded, view)


def _is_verdict(recorded: Recorded) -> bool:
    """Tell whether a decision is one of the gate, without reading all of it."""
    said = recorded.plain
    return said is not None and said["decision"]["decision_type"] == _VERDICT


CONFIRM_EVENTS = Confirmation(
    GateProjection(),
    "decision_audit_events",
    key=("id",),
    rests_on=lambda row: (row["id"], row["started_at"]),
    commands=True,
)
"""How rows of the audit are compared with entries: `started_at` is the position at which the run of an end began."""


def _insert(event: _Event, recorded: Recorded, view: sqlite3.Connection) -> None:
    turn = view.execute(_TURN_OF, (recorded.journal, recorded.command_id)).fetchone() or (None, None, None)
    run_id = event.run_id or event.about.get("run_id") or turn[0]
    correlation = event.about.get("correlation_id") or turn[1] or recorded.command_id
    causation = event.about.get("causation_id") or turn[2] or recorded.command_id
    detail = {"simulation_id": run_id, **event.detail} if run_id is not None else event.detail
    view.execute(
        _EVENT,
        (
            recorded.position,
            recorded.recorded_at.isoformat(),
            event.name,
            event.severity,
            event.flow_id or event.about.get("flow_id"),
            event.root_id or event.about.get("root_id"),
            event.agent,
            run_id,
            correlation,
            causation,
            recorded.journal,
            recorded.sequence,
            json.dumps(detail),
        ),
    )


def _event_of(entry: Entry, recorded: Recorded, view: sqlite3.Connection) -> _Event | None:
    """Return what an entry is called in the audit."""
    agent = recorded.journal.partition("/")[2]
    detail: dict[str, Any]
    match entry:
        case RunStartedEntry() if entry.run_kind == "simulation":
            detail = {
                "parameters": entry.parameters,
                "seed": entry.seed,
                "by": entry.by,
                "identity_source": entry.identity_source,
                "via": entry.via,
            }
            return _Event("SIMULATION_START", detail, run_id=entry.run_id)
        case RunEndedEntry() if _is_simulation(entry, view):
            detail = {"status": entry.status, "stopped_reason": entry.reason, "result": entry.result}
            return _Event("SIMULATION_END", detail, run_id=entry.run_id)
        case ContextCompiledEntry():
            detail = {"context_hash": entry.context_hash, "session": _short(entry.context.get("session"))}
            return _of_flow("CONTEXT_COMPILED", entry, detail, agent)
        case CycleFailedEntry():
            detail = {"code": entry.code, "detail": entry.detail, "attempt": entry.attempt}
            return _of_flow("ROA_CYCLE_FAILED", entry, detail, agent, "WARNING")
        case ProposalReceivedEntry():
            detail = {
                "proposal": entry.proposal,
                "problem": entry.problem,
                "attempt": entry.attempt,
                "explanation": entry.explanation,
            }
            return _of_flow("POLICY_PROPOSAL", entry, detail, agent)
        case ValidatedEntry():
            detail = {"verdict": entry.verdict, "code": entry.code, "why": entry.why, "attempt": entry.attempt}
            return _of_flow("DIM_VALIDATION", entry, detail, agent, "INFO" if entry.verdict == "ACCEPT" else "WARNING")
        case EscalatedEntry():
            detail = {"approver": entry.approver, "code": entry.code, "decision_id": entry.decision_id}
            return _of_flow("ESCALATION_OPENED", entry, detail, agent, "WARNING")
        case EscalationAnsweredEntry():
            who = {"by": entry.by, "identity_source": entry.identity_source, "via": entry.via}
            detail = {"granted": entry.granted, **who, "comment": entry.comment}
            return _of_flow("ESCALATION_ANSWERED", entry, detail, agent)
        case ExecutedEntry():
            detail = {**entry.params, "idempotency_key": entry.idempotency_key, "result": entry.result}
            return _of_flow(f"{entry.policy_kind.partition('_')[0].upper()}_EXECUTED", entry, detail, agent)
        case DecisionJournalEntry() if entry.decision.decision_type == _VERDICT:
            decision = entry.decision
            flow, root = (str(decision.context.get(name)) for name in ("flow_id", "root_id"))
            detail = {**decision.outcome, "decision_id": decision.decision_id, "rationale": decision.rationale}
            return _Event("AGENT_DECISION", detail, flow_id=flow, root_id=root, agent=agent)
        case MonitorTickEntry():
            detail = {"monitor": entry.monitor, **entry.facts, "rule": entry.rule}
            return _Event("MONITOR_TICK", detail, agent=entry.subject, about=entry.about)
        case FindingEntry() if entry.intervention == "suspend":
            detail = {"monitor": entry.monitor, "why": entry.why, "decision_id": entry.decision_id}
            return _Event("AGENT_SUSPENDED", detail, "CRITICAL", agent=entry.subject, about=entry.about)
        case StandingChangedEntry() if entry.standing != "SUSPENDED" or entry.trigger == "person":
            name = {"ACTIVE": "AGENT_REINSTATED", "SUSPENDED": "AGENT_SUSPENDED", "RETIRED": "AGENT_RETIRED"}
            source, via = entry.identity_source, entry.via
            detail = {"by": entry.by, "identity_source": source, "via": via, "reason": entry.reason}
            return _Event(name[entry.standing], detail, "WARNING", agent=entry.subject)
        case HandshakeEntry():
            detail = {"contract": entry.contract_id, "requirement": entry.requirement, "code": entry.code}
            severity = "INFO" if entry.code == "HANDSHAKE_OK" else "WARNING"
            return _Event("AGENT_HANDSHAKE", detail, severity, agent=entry.agent)
    return None


def _short(session: Any) -> dict[str, Any]:
    """Return what of a session can be read in a row: its first plain values that are not long."""
    plain = session.items() if isinstance(session, dict) else ()
    return dict(
        itertools.islice(
            (
                (name, value)
                for name, value in plain
                if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST)
            ),
            _MOST,
        )
    )


def _is_simulation(entry: RunEndedEntry, view: sqlite3.Connection) -> bool:
    return view.execute(_STARTED, (entry.run_id,)).fetchone() is not None


def _of_flow(name: str, entry: Any, detail: dict[str, Any], agent: str, severity: str = "INFO") -> _Event:
    return _Event(name, detail, severity, flow_id=entry.flow_id, root_id=entry.root_id, agent=agent)
