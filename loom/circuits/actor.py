"""The actor of one client: it runs circuits, alone or in a chain, and writes down which way it went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from pydantic import BaseModel, Field, JsonValue

from loom.actors import Actor
from loom.actors.turn_context import current_turn
from loom.circuits.chain import ChainReply, RunChain, Step, StepReply
from loom.circuits.definition import Circuit
from loom.circuits.dependencies import Dependencies, band_of
from loom.circuits.entries import (
    ChainEndedEntry,
    CircuitEnteredEntry,
    CircuitFailedEntry,
    CircuitSucceededEntry,
    Provenance,
    SubstitutedEntry,
)
from loom.circuits.inputs import (
    Found,
    check_room,
    check_step,
    inputs_of,
    is_secret,
    named_step,
    protected_of,
    size_of,
)
from loom.circuits.running import Attempt, Given, raw_inputs
from loom.errors import AdmissionError, LookupFailedError
from loom.journal.entry import Entry
from loom.journal.entry import Step as TurnStep
from loom.policies import Evaluation
from loom.sealing import is_sealed

__all__ = ["CircuitActor"]

_FAILURES = 3


class ClientState(BaseModel):
    """What a client's circuits start from: their last outputs, and how often each has failed in a row."""

    last: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    """The version that each was entered under last: an execution ends under the one that it began with."""


class CircuitActor(Actor[ClientState]):
    """Runs the circuits of one client."""

    actor_type = "circuits"
    state_version = 2

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    async def execute(self, command: RunChain) -> ChainReply:
        """Run the chain until its end, or until a circuit fails for good."""
        if command.client_id != self.key:
            raise AdmissionError(f"client [{command.client_id:.80}] is not the one of this journal: send it to theirs")
        found: dict[str, Found] = {}
        results: list[StepReply] = []
        room = self._room
        for place, step in enumerate(command.steps, start=1):
            reply = await self._step(command, place, step, found, room)
            results.append(reply)
            room -= size_of(reply.data)
            if not reply.success:
                break
        path = tuple(token for reply in results for token in reply.decision_trace)
        success = len(results) == len(command.steps) and results[-1].success
        confidence = min(reply.confidence for reply in results)
        await self.record(
            ChainEndedEntry(
                execution_id=command.execution_id,
                client_id=command.client_id,
                circuits=tuple(reply.circuit_id for reply in results),
                success=success,
                confidence=confidence,
                decision_path=path,
                latency_ms=round(sum(reply.latency_ms for reply in results), 3),
            )
        )
        return ChainReply(
            execution_id=command.execution_id,
            success=success,
            confidence=confidence,
            results=tuple(results),
            total_decision_path=path,
        )

    @property
    def _room(self) -> int:
        """How many bytes values may take up in an entry: there are other things in it."""
        return self._dependencies.most_bytes * 3 // 4

    def apply(self, entry: Entry) -> None:
        """Fold what succeeded last, and failures in a row."""
        if isinstance(entry, CircuitEnteredEntry):
            self.state.versions[entry.circuit_id] = entry.version
        elif isinstance(entry, CircuitSucceededEntry):
            self.state.failures.pop(entry.circuit_id, None)
            if not entry.substituted:
                self.state.last[entry.circuit_id] = entry.outputs
        elif isinstance(entry, CircuitFailedEntry):
            self.state.failures[entry.circuit_id] = self.state.failures.get(entry.circuit_id, 0) + 1

    # --- one circuit ----------------------------------------------------------------------------

    async def _step(self, command: RunChain, place: int, step: Step, found: dict[str, Found], room: int) -> StepReply:
        circuit = self._dependencies.circuit(step.circuit_id)
        if circuit is None:
            reason = f"circuit [{step.circuit_id}] is not registered"
            return await self._failed(command, step.circuit_id, "unknown_circuit", reason, None, 0.0, {})
        definition, step = circuit.definition, named_step(circuit.definition, step)
        if current_turn(self, "record").recorded_steps is None:  # else it was held against the definition of its time
            check_step(circuit, step, self.key)
        inputs, provenance = inputs_of(circuit, command, step, found)
        too_large = _problem_of(partial(check_room, "inputs", inputs, self._room))
        version = self._pinned(place) or await self._dependencies.version(circuit)
        await self.record(
            CircuitEnteredEntry(
                execution_id=command.execution_id,
                place=place,
                circuit_id=definition.circuit_id,
                version=version,
                inputs={} if too_large else inputs,
                provenance=provenance,
                protected=protected_of(definition, provenance, inputs),
            )
        )
        if too_large is not None:
            return await self._failed(command, definition.circuit_id, "failed", too_large, circuit, 0.0, provenance)
        missing = [name for name in definition.inputs if name not in provenance]
        if missing:
            reason = f"input [{', '.join(missing)}] of [{definition.circuit_id}] is missing"
            return await self._failed(command, definition.circuit_id, "missing_input", reason, circuit, 0.0, provenance)
        raw = raw_inputs(self._dependencies, command, Given(place, circuit, step, inputs, provenance, found))
        secret = is_secret(definition, step, inputs, provenance, found)
        last = self.state.last.get(definition.circuit_id)
        attempt = Attempt(
            self._dependencies,
            command.client_id,
            command.execution_id,
            place,
            circuit,
            raw,
            last,
            is_secret=secret,
            room=room,
        )
        ran = await self._run(attempt)
        if ran["problem"] is not None and ran["outputs"] is None:
            return await self._failed(
                command, definition.circuit_id, "failed", ran["problem"], circuit, ran["latency_ms"], provenance
            )
        return await self._succeeded(command, place, circuit, ran, provenance, found)

    def _pinned(self, place: int) -> str | None:
        """Return the version that this step was entered under, where that was recorded: the turn keeps to it."""
        steps = current_turn(self, "record").recorded_steps
        # What is not registered is never entered, and ends its chain: the nth step is the nth that was entered.
        entered = None if steps is None else steps.peek(TurnStep("record", CircuitEnteredEntry.kind, place - 1), "end")
        return entered.entry.version if entered is not None and isinstance(entered.entry, CircuitEnteredEntry) else None

    async def _run(self, attempt: Attempt) -> dict[str, Any]:
        """Run the circuit, and its failure mode where it fails, as one look-up: resumed, neither runs again."""
        try:
            ran: dict[str, Any] = await self.gather_context(
                system="circuit",
                entity=attempt.circuit.definition.circuit_id,
                query=f"{attempt.execution_id} {attempt.place}",
                fetcher=attempt.run,
            )
        except LookupFailedError as error:
            return {"problem": f"{error.type_name}: {error.message}"[:500], "outputs": None, "latency_ms": 0.0}
        return ran

    async def _succeeded(
        self,
        command: RunChain,
        place: int,
        circuit: Circuit,
        ran: Mapping[str, Any],
        provenance: Provenance,
        found: dict[str, Found],
    ) -> StepReply:
        definition, outputs, confidence = circuit.definition, dict(ran["outputs"]), float(ran["confidence"])
        substituted = ran["problem"] is not None
        if substituted:
            await self.record(
                SubstitutedEntry(
                    execution_id=command.execution_id,
                    circuit_id=definition.circuit_id,
                    failure_mode=definition.failure_mode,
                    reason=ran["problem"],
                    outputs=outputs,
                    confidence=confidence,
                )
            )
        judged = self._judged(circuit, confidence, failed=False)
        band = band_of(judged)
        await self.record(
            CircuitSucceededEntry(
                execution_id=command.execution_id,
                circuit_id=definition.circuit_id,
                outputs=outputs,
                confidence=confidence,
                band=band,
                latency_ms=ran["latency_ms"],
                substituted=substituted,
                protected=protected_of(definition, ran["masked"], outputs),
            )
        )
        await self._decide(command, circuit, judged, confidence, {"success": True, "band": band, "outputs": outputs})
        if band == "escalate":
            await self._escalate(command, definition.circuit_id, "low_confidence", f"confidence is {confidence:g}")
        lost = {name for name in ran["masked"] if not is_sealed(outputs.get(name))}
        for name in (*outputs, *(lost - set(outputs))):
            for known_as in (name, *definition.aliases.get(name, ())):
                found[known_as] = Found(
                    f"{definition.circuit_id}.{name}", outputs.get(name), (-place, name), name in lost
                )
        return StepReply(
            circuit_id=definition.circuit_id,
            success=True,
            data=outputs,
            confidence=confidence,
            latency_ms=ran["latency_ms"],
            substituted=substituted,
            error=ran["problem"],
            provenance=provenance,
            decision_trace=(f"ENTER:{definition.circuit_id}", f"SUCCESS:{definition.circuit_id}"),
        )

    async def _failed(
        self,
        command: RunChain,
        circuit_id: str,
        code: Any,
        reason: str,
        circuit: Circuit | None,
        latency_ms: float,
        provenance: Provenance,
    ) -> StepReply:
        acts = circuit is not None and code == "failed"
        mode = circuit.definition.failure_mode if circuit is not None and acts else None
        before = self.state.failures.get(circuit_id, 0)
        await self.record(
            CircuitFailedEntry(
                execution_id=command.execution_id,
                circuit_id=circuit_id,
                failure_mode=mode,
                code=code,
                reason=reason,
                latency_ms=latency_ms,
            )
        )
        if circuit is not None and acts:
            judged = self._judged(circuit, 0.0, failed=True)
            await self._decide(command, circuit, judged, 0.0, {"success": False, "reason": reason})
        if mode == "escalate_to_admin":
            await self._escalate(command, circuit_id, "failed", reason)
        elif circuit is not None and before + 1 >= _FAILURES:
            await self._escalate(command, circuit_id, "repeated_failure", f"it failed {before + 1} times in a row")
        trace = (f"ENTER:{circuit_id}", f"FAILED:{circuit_id}:{mode or code}")
        return StepReply(
            circuit_id=circuit_id,
            success=False,
            error=reason,
            code=code,
            latency_ms=latency_ms,
            provenance=provenance,
            decision_trace=trace,
        )

    def _judged(self, circuit: Circuit, confidence: float, *, failed: bool) -> Evaluation:
        """Return what the version says of an execution that it was entered under."""
        version = self.state.versions[circuit.definition.circuit_id]
        return self._dependencies.judge(version, {"confidence": _decimal(confidence), "failed": failed})

    async def _decide(
        self, command: RunChain, circuit: Circuit, judged: Evaluation, confidence: float, outcome: Mapping[str, Any]
    ) -> None:
        await self.record_decision(
            decision_type="circuit_execution",
            rationale=f"{circuit.definition.purpose}: {judged.why}",
            outcome=outcome,
            facts={"confidence": _decimal(confidence), "failed": not outcome["success"]},
            evaluation=judged,
            policy=self.state.versions[circuit.definition.circuit_id],
            confidence=confidence,
            inputs=(),
            context={
                "execution_id": command.execution_id,
                "client_id": command.client_id,
                "circuit_id": circuit.definition.circuit_id,
            },
        )

    async def _escalate(self, command: RunChain, circuit_id: str, what: str, reason: str) -> None:
        about: dict[str, JsonValue] = {
            "client_id": command.client_id,
            "circuit_id": circuit_id,
            "execution_id": command.execution_id,
        }
        cause = f"{command.client_id}/{circuit_id}/{what}"
        await self.perform(
            action=f"escalate {what}",
            effect=lambda key: self._dependencies.escalate(cause, reason, about, key),
            key=f"{command.execution_id} {circuit_id} {what}",
        )


def _problem_of(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ValueError as error:
        return str(error)
    return None


def _decimal(confidence: float) -> str:
    return format(Decimal(str(round(confidence, 6))), "f")
