"""An actor runtime that remembers why.

Subclass `Actor`, decide with its verbs, open a `Loom` and ask. What was looked up, which precedents were seen, who
agreed, what was decided and under which policy version is in the actor's own append-only journal.
"""

from __future__ import annotations

from loom.actors import Actor, ActorRef, Approver, Command, Sources, Told
from loom.config import LoomConfig
from loom.decisions import (
    Alternative,
    ApprovalGiven,
    ContextGatheredEntry,
    Decision,
    DecisionInput,
    DecisionJournalEntry,
    DecisionTrace,
    Explanation,
    OutcomeObservedEntry,
    PrecedentReference,
    PrecedentReferencedEntry,
)
from loom.errors import LoomError
from loom.journal import Entry, JournalStore, Recorded, UnknownEntry
from loom.policies import (
    Evaluation,
    Facts,
    Params,
    Policy,
    allow,
    case,
    deny,
    first_match,
    indeterminate,
    otherwise,
    policy,
    require_approval,
)
from loom.precedents import Bin, EquivalenceRule, SetOf
from loom.projections import Projection
from loom.runtime import Extension, Loom

__all__ = [
    "Actor",
    "ActorRef",
    "Alternative",
    "ApprovalGiven",
    "Approver",
    "Bin",
    "Command",
    "ContextGatheredEntry",
    "Decision",
    "DecisionInput",
    "DecisionJournalEntry",
    "DecisionTrace",
    "Entry",
    "EquivalenceRule",
    "Evaluation",
    "Explanation",
    "Extension",
    "Facts",
    "JournalStore",
    "Loom",
    "LoomConfig",
    "LoomError",
    "OutcomeObservedEntry",
    "Params",
    "Policy",
    "PrecedentReference",
    "PrecedentReferencedEntry",
    "Projection",
    "Recorded",
    "SetOf",
    "Sources",
    "Told",
    "UnknownEntry",
    "allow",
    "case",
    "deny",
    "first_match",
    "indeterminate",
    "otherwise",
    "policy",
    "require_approval",
]
