"""Explanation: one decision in the order in which a person asks about it.

What, why, on which facts, under which rule (and why not the others), after which precedents, who agreed, what was done,
what the result was. An empty section says so. Journaled text is untrusted: control characters for a terminal are shown
as escapes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from itertools import chain, repeat

from pydantic import BaseModel, ConfigDict

from loom.decisions.agreed import agreed
from loom.decisions.done import done
from loom.decisions.imports import IMPORT_WORDS
from loom.decisions.layout import (
    ExplanationLine,
    Tone,
    after_failures,
    flat,
    harmless,
    in_words,
    labelled,
    laid_out,
    moment,
    took,
)
from loom.decisions.model_words import asked_models
from loom.decisions.run import Run
from loom.decisions.trace import DecisionTrace, PrecedentSeen
from loom.decisions.waits import waited
from loom.identity import short

__all__ = ["Explanation", "ExplanationLine", "ExplanationSection", "Tone", "explain"]

_WIDTH = 88
_NARROWEST = 40
_LABEL = 22
_EFFECTS: dict[str, Tone] = {"allow": "good", "require_approval": "strong", "deny": "bad", "indeterminate": "bad"}
_SAYS_FAILURES = 2
"""The first schema of decisions in which an input has the failure of its look-up."""
_VERDICTS: dict[bool | None, tuple[str, Tone]] = {
    True: ("right", "good"),
    False: ("wrong", "bad"),
    None: ("unclear", "plain"),
}
_ENDS: dict[str, tuple[str, Tone]] = {
    "open": ("Its turn still goes on.", "plain"),
    "settled": ("Its turn ended with a reply.", "plain"),
    "failed": ("Its turn failed after this: the decision is kept, and is no precedent.", "bad"),
    "abandoned": ("A person abandoned its turn: the decision is kept, and is no precedent.", "bad"),
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


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
                lines += laid_out(line, column, width)
        return lines

    def text(self, width: int = _WIDTH) -> str:
        """Return it as plain text."""
        return "\n".join(self.lines(width)) + "\n"


def explain(trace: DecisionTrace, *, alike: Mapping[str, str] | None = None) -> Explanation:
    """Explain a decision from its trace; `alike` says in words what its precedent class is made from, by attribute."""
    kind = trace.decision_type.replace("_", " ").capitalize()
    asked = f"asked for by {trace.requester}" if trace.by else "requester not named"
    if trace.origin == "observed":
        asked = f"decided by {trace.decider}" if trace.decider else "decider not named"
    command = f"{trace.command_type}, " if trace.command_type else ""
    return Explanation(
        decision_id=trace.decision_id,
        title=harmless(f"{kind} by {trace.journal}, {moment(trace.decided_at)}"),
        subtitle=harmless(f"decision {short(trace.decision_id)} · {command}{asked} · entry {trace.sequence}"),
        sections=tuple(
            ExplanationSection(question=question, lines=tuple(lines))
            for question, lines in (
                ("What was decided?", _what(trace)),
                ("Why?", _why(trace)),
                ("On which facts?", _facts(trace)),
                ("Under which rule?", _rule(trace)),
                *([("Which models were asked?", asked_models(trace.model_calls))] if trace.model_calls else []),
                *([("What did it wait for?", waited(trace.waits))] if trace.waits else []),
                ("After which precedents?", _precedents(trace, alike or {})),
                ("Who agreed?", agreed(trace)),
                ("What was done?", done(trace)),
                ("What was the result?", _aftermath(trace)),
                *([("What did the critic say?", _criticism(trace))] if trace.enrichments else []),
            )
        ),
    )


# --- the answers ---------------------------------------------------------------------------------


def _what(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    decision = trace.decision
    for name, value in decision.outcome.items():
        yield labelled(name, in_words(value), "strong")
    if not decision.outcome:
        yield labelled("outcome", "none was recorded", "quiet")
    if decision.is_exception:
        yield labelled("exception", decision.exception_reason or "yes, without a reason given", "bad")
    if decision.confidence is not None:
        yield labelled("confidence", f"{decision.confidence:.2f} of 1")
    for name, value in decision.context.items():
        yield labelled(name, in_words(value), "quiet")
    yield from _source(trace)
    if trace.origin == "replayed":
        yield labelled("replayed from", short(trace.replayed_from or "unknown"), "quiet")
    if trace.run_id is not None:
        yield labelled("run", trace.run_id if trace.run is None else _run(trace.run), "quiet")


def _source(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    """Yield where an observed decision was read, and which parts are only claimed."""
    if trace.source is None:
        return
    source = trace.source
    where = f"{source.name}, own id {source.own_id}, row {source.row:,} of the file {short(source.digest)}"
    yield labelled("observed", f"made before loom was used; read from {where}")
    if trace.decision.decided_at is None:
        yield labelled("decided at", f"its source does not say; recorded {moment(trace.recorded_at)}", "quiet")
    else:
        yield labelled("decided at", f"{moment(trace.decided_at)}, as its source claims", "quiet")
        yield labelled("recorded at", moment(trace.recorded_at), "quiet")


def _why(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    decision = trace.decision
    yield labelled("rationale", decision.rationale, "strong")
    yield labelled("", f"in the words of a {decision.rationale_author}", "quiet")
    for number, step in enumerate(decision.reasoning, 1):
        yield labelled(f"step {number}", step)
    for alternative in decision.alternatives:
        yield labelled("instead", f"{alternative.option}: rejected because {alternative.rejected_because}")


def _facts(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    decision = trace.decision
    for name, value in flat(decision.facts or {}):
        yield labelled(name, in_words(value))
    if decision.facts is None:
        yield labelled("facts", "none were judged", "quiet")
    for look_up in decision.inputs:
        if look_up.source == "handed_in":
            yield labelled("handed in", in_words(look_up.result))
            continue
        if look_up.source == "gone":
            yield labelled("looked up", f"{look_up.entity} of its journal, which is pruned or missing", "quiet")
            continue
        asked = f"{look_up.entity} {look_up.query} in {look_up.system}"
        when = [] if look_up.retrieved_at is None else [moment(look_up.retrieved_at)]
        when += [] if look_up.duration_ms is None else [f"took {took(look_up.duration_ms / 1000)}"]
        when += after_failures(look_up.failed_attempts)
        yield labelled("looked up", asked + (f" ({', '.join(when)})" if when else ""))
        if look_up.relevance:
            yield labelled("", f"for {look_up.relevance}", "quiet")
        if look_up.failure is not None:
            yield labelled("", f"it failed: {look_up.failure.type_name}: {look_up.failure.message}", "bad")
            continue
        masked = f" (masked: {', '.join(look_up.masked)})" if look_up.masked else ""
        silent = look_up.result is None and trace.schema_version < _SAYS_FAILURES
        yield labelled("", ("nothing, or it failed" if silent else in_words(look_up.result)) + masked, "quiet")
    if not decision.inputs:
        yield labelled("looked up", "nothing", "quiet")


def _rule(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    policy, evaluation = trace.decision.policy, trace.decision.evaluation
    if policy is None:
        yield labelled("policy", "None: the decision was made before loom was used, and is observed.")
        return
    yield labelled("policy", f"{policy.name}, version {policy.version}")
    if evaluation is None:
        yield labelled("", "It was not evaluated: the decision is not based on a rule.", "quiet")
        return
    tier = f" by {evaluation.tier}" if evaluation.tier else ""
    effect = evaluation.effect.replace("_", " ")
    yield labelled("rule", f"{evaluation.rule} → {effect}{tier}", _EFFECTS[evaluation.effect])
    yield labelled("because", evaluation.why)
    for name, value in evaluation.details.items():
        yield labelled(name, in_words(value), "quiet")
    for miss in evaluation.why_not:
        yield labelled("not", f"{miss.rule}: {miss.why}", "quiet")


def _precedents(trace: DecisionTrace, alike: Mapping[str, str]) -> Iterator[ExplanationLine]:
    for seen in trace.precedents:
        yield labelled(seen.relation, _precedent(seen))
    if not trace.precedents:
        yield labelled("seen", "none", "quiet")
    kind = trace.decision.precedent_class
    if kind is not None:
        yield labelled(
            "its own class", f"situation {short(kind.situation)}, precedent {short(kind.precedent)}", "quiet"
        )
        for label, (name, words) in zip(chain(["alike by"], repeat("")), alike.items(), strict=False):
            yield labelled(label, f"{name}: {words}", "quiet")


def _aftermath(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    text, tone = _ENDS[trace.status]
    if trace.origin == "observed":
        yield labelled("import", IMPORT_WORDS[trace.status], "plain" if trace.status == "settled" else "bad")
    elif trace.divergence is not None:
        text, tone = f"Its turn is stuck: its code does not do what its journal says: {trace.divergence}.", "bad"
    if trace.origin != "observed":
        yield labelled("turn", text, tone)
    for seen in trace.outcomes:
        verdict, tone = _VERDICTS[seen.correct]
        feedback = f": “{seen.feedback}”" if seen.feedback else ""
        yield labelled(verdict, f"says {seen.identity}, {moment(seen.observed_at)}{feedback}", tone)
        if seen.actual is not None:
            yield labelled("", in_words(seen.actual), "quiet")
    if not trace.outcomes:
        yield labelled("outcome", "No outcome has been reported yet.", "quiet")
    for label, ids in (("led to", trace.children), ("replayed as", trace.replays)):
        if ids:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            yield labelled(label, ", ".join(short(each) for each in ids[:5]) + more)


def _criticism(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    for each in trace.enrichments:
        analysis = each.analysis
        if analysis is None:
            yield labelled(each.status, each.problem or "", "quiet")
            continue
        yield labelled("opinion", analysis.deeper_rationale)
        yield labelled("", f"{analysis.model}, confidence {analysis.confidence:.2f} of 1; an opinion only", "quiet")
        factors = f": {', '.join(analysis.risk.factors)}" if analysis.risk.factors else ""
        yield labelled("risk", analysis.risk.level + factors)
        for factor in analysis.critical_factors:
            yield labelled(f"{factor.impact} impact", f"{factor.factor}: {factor.reasoning}")
        for other in analysis.alternatives:
            yield labelled("instead", f"{other.option}: {other.why_rejected}" if other.why_rejected else other.option)


def _run(run: Run) -> str:
    note = f": “{run.note}”" if run.note else ""
    return f"{run.run_id}, a {run.kind} run ({run.status}), started {moment(run.started_at)} by {run.starter}{note}"


def _precedent(seen: PrecedentSeen) -> str:
    earlier = seen.decision
    if earlier is None:
        return f"{short(seen.decision_id)} (not in this journal)"
    exception = ", an exception" if earlier.is_exception else ""
    where = f"{short(seen.decision_id)} of {earlier.journal}"
    return f"{where}, {moment(earlier.recorded_at)}{exception}: “{earlier.rationale}”"
