"""The gate: what agents propose is validated, executed once and watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loom.lazy import lazily

if TYPE_CHECKING:
    from loom.gate.actor import GateActor
    from loom.gate.commands import Answer, CompiledContext, Executor
    from loom.gate.contract import ResponsibilityContract
    from loom.gate.contracts import Contracts, Handshake, contract_of, load_contract
    from loom.gate.entries import (
        CycleFailedEntry,
        EscalatedEntry,
        EscalationAnsweredEntry,
        ExecutedEntry,
        ValidatedEntry,
    )
    from loom.gate.gate import Flow, Gate
    from loom.gate.monitor import profitability_monitor
    from loom.gate.proposal import PolicyProposal, idempotency_key
    from loom.gate.roa import CycleFailure, Explanation, Model, Proposed, parse_json_block, self_check
    from loom.gate.validation import Complaint, GateFacts, GateParams, Validator, gate_validation
    from loom.gate.wing import extension

__all__ = [
    "Answer",
    "CompiledContext",
    "Complaint",
    "Contracts",
    "CycleFailedEntry",
    "CycleFailure",
    "EscalatedEntry",
    "EscalationAnsweredEntry",
    "ExecutedEntry",
    "Executor",
    "Explanation",
    "Flow",
    "Gate",
    "GateActor",
    "GateFacts",
    "GateParams",
    "Handshake",
    "Model",
    "PolicyProposal",
    "Proposed",
    "ResponsibilityContract",
    "ValidatedEntry",
    "Validator",
    "contract_of",
    "extension",
    "gate_validation",
    "idempotency_key",
    "load_contract",
    "parse_json_block",
    "profitability_monitor",
    "self_check",
]

if not TYPE_CHECKING:
    __getattr__ = lazily(
        __name__,
        ".actor .commands .contract .contracts .entries .gate .monitor .proposal .roa .validation .wing",
    )
