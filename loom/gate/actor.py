"""The gate of one agent: what it proposes is validated, executed once and written down, in one turn."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import JsonValue

from loom.actors import Actor
from loom.errors import LookupFailedError
from loom.gate.commands import (
    Answer,
    CompileContext,
    CompiledContext,
    Dependencies,
    FailCycle,
    Known,
    SetAgentState,
    Submit,
)
from loom.gate.digest import digest
from loom.gate.entries import (
    AgentStateSetEntry,
    ContextCompiledEntry,
    CycleFailedEntry,
    EscalatedEntry,
    EscalationAnsweredEntry,
    ExecutedEntry,
    ProposalReceivedEntry,
    ValidatedEntry,
    Verdict,
)
from loom.gate.proposal import PolicyProposal, idempotency_key, read_proposal
from loom.gate.state import GateState
from loom.gate.validation import (
    Complaint,
    GateFacts,
    bound_broken,
    complaint_of,
    gate_validation,
    missing_number,
    said_in_code,
)
from loom.journal.entry import Entry
from loom.policies import Evaluation

__all__ = ["GateActor"]


class GateActor(Actor[GateState]):
    """The gate of the agent that is its key."""

    actor_type = "gate"
    policy = gate_validation
    state_version = 4

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    async def execute(self, command: Submit | CompileContext | SetAgentState | FailCycle) -> Any:
        """Handle one command."""
        if isinstance(command, Submit):
            return await self._submit(command)
        if isinstance(command, CompileContext):
            return await self._compile(command)
        if isinstance(command, FailCycle):
            await self.record(CycleFailedEntry(**command.model_dump()))
            return True
        await self.record(AgentStateSetEntry(state=command.state))
        return True

    def apply(self, entry: Entry) -> None:
        """Fold state, contexts, and what people were asked."""
        self.state.fold(entry)

    async def _compile(self, command: CompileContext) -> CompiledContext:
        context: dict[str, JsonValue] = {
            "flow_id": command.flow_id,
            "agent": self.key,
            "session": command.session,
            "state": self.state.agent_state,
        }
        context_hash = digest("context", context)
        await self.record(
            ContextCompiledEntry(
                flow_id=command.flow_id, root_id=command.root_id, context=context, context_hash=context_hash
            )
        )
        return CompiledContext(flow_id=command.flow_id, context=context, context_hash=context_hash)

    # --- a proposal -----------------------------------------------------------------------------

    async def _submit(self, command: Submit) -> Answer:
        await self.record(
            ProposalReceivedEntry(
                flow_id=command.flow_id,
                root_id=command.root_id,
                step_id=command.step_id,
                attempt=command.attempt,
                proposal=command.proposal,
                problem=command.problem,
                explanation=command.explanation,
            )
        )
        proposal, problem = read_proposal(command.proposal) if command.problem is None else (None, command.problem)
        key = None if proposal is None else idempotency_key(command.flow_id, command.step_id, proposal.params)
        known = await self._known(command, key)
        now = await self.now()
        facts = self._facts(command, proposal, problem, known, now)
        said = self.evaluate(facts)
        verdict, code = said_in_code(said, facts)
        again: Any = known.executed if verdict == "ACCEPT" else None
        answer = await self._judge(
            command, proposal, key, said, verdict, code, executes=verdict == "ACCEPT" and again is None
        )
        if proposal is None or key is None or verdict == "REJECT":
            return answer
        if verdict == "ESCALATE":
            approver = None if known.contract is None else known.contract.escalate_to
            return await self._escalate(command, proposal, answer, facts, str(approver))
        if again is not None:
            return answer.model_copy(update={"repeated": True, "result": again.get("result")})
        result = await self._execute(command, proposal, key, answer.decision_id)
        return answer.model_copy(update={"executed": True, "result": result})

    async def _judge(
        self,
        command: Submit,
        proposal: PolicyProposal | None,
        key: str | None,
        said: Evaluation,
        verdict: Verdict,
        code: str,
        *,
        executes: bool,
        parent: str | None = None,
    ) -> Answer:
        """Record the gate's judgement of a proposal, as an entry and as a decision."""
        await self.record(
            ValidatedEntry(
                flow_id=command.flow_id,
                root_id=command.root_id,
                attempt=command.attempt,
                verdict=verdict,
                code=code,
                why=said.why,
            )
        )
        decision_id = await self.record_decision(
            decision_type="gate_verdict",
            rationale=f"{code}: {said.why}",
            outcome={"verdict": verdict, "code": code, "executes": executes},
            context={
                "flow_id": command.flow_id,
                "root_id": command.root_id,
                "step_id": command.step_id,
                "attempt": command.attempt,
                "idempotency_key": key,
                "policy_kind": None if proposal is None else proposal.policy_kind,
                "params": {} if proposal is None else proposal.params,
            },
            confidence=None if proposal is None else proposal.confidence,
            parent=parent,
        )
        return Answer(
            verdict=verdict,
            code=code,
            why=said.why,
            flow_id=command.flow_id,
            decision_id=decision_id,
            idempotency_key=key,
        )

    async def _known(self, command: Submit, key: str | None, *, step: str | None = None) -> Known:
        async def look() -> dict[str, Any]:
            known = await self._dependencies.know(self.key, command.flow_id, command.token_hash, key or "")
            if known.executed is None and key in self.state.executed.get(command.flow_id, ()):  # a view may hide it
                known = known.model_copy(update={"executed": await self._dependencies.executed(self.key, str(key))})
            return known.model_dump(mode="json")

        try:
            known: Known = await self.gather_context(
                system="gate", entity="agent", query=self.key, fetcher=look, returns=Known, key=step
            )
        except LookupFailedError as error:  # who cannot be known may do nothing
            return Known(standing=f"UNKNOWN ({error.type_name})")
        return known

    def _facts(
        self,
        command: Submit,
        proposal: PolicyProposal | None,
        problem: str | None,
        known: Known,
        now: datetime,
        *,
        consented: GateFacts | None = None,
    ) -> GateFacts:
        """Return what there is to judge; `consented` are the facts that a person has consented to meanwhile.

        A consent speaks for the proposal as it was shown: on that context, in that session. It does not speak for an
        agent that was suspended since, for a contract that has become narrower, or for a time that is over.
        """
        contract = known.contract
        rejections = max(known.rejections, self.state.rejections.get(command.flow_id, 0))  # a view may hide some
        if proposal is None or contract is None:
            return GateFacts(
                rejections=rejections,
                schema_problem=problem,
                standing=known.standing,
                token_valid=False,
                expired=proposal is not None and proposal.expired(now),
            )
        granted = consented is not None and self._asked(command, proposal) == "granted"
        complaint = None if granted else self._complaint(command, proposal, contract.escalate_to)
        exceeded, why = bound_broken(proposal, contract)
        return GateFacts(
            rejections=rejections,
            schema_problem=missing_number(proposal, contract),
            expired=proposal.expired(now),
            standing=known.standing,
            token_valid=known.token_valid if consented is None else consented.token_valid,
            policy_kind=proposal.policy_kind,
            allowed_policy_types=contract.allowed_policy_types,
            confidence=proposal.confidence,
            minimum_confidence=contract.minimum_confidence,
            context_fresh=consented is not None or self.state.contexts.get(command.flow_id) == proposal.context_hash,
            complaint=None if complaint is None else f"{complaint.code}: {complaint.why}",
            complaint_escalates=complaint is not None and complaint.escalate,
            exceeded=exceeded,
            exceeded_why=why,
        )

    def _complaint(self, command: Submit, proposal: PolicyProposal, escalate_to: str | None) -> Complaint | None:
        """Return what the validators have to say, and what a person has said about it before."""
        context: dict[str, JsonValue] = {"agent": self.key, "flow_id": command.flow_id, **self.state.agent_state}
        complaint = complaint_of(proposal, context, self._dependencies.validators)
        if complaint is None or not complaint.escalate:
            return complaint
        asked = self._asked(command, proposal)
        if asked == "executed":
            return None
        if asked == "denied":
            return Complaint("ESCALATION_DENIED", f"consent was denied: {complaint.code}: {complaint.why}")
        if escalate_to is None:
            return Complaint(
                "ESCALATION_UNADDRESSED", f"{complaint.code}: {complaint.why}; the contract names no approver"
            )
        return complaint

    # --- a person is asked ----------------------------------------------------------------------

    async def _escalate(
        self, command: Submit, proposal: PolicyProposal, answer: Answer, facts: GateFacts, approver: str
    ) -> Answer:
        """Ask for consent as the contract says, and execute what is granted; a proposal is asked about once."""
        asked = self.state.escalations.get(str(answer.idempotency_key))
        if asked is not None and asked.status == "waits":
            return answer.model_copy(update={"approval_id": asked.approval_id})
        key = str(answer.idempotency_key)
        about: dict[str, Any] = {"flow_id": command.flow_id, "root_id": command.root_id, "idempotency_key": key}
        await self.record(EscalatedEntry(**about, approver=approver, code=answer.code, decision_id=answer.decision_id))
        approval = await self.request_approval(approver=approver, reason=_asks(proposal, answer), key=key)
        await self.record(
            EscalationAnsweredEntry(
                **about,
                approval_id=approval.approval_id,
                granted=approval.granted,
                by=approval.by,
                identity_source=approval.identity_source,
                via=approval.via,
                comment=approval.comment,
            )
        )
        known = await self._known(command, key, step=f"after consent {key}")
        again = self._facts(command, proposal, None, known, await self.now(), consented=facts)
        said = self.evaluate(again)
        verdict, code = said_in_code(said, again)
        executes = verdict == "ACCEPT"
        answer = await self._judge(
            command, proposal, key, said, verdict, code, executes=executes, parent=answer.decision_id
        )
        if not executes:
            return answer
        result = await self._execute(command, proposal, key, answer.decision_id)
        return answer.model_copy(update={"executed": True, "result": result})

    def _asked(self, command: Submit, proposal: PolicyProposal) -> str | None:
        """Return the state of the approval of a proposal, None if no one was asked."""
        asked = self.state.escalations.get(idempotency_key(command.flow_id, command.step_id, proposal.params))
        return None if asked is None else asked.status

    async def _execute(self, command: Submit, proposal: PolicyProposal, key: str, decision_id: str) -> JsonValue:
        """Do it: the claim is durable before, and what was done is written in the same turn, which is resumed."""
        executor, result = self._dependencies.executor, None
        if executor is not None:
            result = await self.perform(
                action=f"execute {proposal.policy_kind}", effect=lambda key: executor(proposal, key), key=key
            )
        await self.record(
            ExecutedEntry(
                flow_id=command.flow_id,
                root_id=command.root_id,
                step_id=command.step_id,
                idempotency_key=key,
                policy_kind=proposal.policy_kind,
                params=proposal.params,
                decision_id=decision_id,
                result=result,
            )
        )
        plain: JsonValue = result
        return plain


def _asks(proposal: PolicyProposal, answer: Answer) -> str:
    """Return what the approver has to know: why it was escalated, and what is proposed."""
    params = ", ".join(f"{name} {value!r:.60}" for name, value in list(proposal.params.items())[:5])
    return f"{answer.why}; proposed is {proposal.policy_kind} with {params or 'nothing'}: {proposal.justification:.500}"
