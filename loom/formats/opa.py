"""OPA decision logs: each decision as one event of Open Policy Agent's decision log, one on a line.

`path` is the policy, `input` the facts, `result` what the rule said and what was done. `result.allow` is true if the
rule allows it without consent; what people answered is in `result.verdict`.
"""

from __future__ import annotations

from loom.decisions import DecisionTrace
from loom.formats.plain import Json, moment, part

__all__ = ["opa_event"]


def opa_event(trace: DecisionTrace, *, workspace: str) -> Json:
    """Return one decision as an event of OPA's log."""
    decision, evaluation = trace.decision, trace.decision.evaluation
    result: Json = {"verdict": trace.verdict, "outcome": dict(decision.outcome)}
    if evaluation is not None:
        result |= {
            "allow": evaluation.allowed,
            "effect": evaluation.effect,
            "rule": evaluation.rule,
            "why": evaluation.why,
        }
    name = part(decision.policy.name) if decision.policy else f"observed/{part(trace.decision_type)}"
    event: Json = {
        "labels": {"app": "loom", "workspace": workspace, "journal": trace.journal},
        "decision_id": trace.decision_id,
        "path": f"loom/{name}",
        "input": decision.facts,
        "result": result,
        "timestamp": moment(trace.decided_at),
        "metrics": {},
    }
    if decision.policy is not None:
        event["bundles"] = {decision.policy.name: {"revision": decision.policy.hash}}
    if trace.by is not None:
        event["requested_by"] = trace.by
    return event
