"""Two things side by side: sections of named lines, each with what one has and what the other has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loom.decisions import DecisionTrace
from loom.decisions.run import Run
from loom.explorer import words
from loom.explorer.cases import Shape
from loom.policies.difference import conditions_in_words
from loom.policies.registry import PolicyVersion

__all__ = ["Line", "Part", "decisions_aligned", "lines_of", "runs_aligned", "versions_aligned"]


class Line(Shape):
    """One line: its name, and both sides; None where one side does not have it."""

    name: str
    one: str | None
    other: str | None
    same: bool


class Part(Shape):
    """Lines that belong together."""

    title: str
    lines: tuple[Line, ...]

    @property
    def differing(self) -> tuple[Line, ...]:
        """The lines that differ."""
        return tuple(each for each in self.lines if not each.same)

    @property
    def equal(self) -> tuple[Line, ...]:
        """The lines that are the same."""
        return tuple(each for each in self.lines if each.same)


def lines_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Line, ...]:
    """Align two mappings by their names, in the order of the first, then of the second."""
    return tuple(
        Line(
            name=name.replace("_", " "),
            one=words.value(one[name]) if name in one else None,
            other=words.value(other[name]) if name in other else None,
            same=name in one and name in other and one[name] == other[name],
        )
        for name in dict.fromkeys([*one, *other])
    )


def decisions_aligned(one: DecisionTrace, other: DecisionTrace) -> tuple[Part, ...]:
    """Align two decisions."""
    both = (one, other)
    parts: list[tuple[str, list[Mapping[str, Any]]]] = [
        ("What was decided", [dict(each.outcome) for each in both]),
        ("The facts", [dict(each.decision.facts or {}) for each in both]),
        ("What the rules said", [_said(each) for each in both]),
        ("Why each other rule did not apply", [_misses(each) for each in both]),
        ("Who and when", [_about(each) for each in both]),
        ("What was done", [{each.action: each.status for each in trace.effects} for trace in both]),
    ]
    return _parts(parts)


def versions_aligned(one: PolicyVersion, other: PolicyVersion) -> tuple[Part, ...]:
    """Align two versions of policies: tables by their rules, rules in Python by their parameters."""
    first, second = one.document, other.document
    parts: list[tuple[str, list[Mapping[str, Any]]]] = [
        ("Parameters", [_parameters(each) for each in (first, second)]),
        ("Hard limits", [_rows(each.get("limits")) for each in (first, second)]),
        ("Rules", [_rows(each.get("rules")) for each in (first, second)]),
        ("Otherwise", [_rows([each["otherwise"]] if each.get("otherwise") else []) for each in (first, second)]),
        ("Facts", [_kinds(each) for each in (first, second)]),
        (
            "About",
            [{"registered by": words.named(each.identity), "reason": each.reason or "none"} for each in (one, other)],
        ),
    ]
    return _parts(parts)


def runs_aligned(one: Run, other: Run) -> tuple[Part, ...]:
    """Align two runs by what they were started with, and what came of them."""
    parts: list[tuple[str, list[Mapping[str, Any]]]] = [
        ("About", [_run(each) for each in (one, other)]),
        ("Started with", [dict(each.parameters) for each in (one, other)]),
        (
            "Decisions by version",
            [{f"{v.name} {v.version}": v.decisions for v in each.versions} for each in (one, other)],
        ),
    ]
    return _parts(parts)


def _parts(given: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> tuple[Part, ...]:
    """Return the parts that have any lines."""
    parts = (Part(title=title, lines=lines_of(*sides)) for title, sides in given)
    return tuple(each for each in parts if each.lines)


def _said(trace: DecisionTrace) -> dict[str, Any]:
    said, policy = trace.decision.evaluation, trace.decision.policy
    found: dict[str, Any] = {} if said is None else {"effect": said.effect, "rule": said.rule, "why": said.why}
    if said is not None and said.tier is not None:
        found["who is asked"] = said.tier
    return found if policy is None else {**found, "policy": policy.name, "version": policy.version}


def _misses(trace: DecisionTrace) -> dict[str, Any]:
    said = trace.decision.evaluation
    return {} if said is None else {each.rule: each.why for each in said.why_not}


def _about(trace: DecisionTrace) -> dict[str, Any]:
    return {
        "agent": trace.journal,
        "asked for by": words.named(trace.requester, "an agent by itself"),
        "rationale": trace.rationale,
        "exception": trace.is_exception,
        "answers": ", ".join(f"{each.approver}: {each.status.replace('_', ' ')}" for each in trace.approvals) or "none",
        "at": trace.decided_at.strftime("%Y-%m-%d %H:%M UTC"),
    }


def _parameters(document: Mapping[str, Any]) -> Mapping[str, Any]:
    if document.get("language") == "table":
        return words.parameters_of(document)
    values = document.get("parameters", {}).get("values", {})
    return dict(values) if isinstance(values, Mapping) else {}


def _rows(rows: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    found = {}
    for row in rows or ():
        tier = f" by {row['tier']}" if row.get("tier") else ""
        conditions = conditions_in_words(row["when"])
        found[str(row["name"])] = f"if {conditions}: {str(row['effect']).replace('_', ' ')}{tier}"
    return found


def _kinds(document: Mapping[str, Any]) -> dict[str, Any]:
    facts = document.get("facts", {})
    return {name: dict(each) for name, each in facts.items()} if document.get("language") == "table" else {}


def _run(run: Run) -> dict[str, Any]:
    return {
        "kind": run.kind,
        "status": run.status,
        "started by": words.named(run.starter),
        "started": run.started_at.strftime("%Y-%m-%d %H:%M UTC"),
        "note": run.note or "none",
    }
