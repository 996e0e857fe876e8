"""`Gate`: user space proposes, the gate disposes. What callers hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.background import awaiting
from loom.errors import InvalidNameError
from loom.extension import Host
from loom.gate.actor import GateActor
from loom.gate.commands import (
    Answer,
    CompileContext,
    CompiledContext,
    Dependencies,
    Executor,
    FailCycle,
    Known,
    SetAgentState,
    Submit,
)
from loom.gate.contracts import Contracts, Handshake, token_hash
from loom.gate.entries import ExecutedEntry, ValidatedEntry
from loom.gate.monitor import profitability_monitor
from loom.gate.proposal import sanitised
from loom.gate.roa import CycleFailure, Model, Proposed, propose
from loom.gate.state import is_reasoned_rejection
from loom.gate.validation import Validator
from loom.identity import derived_id, new_id
from loom.monitors import Monitor, watch
from loom.standings import Standings
from loom.telemetry import get_logger

__all__ = ["Flow", "Gate"]

_KNOWN = """
SELECT position FROM gate_executions WHERE idempotency_key = :key
UNION ALL SELECT * FROM (SELECT position FROM gate_rejections WHERE flow_id = :flow ORDER BY position LIMIT :limit)
"""
_NAMES = ("gate",)
_MOST_REJECTIONS = 100  # no policy waits for more
_WAITS = """
SELECT decision_id FROM approvals JOIN trace_decisions USING (journal, command_id)
WHERE approvals.journal = ? AND approvals.command_id = ? AND approvals.status = 'pending'
  AND trace_decisions.status = 'open'
ORDER BY trace_decisions.position DESC LIMIT 1
"""

_log = get_logger("loom.gate")


class Flow(NamedTuple):
    """One decision from its input to its execution; the same input of a run is the same flow."""

    flow_id: str
    root_id: str


class Gate:
    """`async with Gate.open(loom)` starts one; where the config has `extensions: [gate]`, `Gate.of(loom)`."""

    def __init__(self, host: Host, *, executor: Executor | None = None, validators: Sequence[Validator] = ()) -> None:
        self.contracts = Contracts(host.store, make_draft=host.draft)
        self._host = host
        self._dependencies = Dependencies(self._know, self._searched, tuple(validators), executor)
        self._committed = asyncio.Event()

    @classmethod
    def of(cls, loom: Any) -> Gate:
        """Return the gate that a loom was opened with."""
        gate = loom.parts.get("gate")
        if not isinstance(gate, Gate):
            raise InvalidNameError(
                "this loom has no gate; expected the extension [gate]: pass it to Loom.open(extensions=…), or name it "
                "under extensions: in the config"
            )
        return gate

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        host: Host,
        *,
        executor: Executor | None = None,
        validators: Sequence[Validator] = (),
        monitors: Sequence[Monitor] | None = None,
    ) -> AsyncIterator[Gate]:
        """Yield a gate on an open loom.

        `executor` does what was accepted; without one the execution is the entry that says so. `validators` are pure
        checks of your own. `monitors` are by default one, the rolling mean of what was offered.
        """
        gate = cls(host, executor=executor, validators=validators)
        await gate.contracts.load()
        host.store.on_commit(gate._note_commit)
        await host.register(GateActor, lambda: GateActor(gate._dependencies))
        for monitor in (profitability_monitor(host.standings),) if monitors is None else monitors:
            await watch(host, monitor)
        yield gate

    @property
    def standings(self) -> Standings:
        """Who may act."""
        return self._host.standings

    # --- agents ---------------------------------------------------------------------------------

    async def handshake(self, agent: str, *, contract_id: str, requirement: str, contract_hash: str) -> Handshake:
        """Let an agent present the contract that it works by; its standing stays what it is."""
        return await self.contracts.handshake(
            agent, contract_id=contract_id, requirement=requirement, contract_hash=contract_hash
        )

    async def set_state(self, agent: str, state: Mapping[str, JsonValue]) -> None:
        """Say what holds for an agent in every flow; contexts that were compiled before are stale from here on."""
        await self._host.actor(GateActor, agent).ask(SetAgentState(state=dict(state)))

    # --- flows ----------------------------------------------------------------------------------

    def flow(self, run_id: str, input_id: str) -> Flow:
        """Return the flow of an input of a run."""
        return Flow(derived_id("gate-flow", run_id, input_id), run_id)

    async def compile(self, agent: str, flow: Flow, session: Mapping[str, JsonValue]) -> CompiledContext:
        """Put the session of a flow and the state of its agent together; the hash of it is recorded."""
        command = CompileContext(flow_id=flow.flow_id, root_id=flow.root_id, session=dict(session))
        compiled: CompiledContext = await self._host.actor(GateActor, agent).ask(command)
        return compiled

    async def reason(
        self, agent: str, flow: Flow, compiled: CompiledContext, model: Model, *, attempt: int = 1
    ) -> Proposed | CycleFailure:
        """Have a model go through one cycle for an agent; a cycle that comes to nothing is recorded."""
        contract = self.contracts.contract_of(agent)
        if contract is None:
            failed = CycleFailure("no_contract", "the agent has shaken no hand")
        else:
            try:
                said = await propose(model, compiled.context, compiled.context_hash, contract)
            except Exception as error:  # an endpoint that is down, say
                said = CycleFailure("model_failed", type(error).__name__)
            if isinstance(said, Proposed):
                return said
            failed = said
        command = FailCycle(
            flow_id=flow.flow_id, root_id=flow.root_id, attempt=attempt, code=failed.code, detail=failed.detail[:2_000]
        )
        await self._host.actor(GateActor, agent).ask(command)
        return failed

    async def submit(
        self,
        agent: str,
        flow: Flow,
        proposal: object,
        *,
        token: str | None,
        step_id: str = "main",
        attempt: int = 1,
        explanation: Mapping[str, JsonValue] | None = None,
        command_id: str | None = None,
    ) -> Answer:
        """Propose something, and return what the gate makes of it; what was accepted has been executed, once.

        `proposal` may be anything: what is none is rejected, and that is journaled. The answer to an agent waits until
        its monitors have seen what it executed before. It does not wait for a person: where one is asked, it is
        ESCALATE with the id of the open request, and the proposal is executed if and when that is granted.
        """
        value, problem = sanitised(proposal)
        command = Submit(
            flow_id=flow.flow_id,
            root_id=flow.root_id,
            step_id=step_id,
            attempt=attempt,
            proposal=value,
            problem=problem,
            explanation=None if explanation is None else dict(explanation),
            token_hash=None if token is None else token_hash(token),
        )
        contract = self.contracts.contract_of(agent)
        if contract is None or contract.escalate_to is None:
            return await self._asked(agent, command, command_id)
        return await self._answer_or_wait(agent, command, command_id or new_id())

    async def _asked(self, agent: str, command: Submit, command_id: str | None) -> Answer:
        answer: Answer = await self._host.actor(GateActor, agent).ask(command, id=command_id, by=agent)
        return answer

    async def _answer_or_wait(self, agent: str, command: Submit, command_id: str) -> Answer:
        """Return the answer of a turn, or as soon as it waits for a person what it has said so far."""
        waiting = self._waits_for_a_person(f"{GateActor.actor_type}/{agent}", command_id)
        # What is cancelled on the way out is the wait, never the turn.
        async with awaiting(self._asked(agent, command, command_id)) as asked, awaiting(waiting) as waits:
            await asyncio.wait({asked, waits}, return_when=asyncio.FIRST_COMPLETED)
            if waits.done() and not asked.done() and waits.exception() is None:
                return waits.result()
            return await asked

    async def _waits_for_a_person(self, journal: str, command_id: str) -> Answer:
        while True:
            committed = self._committed
            rows = await self._host.queries.fetch(_WAITS, (journal, command_id), names=("approvals", "traces"))
            trace = await self._host.traces.get(rows[0]["decision_id"]) if rows else None
            asked = None if trace is None else next((each for each in trace.approvals if each.pending), None)
            if trace is not None and asked is not None and (trace.journal, trace.command_id) == (journal, command_id):
                decision = trace.decision
                said: Any = {**decision.context, **decision.outcome}
                return Answer(
                    verdict=said["verdict"],
                    code=said["code"],
                    flow_id=said["flow_id"],
                    why="" if decision.evaluation is None else decision.evaluation.why,
                    decision_id=decision.decision_id,
                    idempotency_key=said["idempotency_key"],
                    approval_id=asked.approval_id,
                )
            await committed.wait()

    def _note_commit(self, _: int) -> None:
        committed, self._committed = self._committed, asyncio.Event()
        committed.set()

    async def _know(self, agent: str, flow_id: str, token: str | None, key: str) -> Known:
        await self._host.reactors.reached()
        wanted = {"flow": flow_id, "key": key, "limit": _MOST_REJECTIONS}
        rows = await self._host.queries.fetch(_KNOWN, wanted, names=_NAMES)
        rejections, executed = await self._confirmed(flow_id, key, [row["position"] for row in rows])
        return Known(
            standing=self._host.standings.of(agent).standing,
            contract=self.contracts.contract_of(agent),
            token_valid=self.contracts.holds(agent, token),
            rejections=rejections,
            executed=executed,
        )

    async def _confirmed(self, flow_id: str, key: str, positions: Sequence[int]) -> tuple[int, JsonValue]:
        """Return how often a flow was rejected and what was executed under a key, by the entries at some positions."""
        rejections, executed = 0, None
        doubted: list[int] = []
        found = await self._host.store.at(positions) if positions else {}
        for position in positions:
            entry = found[position].entry if position in found else None
            if isinstance(entry, ExecutedEntry) and entry.idempotency_key == key:
                executed = _done(entry)
            elif isinstance(entry, ValidatedEntry) and entry.flow_id == flow_id and is_reasoned_rejection(entry):
                rejections += 1
            else:
                doubted.append(position)
        if doubted:
            _log.error("gate_view_not_confirmed", flow_id=flow_id, idempotency_key=key, positions=doubted)
        return rejections, executed

    async def _searched(self, agent: str, key: str) -> JsonValue:
        """Return what an agent's journal says was executed under a key; that takes a look at all of it."""
        _log.error("gate_view_not_confirmed", idempotency_key=key, agent=agent, expected="an execution")
        async for recorded in self._host.store.read(f"{GateActor.actor_type}/{agent}"):
            entry = recorded.entry if recorded.kind == ExecutedEntry.kind else None
            if isinstance(entry, ExecutedEntry) and entry.idempotency_key == key:
                return _done(entry)
        return None


def _done(entry: ExecutedEntry) -> dict[str, JsonValue]:
    return {"decision_id": entry.decision_id, "result": entry.result}
