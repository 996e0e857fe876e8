"""W3C PROV-JSON: one document, with a bundle for each decision.

A bundle says which entities the turn used (look-ups, facts), under which plan (the policy version) its agent acted, for
whom, after which approvals of persons, and from which earlier decisions it is derived. Names of one workspace are the
same in all bundles, so that a decision and the one that followed it meet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

from loom.decisions import Approval, DecisionTrace
from loom.formats.plain import Json, compact_json, digest_of, inputs_of, moment, part
from loom.identity import Identity

__all__ = ["bundle_of", "prov_lines"]

_P = "loom:"
Bundle: TypeAlias = dict[str, dict[str, Json]]


async def prov_lines(traces: AsyncIterator[DecisionTrace], *, workspace: str) -> AsyncIterator[str]:
    """Yield the document in pieces: its beginning, one bundle after the other, its end."""
    prefix = compact_json({"loom": f"urn:loom:{part(workspace)}:", "xsd": "http://www.w3.org/2001/XMLSchema#"})
    yield f'{{"prefix":{prefix},"bundle":{{'
    separator = ""
    async for trace in traces:
        yield f"{separator}{compact_json(f'{_P}trace.{trace.decision_id}')}:{compact_json(bundle_of(trace))}"
        separator = ","
    yield "}}"


def bundle_of(trace: DecisionTrace) -> Bundle:
    """Return one decision as a bundle of PROV-JSON."""
    made = _Bundle(trace)
    made.decision()
    made.look_ups()
    made.policy_and_facts()
    made.precedents()
    for approval in trace.approvals:
        made.approval(approval)
    made.outcomes()
    return made.found


class _Bundle:
    """The bundle of one decision while it is made."""

    def __init__(self, trace: DecisionTrace) -> None:
        self.found: Bundle = {}
        self._trace = trace
        self._decision = f"{_P}decision.{trace.decision_id}"
        self._turn = f"{_P}turn.{part(trace.journal)}.{part(trace.command_id or trace.decision_id)}"
        self._agent = f"{_P}agent.{part(trace.journal)}"
        self._count = 0

    def decision(self) -> None:
        """Say what was decided, by which turn, and for whom."""
        trace, decision = self._trace, self._trace.decision
        self._add(
            "entity",
            self._decision,
            {
                "prov:type": _name("loom:Decision"),
                "prov:label": trace.decision_type,
                "loom:rationale": decision.rationale,
                "loom:outcome": compact_json(decision.outcome),
                "loom:status": trace.status,
                "loom:origin": trace.origin,
                "loom:journal": trace.journal,
                "loom:sequence": trace.sequence,
                "loom:position": trace.position,
                "loom:entryHash": f"sha256:{trace.entry_hash}",
            },
        )
        self._add("activity", self._turn, {"prov:type": _name("loom:Turn"), "prov:endTime": moment(trace.recorded_at)})
        at: Json = {"prov:time": moment(trace.decided_at)}
        self._relate("wasGeneratedBy", {"prov:entity": self._decision, "prov:activity": self._turn, **at})
        if trace.origin == "observed":
            if trace.decider is not None:
                self._relate(
                    "wasAttributedTo", {"prov:entity": self._decision, "prov:agent": self._person(trace.decider)}
                )
            return
        self._add("agent", self._agent, {"prov:type": _name("prov:SoftwareAgent"), "prov:label": trace.journal})
        self._relate("wasAttributedTo", {"prov:entity": self._decision, "prov:agent": self._agent})
        if trace.requester is not None:
            self._relate(
                "actedOnBehalfOf",
                {
                    "prov:delegate": self._agent,
                    "prov:responsible": self._person(trace.requester),
                    "prov:activity": self._turn,
                },
            )

    def look_ups(self) -> None:
        """Say what was looked up; the result itself stays in the journal, its digest is here."""
        for number, (each, plain) in enumerate(
            zip(self._trace.decision.inputs, inputs_of(self._trace), strict=True), start=1
        ):
            name = f"{_P}lookup.{self._trace.decision_id}.{number}"
            fields: Json = {
                "prov:type": _name("loom:LookUp"),
                "loom:system": each.system,
                "loom:entity": each.entity,
                "loom:query": each.query,
                "loom:source": each.source,
                "loom:digest": digest_of(plain),
            }
            if each.failure is not None:
                fields["loom:failure"] = each.failure.type_name
            self._add("entity", name, fields)
            used: Json = {"prov:activity": self._turn, "prov:entity": name}
            if each.retrieved_at is not None:
                used["prov:time"] = moment(each.retrieved_at)
            self._relate("used", used)

    def policy_and_facts(self) -> None:
        """Say under which policy version, on which facts, and what its rule said."""
        decision = self._trace.decision
        facts = f"{_P}facts.{self._trace.decision_id}"
        if decision.facts is not None:
            self._add("entity", facts, {"prov:type": _name("loom:Facts"), "prov:value": compact_json(decision.facts)})
            self._relate("used", {"prov:activity": self._turn, "prov:entity": facts})
            self._relate("wasDerivedFrom", {"prov:generatedEntity": self._decision, "prov:usedEntity": facts})
        associated: Json = {"prov:activity": self._turn, "prov:agent": self._agent}
        if decision.policy is not None:
            plan = f"{_P}policy.{decision.policy.hash}"
            self._add(
                "entity",
                plan,
                {
                    "prov:type": _name("prov:Plan"),
                    "prov:label": f"{decision.policy.name} {decision.policy.version}",
                    "loom:hash": f"sha256:{decision.policy.hash}",
                },
            )
            associated["prov:plan"] = plan
        if decision.evaluation is not None:
            associated |= {"loom:effect": decision.evaluation.effect, "loom:rule": decision.evaluation.rule}
        if self._trace.origin != "observed":
            self._relate("wasAssociatedWith", associated)

    def precedents(self) -> None:
        """Say which earlier decisions it saw, and from which decision it followed."""
        for seen in self._trace.precedents:
            self._derived(seen.decision_id, f"loom:{seen.relation}")
        if self._trace.parent_decision_id is not None:
            self._derived(self._trace.parent_decision_id, "loom:parent")
        if self._trace.replayed_from is not None:
            self._derived(self._trace.replayed_from, "loom:replayOf")

    def approval(self, approval: Approval) -> None:
        """Say what a person was asked and answered."""
        name = f"{_P}approval.{part(approval.approval_id)}"
        fields: Json = {
            "prov:type": _name("loom:Approval"),
            "prov:startTime": moment(approval.requested_at),
            "loom:status": approval.status,
            "loom:approver": approval.approver,
        }
        if approval.answered_at is not None:
            fields["prov:endTime"] = moment(approval.answered_at)
        self._add("activity", name, fields)
        self._relate("wasInformedBy", {"prov:informed": self._turn, "prov:informant": name})
        for event in approval.counted:
            if event.identity is not None:
                self._relate(
                    "wasAssociatedWith",
                    {"prov:activity": name, "prov:agent": self._person(event.identity), "loom:answer": event.event},
                )

    def outcomes(self) -> None:
        """Say how it turned out, as observed later."""
        for seen in self._trace.outcomes:
            name = f"{_P}outcome.{seen.position}"
            fields: Json = {"prov:type": _name("loom:Outcome"), "prov:value": compact_json(seen.actual)}
            if seen.correct is not None:
                fields["loom:correct"] = seen.correct
            self._add("entity", name, fields)
            self._relate("wasDerivedFrom", {"prov:generatedEntity": name, "prov:usedEntity": self._decision})
            self._relate("wasAttributedTo", {"prov:entity": name, "prov:agent": self._person(seen.identity)})

    def _derived(self, decision_id: str, relation: str) -> None:
        earlier = f"{_P}decision.{decision_id}"
        self._relate(
            "wasDerivedFrom",
            {"prov:generatedEntity": self._decision, "prov:usedEntity": earlier, "prov:type": _name(relation)},
        )

    def _person(self, who: Identity) -> str:
        """Return the name of a person, whose source is a part of it: a claimed name is another than a checked one."""
        source = who.source or "not-recorded"
        name = f"{_P}person.{part(who.name)}.{part(source)}"
        self._add(
            "agent",
            name,
            {"prov:type": _name("prov:Person"), "prov:label": who.name, "loom:identitySource": source},
        )
        return name

    def _add(self, kind: str, name: str, fields: Json) -> None:
        self.found.setdefault(kind, {})[name] = fields

    def _relate(self, kind: str, fields: Json) -> None:
        self._count += 1
        self.found.setdefault(kind, {})[f"_:r{self._count}"] = fields


def _name(name: str) -> Json:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}
