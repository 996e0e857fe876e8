"""The registry of agents as a table: the contract of each one's handshake, and its standing."""

from __future__ import annotations

import json
import sqlite3

from loom.gate.entries import ContractRegisteredEntry, HandshakeEntry
from loom.journal.entry import Recorded
from loom.standings import StandingChangedEntry

__all__ = ["register"]

_CONTRACT = "INSERT INTO gate_contracts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_SHAKEN = """
INSERT INTO agent_registry (
  agent_id, contract_id, contract_version, contract_hash, role, allowed_policy_types, limits, floors, handshake_at)
SELECT :agent, contract_id, version, :hash, role, allowed_policy_types, limits, floors, :at
FROM gate_contracts WHERE contract_id = :contract AND version = :version
ON CONFLICT DO UPDATE SET contract_id = excluded.contract_id, contract_version = excluded.contract_version,
  contract_hash = excluded.contract_hash, role = excluded.role, allowed_policy_types = excluded.allowed_policy_types,
  limits = excluded.limits, floors = excluded.floors, handshake_at = excluded.handshake_at
"""
_STANDING = """
INSERT INTO agent_registry (agent_id, status, suspension_reason, status_by, status_since) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET status = excluded.status, suspension_reason = excluded.suspension_reason,
  status_by = excluded.status_by, status_since = excluded.status_since
"""


def register(
    entry: ContractRegisteredEntry | HandshakeEntry | StandingChangedEntry, recorded: Recorded, view: sqlite3.Connection
) -> None:
    """Fold a contract, a handshake or a standing into the tables; a handshake never changes a standing."""
    at = recorded.recorded_at.isoformat()
    if isinstance(entry, ContractRegisteredEntry):
        contract = entry.contract
        view.execute(
            _CONTRACT,
            (
                contract.contract_id,
                contract.version,
                contract.role,
                json.dumps(contract.allowed_policy_types),
                json.dumps(contract.limits),
                json.dumps(contract.floors),
                contract.minimum_confidence,
                contract.escalate_to,
                entry.by,
            ),
        )
    elif isinstance(entry, StandingChangedEntry):
        reason = entry.reason if entry.standing == "SUSPENDED" else None
        view.execute(_STANDING, (entry.subject, entry.standing, reason, entry.by, at))
    elif entry.code == "HANDSHAKE_OK":
        shaken = {"agent": entry.agent, "contract": entry.contract_id, "version": entry.version}
        view.execute(_SHAKEN, {**shaken, "hash": entry.contract_hash, "at": at})
