"""An actor runtime that remembers why.

Subclass `Actor`, decide with its verbs, open a `Loom` and ask. What was looked up, which precedents were seen, who
agreed, what was decided and under which policy version is in the actor's own append-only journal.

Names are fetched when they are first used, so that `loom --help` does not wait for what it does not need.
"""

from __future__ import annotations

import typing as _typing

if _typing.TYPE_CHECKING:
    from loom.actors import (
        Actor,
        ActorRef,
        Approver,
        Command,
        Message,
        Retry,
        Sources,
        TellReceipt,
        effect_key,
        exponential,
    )
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
        NeedsInformation,
        OutcomeObservedEntry,
        PrecedentReference,
        PrecedentReferencedEntry,
        Run,
    )
    from loom.drift import DriftReport, Window
    from loom.errors import LoomError
    from loom.extension import Extension
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
    from loom.runtime import Loom
    from loom.sealing import Dropped, Erased, Hashed, Masked, Sealed

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
    "DriftReport",
    "Dropped",
    "Entry",
    "EquivalenceRule",
    "Erased",
    "Evaluation",
    "Explanation",
    "Extension",
    "Facts",
    "Hashed",
    "JournalStore",
    "Loom",
    "LoomConfig",
    "LoomError",
    "Masked",
    "Message",
    "NeedsInformation",
    "OutcomeObservedEntry",
    "Params",
    "Policy",
    "PrecedentReference",
    "PrecedentReferencedEntry",
    "Projection",
    "Recorded",
    "Retry",
    "Run",
    "Sealed",
    "SetOf",
    "Sources",
    "TellReceipt",
    "UnknownEntry",
    "Window",
    "allow",
    "case",
    "deny",
    "effect_key",
    "exponential",
    "first_match",
    "indeterminate",
    "otherwise",
    "policy",
    "require_approval",
]

if not _typing.TYPE_CHECKING:
    _HOMES = {
        "loom.actors": (
            "Actor",
            "ActorRef",
            "Approver",
            "Command",
            "Message",
            "Retry",
            "Sources",
            "TellReceipt",
            "effect_key",
            "exponential",
        ),
        "loom.config": ("LoomConfig",),
        "loom.decisions": (
            "Alternative",
            "ApprovalGiven",
            "ContextGatheredEntry",
            "Decision",
            "DecisionInput",
            "DecisionJournalEntry",
            "DecisionTrace",
            "Explanation",
            "NeedsInformation",
            "OutcomeObservedEntry",
            "PrecedentReference",
            "PrecedentReferencedEntry",
            "Run",
        ),
        "loom.drift": (
            "DriftReport",
            "Window",
        ),
        "loom.errors": ("LoomError",),
        "loom.journal": (
            "Entry",
            "JournalStore",
            "Recorded",
            "UnknownEntry",
        ),
        "loom.policies": (
            "Evaluation",
            "Facts",
            "Params",
            "Policy",
            "allow",
            "case",
            "deny",
            "first_match",
            "indeterminate",
            "otherwise",
            "policy",
            "require_approval",
        ),
        "loom.precedents": (
            "Bin",
            "EquivalenceRule",
            "SetOf",
        ),
        "loom.projections": ("Projection",),
        "loom.extension": ("Extension",),
        "loom.runtime": ("Loom",),
        "loom.sealing": (
            "Dropped",
            "Erased",
            "Hashed",
            "Masked",
            "Sealed",
        ),
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name):
        """Fetch a name of the public face from the module that defines it."""
        from importlib import import_module

        if name not in _HOME_OF:
            raise AttributeError(f"module 'loom' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
