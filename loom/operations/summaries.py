"""What an entry says, in one line: by its kind, or by its fields if the kind is not loom's.

The line is read from the stored body and not from the class, so that an entry of another version, or of code that is
not available, has its line as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from loom.decisions.model_calls_view import answer_in
from loom.journal.entry import Recorded
from loom.text import compact, named, one_line

__all__ = ["step_of", "summary_of"]

_Body: TypeAlias = dict[str, Any]
_LONGEST = 240
_LONG_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_DIGEST = re.compile(r"[0-9a-f]{32,}\Z")


def summary_of(recorded: Recorded) -> str:
    """Return one harmless line about an entry."""
    if recorded.body is None:
        return "(erased)"
    try:
        body = recorded.body_json()
    except ValueError:
        return "(unreadable)"
    if not isinstance(body, dict):
        return compact(body, _LONGEST)
    say = _SAYINGS.get(recorded.kind, _fields)
    try:
        return one_line(_LONG_ID.sub(r"\1…", say(body)), _LONGEST)
    except (KeyError, TypeError, AttributeError, ValueError):  # a body with another schema than this version writes
        return one_line(_fields(body), _LONGEST)


def step_of(recorded: Recorded) -> str:
    """Return the key of the step that wrote an entry; its verb is plain from the kind."""
    if recorded.body is None:
        return "-"
    body = recorded.body_json()
    step = body.get("step") if isinstance(body, dict) else None
    if not isinstance(step, list) or len(step) != 3:
        return "-"
    verb, key, occurrence = step
    key = key[:8] if isinstance(key, str) and _DIGEST.match(key) else key
    return f"{key or verb}" + (f" #{occurrence + 1}" if isinstance(occurrence, int) and occurrence else "")


def _fields(body: _Body) -> str:
    return compact({name: value for name, value in body.items() if name != "step"} or "-", _LONGEST)


def _by(body: _Body) -> str:
    identity = named(body)
    return "" if identity is None else f" by {identity}"


def _because(body: _Body) -> str:
    return f": {body['reason']}" if body.get("reason") else ""


def _failed(failure: _Body) -> str:
    return f"failed with {failure['type_name']}: {failure['message']}"


def _command(body: _Body) -> str:
    return f"{body['command_type']} {compact(body['payload'])}{_by(body)}"


def _looked_up(body: _Body) -> str:
    came = _failed(body["failure"]) if body.get("failure") else f"→ {compact(body['result'])}"
    return f"{body['system']} {body['entity']} {body['query']} {came}"


def _evaluated(body: _Body) -> str:
    said = body["evaluation"]
    tier = f" by {said['tier']}" if said.get("tier") else ""
    return f"{said['rule']} → {said['effect'].replace('_', ' ')}{tier}: {said['why']}"


def _precedents(body: _Body) -> str:
    found = body["found"]
    how = "suggested by similarity" if body.get("similar_to") else "found"
    return f"{len(found)} {how}" + (": " + ", ".join(each["decision_id"][:12] for each in found) if found else "")


def _requested(body: _Body) -> str:
    of = f"of {body['approver']}, {body['approval_id'][:12]}"
    if body.get("information"):
        return f"{of}, again, informed by {named(body, 'requested_by')}: “{body['information']}”"
    return f"{of}: “{body['reason']}”"


def _answered(body: _Body) -> str:
    comment = f": “{body['comment']}”" if body.get("comment") else ""
    from loom.decisions.approval_entries import is_unanswerable

    no_one = "no one" if is_unanswerable(body.get("comment")) else "the deadline"
    if body.get("question"):
        return f"sent back by {named(body)}: “{body['question']}”"
    changed = f" with {compact(body['changes'])}" if body.get("changes") else ""
    return f"{'granted' if body['granted'] else 'denied'}{changed} by {named(body) or no_one}{comment}"


def _escalated(body: _Body) -> str:
    return f"from {body['passed_over']} to {body['approver']}, {body['approval_id'][:12]}"


def _decided(body: _Body) -> str:
    decision = body["decision"]
    outcome = compact(decision["outcome"]) if decision["outcome"] else "no outcome"
    return f"{decision['decision_id'][:12]} {decision['decision_type']}: {outcome}; {decision['rationale']}"


def _observed(body: _Body) -> str:
    verdict = {True: "right", False: "wrong"}.get(body["correct"], "unclear")
    feedback = f": {body['feedback']}" if body.get("feedback") else ""
    return f"{body['decision_id'][:12]} was {verdict}, says {named(body, 'observed_by')}{feedback}"


def _replied(body: _Body) -> str:
    return _failed(body["failure"]) if body.get("failure") else f"→ {compact(body['reply'])}"


def _performed(body: _Body) -> str:
    came = _failed(body["failure"]) if body.get("failure") else f"→ {compact(body['result'])}"
    return f"{body['action']} {body['key']} {came}"


def _waits(body: _Body) -> str:
    until = f" until {body['until']}" if body["until"] else ""
    message = f" for {body['message']}" if body.get("message") else ""
    return {"sleep": "sleeps", "message": "waits", "begin": "begins not"}[body["what"]] + message + until


def _continued(body: _Body) -> str:
    if not body.get("step"):
        return "resumed"
    return {"sleep": "woke", "wait_for": "resumed after its wait"}.get(body["step"][0], "resumed after it was answered")


def _run(body: _Body) -> str:
    given = f" {compact(body['parameters'])}" if body["parameters"] else ""
    note = f": {body['note']}" if body.get("note") else ""
    return f"{body['run_id']} {body['run_kind']}{_by(body)}{given}{note}"


def _policy(body: _Body) -> str:
    return f"{body['name']} {body['version']}{_by(body)}{_because(body)}"


def _drift(body: _Body) -> str:
    graded = f", {body['severity']}" if body.get("severity") else ""
    return f"{body['state'].replace('_', ' ')}{graded}{_by(body)}: {body['explanation'][0]}"


def _model_called(body: _Body) -> str:
    cost = body.get("cost_micro_usd")
    price = "" if cost is None else f", ${cost / 1e6:.6f}"
    said = _failed(body["failure"]) if body.get("failure") else answer_in(body)
    return f"{body['model']}{price}: {said}"


_SAYINGS: dict[str, Callable[[_Body], str]] = {
    "approval_answered": _answered,
    "approval_escalated": _escalated,
    "approval_reminded": lambda body: f"{body['approver']} again, {body['approval_id'][:12]}, number {body['number']}",
    "approval_requested": _requested,
    "ask_replied": _replied,
    "attempt_failed": lambda body: (
        f"{body['step'][0]} {body['step'][1]}, attempt {body['attempt']}, again after {body['delay_s']:.3g} s: "
        f"{_failed(body['failure'])}"
    ),
    "asked": lambda body: f"{body['journal']} {body['command_type']}",
    "command_received": _command,
    "context_gathered": _looked_up,
    "decision": _decided,
    "drift_compared": _drift,
    "effect_intended": lambda body: f"{body['action']} {body['key']}" + ("" if body["repeatable"] else ", once only"),
    "effect_performed": _performed,
    "equivalence_rule_registered": _policy,
    "evaluated": _evaluated,
    "model_called": _model_called,
    "model_spend_reserved": lambda body: (
        f"{body['journal']} {body['model']}, up to ${body['worst_case_micro_usd'] / 1e6:.6f}"
    ),
    "model_spend_settled": lambda body: f"${body['cost_micro_usd'] / 1e6:.6f}, {body['settlement'].replace('_', ' ')}",
    "outcome_observed": _observed,
    "policy_adopted": _policy,
    "policy_registered": _policy,
    "precedent_referenced": _precedents,
    "pruned": lambda body: (
        f"{body['journal']} {body['first_sequence']}..{body['last_sequence']}{_by(body)}{_because(body)}"
    ),
    "run_ended": lambda body: f"{body['run_id']} {body['status']}{_by(body)}{_because(body)}",
    "run_started": _run,
    "bodies_closed": lambda body: f"{len(body['bodies'])} bodies that were pruned, sealed for their subjects",
    "state_checkpoint": lambda body: f"the state here, {'sealed' if body['sealed'] else 'in clear'}",
    "notice_dead": lambda body: (
        f"{body['notice_type']} to {body['endpoint']}, after {body['attempts']} tries: {body['problem']}"
    ),
    "notice_delivered": lambda body: f"{body['notice_type']} to {body['endpoint']}, status {body['status']}",
    "notice_raised": lambda body: f"{body['notice_type']} {body['subject'][:12]}",
    "notice_retried": lambda body: f"{body['notice_id']} to {body['endpoint']}{_by(body)}",
    "notices_reached": lambda body: f"{body['endpoint']} at {body['position']}",
    "second_look_answered": lambda body: (
        f"{body['look_id'][:12]} {'granted' if body['granted'] else 'denied'}{_by(body)}, "
        f"{'as before' if body['agrees'] else 'otherwise than before'}"
    ),
    "second_look_drawn": lambda body: f"{body['look_id'][:12]} of {body['approval_id'][:12]}{_by(body)}",
    "schedule_fired": lambda body: f"{body['name']} of {body['due']}{', late' if body['late'] else ''}",
    "schedule_set": lambda body: f"{body['name']} [{body['cron']}] {body['timezone']}: {body['command_type']}",
    "schedule_skipped": lambda body: f"{body['name']}: {body['runs']} times up to {body['until']}",
    "snapshot_taken": lambda body: f"of the state after sequence {body['sequence']}",
    "version_marked": lambda body: f"follows version {body['version']} of {body['change']}",
    "turn_taken_up": lambda body: (
        f"{body['how']} of {body['command_id'][:12]}"
        + (f" before sequence {body['before']}" if body["before"] else "")
        + f"{_by(body)}{_because(body)}"
    ),
    "failure_lifted": lambda body: f"by the attempt {body['attempt'][:12]}",
    "told": lambda body: f"{body['journal']} {body['command_type']}",
    "turn_abandoned": lambda body: f"abandoned{_by(body)}{_because(body)}",
    "turn_completed": lambda body: f"→ {compact(body['reply'])}",
    "turn_continued": _continued,
    "turn_failed": lambda body: f"{body['type_name']}: {body['message']}",
    "turn_parked": lambda body: f"let go until {'it is answered' if body['until'] is None else body['until']}",
    "turn_diverged": lambda body: f"{body['what']}; expected {', '.join(body['expected'][:3]) or 'its end'}",
    "turn_resumed": lambda body: f"attempt {body['attempt']}",
    "turn_retried": lambda body: f"retried{_by(body)}{_because(body)}",
    "turn_started": lambda body: "after it had waited",
    "wait_begun": _waits,
    "wait_ended": lambda body: f"with message {body['message_id']}" if body["message_id"] else "no message came",
    "value_drawn": lambda body: f"{body['source']} → {compact(body['value'])}",
}
