"""Explanation: one decision in the order in which a person asks about it.

What, why, on which facts, under which rule (and why not the others), after which precedents, who agreed, what came of
it. A section that has nothing to say says so. Journaled text is untrusted: what could steer a terminal is shown as an
escape.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain, repeat
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.approvals import Approval
from loom.decisions.run import Run
from loom.decisions.trace import DecisionTrace, PrecedentSeen
from loom.identity import short

__all__ = ["Explanation", "ExplanationLine", "ExplanationSection", "Tone", "explain"]

Tone: TypeAlias = Literal["plain", "strong", "good", "bad", "quiet"]
"""How a line is to be felt; a renderer may give it a colour."""

_WIDTH = 88
_NARROWEST = 40
_LABEL = 22
_SHOWN = 400
_MARGIN = "  "
_ZERO_WIDTH_JOINER = "\u200d"
_EFFECTS: dict[str, Tone] = {"allow": "good", "require_approval": "strong", "deny": "bad", "indeterminate": "bad"}
_VERDICTS: dict[bool | None, tuple[str, Tone]] = {
    True: ("right", "good"),
    False: ("wrong", "bad"),
    None: ("unclear", "plain"),
}
_ENDS: dict[str, tuple[str, Tone]] = {
    "open": ("Its turn still goes on.", "plain"),
    "settled": ("Its turn ended with a reply.", "plain"),
    "failed": ("Its turn failed after this: the decision stands, and is no precedent.", "bad"),
    "abandoned": ("Its turn was given up by a person: the decision stands, and is no precedent.", "bad"),
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExplanationLine(_Frozen):
    """A short label and what is to be said about it; a line without a label goes on with what stands above."""

    label: str = ""
    text: str
    tone: Tone = "plain"


class ExplanationSection(_Frozen):
    """The answer to one question."""

    question: str
    lines: tuple[ExplanationLine, ...]


class Explanation(_Frozen):
    """One decision explained. `sections` are for renderers, `text` is for people, `model_dump` is for programs."""

    decision_id: str
    title: str
    subtitle: str
    sections: tuple[ExplanationSection, ...]

    def lines(self, width: int = _WIDTH) -> list[str]:
        """Return it as lines of plain text, none of them longer than `width`, which is 40 at least."""
        width = max(width, _NARROWEST)
        lines = [*textwrap.wrap(self.title, width), *textwrap.wrap(self.subtitle, width)]
        for section in self.sections:
            column = min(_LABEL, max((len(line.label) for line in section.lines), default=0))
            lines += ["", section.question]
            for line in section.lines:
                lines += _laid_out(line, column, width)
        return lines

    def text(self, width: int = _WIDTH) -> str:
        """Return it as plain text."""
        return "\n".join(self.lines(width)) + "\n"


def explain(trace: DecisionTrace, *, alike: Mapping[str, str] | None = None) -> Explanation:
    """Explain a decision from its trace; `alike` says in words what its precedent class is made from, by attribute."""
    kind = trace.decision_type.replace("_", " ").capitalize()
    asked = f"asked for by {trace.by}" if trace.by else "asked for by nobody in particular"
    command = f"{trace.command_type}, " if trace.command_type else ""
    return Explanation(
        decision_id=trace.decision_id,
        title=_plain(f"{kind} by {trace.journal}, {_moment(trace.recorded_at)}"),
        subtitle=_plain(f"decision {short(trace.decision_id)} · {command}{asked} · entry {trace.sequence}"),
        sections=tuple(
            ExplanationSection(question=question, lines=tuple(lines))
            for question, lines in (
                ("What was decided?", _what(trace)),
                ("Why?", _why(trace)),
                ("On which facts?", _facts(trace)),
                ("Under which rule?", _rule(trace)),
                ("After which precedents?", _precedents(trace, alike or {})),
                ("Who agreed?", _consent(trace)),
                ("What came of it?", _aftermath(trace)),
                *([("What did the critic say?", _criticism(trace))] if trace.enrichments else []),
            )
        ),
    )


# --- the answers ---------------------------------------------------------------------------------


def _what(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    decision = trace.decision
    for name, value in decision.outcome.items():
        yield _line(name, _value(value), "strong")
    if not decision.outcome:
        yield _line("outcome", "none was recorded", "quiet")
    if decision.is_exception:
        yield _line("exception", decision.exception_reason or "yes, without a reason given", "bad")
    if decision.confidence is not None:
        yield _line("confidence", f"{decision.confidence:.2f} of 1")
    for name, value in decision.context.items():
        yield _line(name, _value(value), "quiet")
    if trace.origin == "replayed":
        yield _line("replayed from", short(trace.replayed_from or "unknown"), "quiet")
    if trace.run_id is not None:
        yield _line("run", trace.run_id if trace.run is None else _run(trace.run), "quiet")


def _why(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    decision = trace.decision
    yield _line("rationale", decision.rationale, "strong")
    yield _line("", f"in the words of a {decision.rationale_author}", "quiet")
    for number, step in enumerate(decision.reasoning, 1):
        yield _line(f"step {number}", step)
    for alternative in decision.alternatives:
        yield _line("instead", f"{alternative.option}: rejected because {alternative.rejected_because}")


def _facts(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    decision = trace.decision
    for name, value in _flat(decision.facts or {}):
        yield _line(name, _value(value))
    if decision.facts is None:
        yield _line("facts", "none were judged", "quiet")
    for look_up in decision.inputs:
        asked = f"{look_up.entity} {look_up.query} in {look_up.system}"
        when = f"{_moment(look_up.retrieved_at)}, took {_took(look_up.duration_ms / 1000)}"
        yield _line("looked up", f"{asked} ({when})")
        if look_up.relevance:
            yield _line("", f"for {look_up.relevance}", "quiet")
        masked = f" (masked: {', '.join(look_up.masked)})" if look_up.masked else ""
        yield _line("", _value(look_up.result) + masked, "quiet")
    if not decision.inputs:
        yield _line("looked up", "nothing", "quiet")


def _rule(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    policy, evaluation = trace.decision.policy, trace.decision.evaluation
    yield _line("policy", f"{policy.name}, version {policy.version}")
    if evaluation is None:
        yield _line("", "It was not asked: the decision rests on no rule.", "quiet")
        return
    tier = f" by {evaluation.tier}" if evaluation.tier else ""
    effect = evaluation.effect.replace("_", " ")
    yield _line("rule", f"{evaluation.rule} → {effect}{tier}", _EFFECTS[evaluation.effect])
    yield _line("because", evaluation.why)
    for name, value in evaluation.details.items():
        yield _line(name, _value(value), "quiet")
    for miss in evaluation.why_not:
        yield _line("not", f"{miss.rule}: {miss.why}", "quiet")


def _precedents(trace: DecisionTrace, alike: Mapping[str, str]) -> Iterator[ExplanationLine]:
    for seen in trace.precedents:
        yield _line(seen.relation, _precedent(seen))
    if not trace.precedents:
        yield _line("seen", "none", "quiet")
    kind = trace.decision.precedent_class
    if kind is not None:
        yield _line("its own class", f"situation {short(kind.situation)}, precedent {short(kind.precedent)}", "quiet")
        for label, (name, words) in zip(chain(["alike by"], repeat("")), alike.items(), strict=False):
            yield _line(label, f"{name}: {words}", "quiet")


def _consent(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    for approval in trace.approvals:
        yield from _request(approval)
    if trace.approvals:
        return
    for given in trace.decision.approvals:  # brought along by the decision, and asked for somewhere else
        answer = "granted" if given.granted else "denied"
        comment = f": “{given.comment}”" if given.comment else ""
        who = given.by or "nobody, as the deadline passed"
        yield _line(given.approver, f"{answer} by {who}, {_moment(given.answered_at)}{comment}", _tone(answer))
    if not trace.decision.approvals:
        yield _line("asked", "nobody", "quiet")


def _aftermath(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    text, tone = _ENDS[trace.status]
    yield _line("turn", text, tone)
    for seen in trace.outcomes:
        verdict, tone = _VERDICTS[seen.correct]
        feedback = f": “{seen.feedback}”" if seen.feedback else ""
        yield _line(verdict, f"says {seen.observed_by}, {_moment(seen.observed_at)}{feedback}", tone)
        if seen.actual is not None:
            yield _line("", _value(seen.actual), "quiet")
    if not trace.outcomes:
        yield _line("outcome", "Nobody has reported yet how it turned out.", "quiet")
    for label, ids in (("led to", trace.children), ("replayed as", trace.replays)):
        if ids:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            yield _line(label, ", ".join(short(each) for each in ids[:5]) + more)


def _criticism(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    for each in trace.enrichments:
        said = each.analysis
        if said is None:
            yield _line(each.status, each.problem or "", "quiet")
            continue
        yield _line("opinion", said.deeper_rationale)
        yield _line("", f"{said.model}, confidence {said.confidence:.2f} of 1; it has no say", "quiet")
        yield _line("risk", said.risk.level + (f": {', '.join(said.risk.factors)}" if said.risk.factors else ""))
        for factor in said.critical_factors:
            yield _line(f"{factor.impact} impact", f"{factor.factor}: {factor.reasoning}")
        for other in said.alternatives:
            yield _line("instead", f"{other.option}: {other.why_rejected}" if other.why_rejected else other.option)


def _request(approval: Approval) -> Iterator[ExplanationLine]:
    """Say what was asked of whom, and everything that happened to it, in order."""
    first = approval.events[0].approver if approval.events else approval.approver
    yield _line(first or approval.approver, f"asked {_moment(approval.requested_at)}: “{approval.reason}”")
    for event in approval.events[1:]:
        after = f"after {_took((event.at - approval.requested_at).total_seconds())}"
        comment = f": “{event.comment}”" if event.comment else ""
        role = f" ({event.role})" if event.role else ""
        if event.event == "escalated":
            yield _line("", f"{after} passed on from {event.by} to {event.approver}, as the deadline had come")
        elif event.event == "moot":
            yield _line("", f"{after} the turn ended without an answer", "quiet")
        elif not event.counts:
            yield _line("", f"{after} {event.event} by {event.by}{role}, which came too late to count", "quiet")
        elif event.by is None:
            yield _line("", f"{after} {event.event}, as the deadline had come", _tone(event.event))
        else:
            yield _line("", f"{event.event} by {event.by}{role} {after}{comment}", _tone(event.event))
    if approval.pending:
        yield _line("", "still waits for an answer")


def _run(run: Run) -> str:
    note = f": “{run.note}”" if run.note else ""
    return f"{run.run_id}, a {run.kind} run ({run.status}), started {_moment(run.started_at)} by {run.by}{note}"


def _precedent(seen: PrecedentSeen) -> str:
    earlier = seen.decision
    if earlier is None:
        return f"{short(seen.decision_id)} (not in this journal)"
    exception = ", an exception" if earlier.is_exception else ""
    where = f"{short(seen.decision_id)} of {earlier.journal}"
    return f"{where}, {_moment(earlier.recorded_at)}{exception}: “{earlier.rationale}”"


# --- words and layout ----------------------------------------------------------------------------


def _line(label: str, text: str, tone: Tone = "plain") -> ExplanationLine:
    return ExplanationLine(label=_plain(label.replace("\n", " ")), text=_plain(text), tone=tone)


def _laid_out(line: ExplanationLine, column: int, width: int) -> Iterator[str]:
    """Yield a line in two columns, wrapped within the second; a label that is too long has a line of its own."""
    indent = _MARGIN + " " * (column + len(_MARGIN) if column else 0)
    head = f"{_MARGIN}{line.label:<{column}}{_MARGIN}" if column else _MARGIN
    if len(line.label) > column:
        yield from textwrap.wrap(line.label, width, initial_indent=_MARGIN, subsequent_indent=_MARGIN)
        head = indent
    for paragraph in line.text.split("\n"):
        yield from textwrap.wrap(
            paragraph, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
        ) or [head.rstrip()]
        head = indent


def _flat(facts: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            yield name, value


def _value(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value.strip() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _plain(text: str) -> str:
    """Return text in which nothing can steer a terminal or change the order in which it is read."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe(character) for character in text)


def _safe(character: str) -> str:
    if character in ("\n", _ZERO_WIDTH_JOINER) or character.isprintable():
        return character
    if character == "\t" or unicodedata.category(character) == "Zs":
        return " "
    return f"\\u{ord(character):04x}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".rstrip()


def _took(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, hours, days = round(seconds / 60), int(seconds // 3600), int(seconds // 86_400)
    if minutes < 90:
        return f"{minutes} min"
    if hours < 36:
        return f"{hours} h {int(seconds % 3600 // 60)} min"
    return f"{days} d {int(seconds % 86_400 // 3600)} h"


def _tone(answer: str) -> Tone:
    return "good" if answer == "granted" else "bad"
