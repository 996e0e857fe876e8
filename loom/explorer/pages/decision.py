"""One decision, in the order in which a person asks: why, on which facts, under which rule, who agreed, what then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from loom.decisions import DecisionTrace, Explanation
from loom.decisions.explanation import ExplanationLine
from loom.decisions.trace import Related
from loom.errors import LoomError
from loom.explorer import words
from loom.explorer.cases import RuleSeen, Shape, rules_of
from loom.explorer.page import Page, View
from loom.explorer.proofs import Proven, proven
from loom.explorer.visits import Visit, Visitor
from loom.journal.sqlite.heads import HeadsFile

__all__ = ["page"]

page = Page("decision", "/decisions/{decision_id}", title="A decision")


class Near(Shape):
    """A decision that this one came from, or that came from it."""

    decision_id: str
    depth: int
    what: str
    at: datetime
    journal: str


class Integrity(Shape):
    """Where the record is, and what its hash is."""

    position: int
    journal: str
    sequence: int
    entry_hash: str
    anchored: int | None
    """The last position whose hash is also kept outside the database; None where there is none yet."""
    proven: Proven | None
    """The signed checkpoint that covers it, with the proof; None where there is none yet."""


class DecisionView(View):
    """A decision with everything that is joined to it."""

    headline: str
    kind: str
    by: words.PersonInWords
    trace: DecisionTrace
    people: tuple[ExplanationLine, ...]
    """Who agreed, line by line, as `loom why` has it."""
    done: tuple[ExplanationLine, ...]
    came_of_it: tuple[ExplanationLine, ...]
    models: tuple[ExplanationLine, ...]
    waits: tuple[ExplanationLine, ...]
    critic: tuple[ExplanationLine, ...]
    rules: tuple[RuleSeen, ...]
    policy_by: words.PersonInWords | None
    """Who registered the version that it was judged under."""
    ancestors: tuple[Near, ...]
    descendants: tuple[Near, ...]
    replays: tuple[Near, ...]
    cut: bool
    integrity: Integrity


@page.shows
async def decision(visit: Visit, decision_id: str) -> DecisionView:
    """Read one decision; the id may be an unambiguous beginning."""
    loom = visit.loom
    as_of = loom.store.acknowledged
    trace = await loom.traces.get(decision_id)
    found = trace.decision
    chain = await loom.traces.chain(trace.decision_id)
    lineage = await loom.traces.lineage(trace.decision_id)
    document, registered_by = _policy(visit, trace)
    explanation = await loom.traces.explain(trace.decision_id)
    head = await asyncio.to_thread(HeadsFile(loom.files.heads).last)
    return DecisionView(
        as_of=as_of,
        headline=_headline(trace),
        kind=trace.decision_type.replace("_", " "),
        by=words.named(trace.decider if trace.origin == "observed" else trace.requester, "an agent by itself"),
        trace=trace,
        people=_section(explanation, "Who agreed?"),
        done=_section(explanation, "What was done?"),
        came_of_it=_section(explanation, "What was the result?"),
        models=_section(explanation, "Which models were asked?"),
        waits=_section(explanation, "What did it wait for?"),
        critic=_section(explanation, "What did the critic say?"),
        rules=rules_of(found.evaluation, found.facts or {}, document),
        policy_by=registered_by,
        ancestors=_near(chain.ancestors, without=trace.decision_id),
        descendants=_near(chain.descendants, without=trace.decision_id),
        replays=_near(lineage.members, without=trace.decision_id),
        cut=chain.cut or lineage.cut,
        integrity=Integrity(
            position=trace.position,
            journal=trace.journal,
            sequence=trace.sequence,
            entry_hash=trace.entry_hash,
            anchored=None if head is None else head.position,
            proven=await proven(visit, trace.position),
        ),
    )


def _headline(trace: DecisionTrace) -> str:
    """Return what was decided, as the outcome says it."""
    said = ", ".join(f"{name.replace('_', ' ')}: {words.value(each)}" for name, each in trace.outcome.items())
    return said or "no outcome was recorded"


def _policy(visit: Visitor, trace: DecisionTrace) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return the document of the version that it was judged under, and who registered that version."""
    reference = trace.decision.policy
    if reference is None:
        return None, None
    try:
        version = visit.loom.policies.resolve(reference.hash)
    except LoomError:  # of another workspace, or of an archive
        return None, None
    return version.document, words.named(version.identity)


def _section(explanation: Explanation, question: str) -> tuple[ExplanationLine, ...]:
    return next((each.lines for each in explanation.sections if each.question == question), ())


def _near(found: Iterable[Related], *, without: str) -> tuple[Near, ...]:
    return tuple(
        Near(
            decision_id=each.decision.decision_id,
            depth=each.depth,
            what=f"{each.decision.decision_type.replace('_', ' ')}: {each.decision.rationale}",
            at=each.decision.decided_at,
            journal=each.decision.journal,
        )
        for each in found
        if each.decision.decision_id != without
    )
