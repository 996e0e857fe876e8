"""The actor of one client: it runs circuits, alone or in a chain, and writes down which way it went."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, JsonValue

from loom.actors import Actor
from loom.circuits.chain import ChainReply, RunChain, Step, StepReply
from loom.circuits.definition import Circuit, Result
from loom.circuits.entries import (
    ChainEndedEntry,
    CircuitEnteredEntry,
    CircuitFailedEntry,
    CircuitSucceededEntry,
    Provenance,
    SubstitutedEntry,
)
from loom.circuits.failing import Failure, absorb, outcome_of
from loom.circuits.inputs import (
    GONE,
    Found,
    check_inputs,
    check_outputs,
    check_room,
    check_step,
    inputs_of,
    is_secret,
    problem_of,
    protected_of,
    size_of,
)
from loom.errors import AdmissionError, ErasedError, LookupFailedError, NotReplayableError
from loom.journal.entry import Entry
from loom.policies import Evaluation
from loom.sealing import Fields, is_sealed

__all__ = ["CircuitActor", "Judged", "Wiring"]

_FAILURES = 3


class Judged(NamedTuple):
    """The version that a circuit is registered as, and what it says about an execution."""

    version: str
    evaluation: Evaluation


class Wiring(NamedTuple):
    """What the actor leans on: the circuits that are registered, their versions, and escalations."""

    circuit: Callable[[str], Circuit | None]
    version: Callable[[Circuit], str]
    judge: Callable[[Circuit, Mapping[str, Any]], Judged]
    escalate: Callable[[str, str, Mapping[str, JsonValue], str], Awaitable[str]]
    fields: Fields
    most_bytes: int
    """Of an entry: what a circuit comes to has to fit into one, and what a chain comes to as well."""
    raw: dict[tuple[str, str], dict[tuple[int, str], JsonValue]]
    """Values as they are, by client and execution, then place and name: while it runs, as they are written nowhere."""


class ClientState(BaseModel):
    """What a client's circuits lean on: their last outputs, and how often each has failed in a row."""

    last: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)


class CircuitActor(Actor[ClientState]):
    """Runs the circuits of one client."""

    actor_type = "circuits"

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

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
                execution_id=command.execution_id, client_id=command.client_id,
                circuits=tuple(reply.circuit_id for reply in results), success=success, confidence=confidence,
                decision_path=path, latency_ms=round(sum(reply.latency_ms for reply in results), 3),
            )
        )  # fmt: skip
        return ChainReply(
            execution_id=command.execution_id, success=success, confidence=confidence, results=tuple(results),
            total_decision_path=path,
        )  # fmt: skip

    @property
    def _room(self) -> int:
        """How many bytes values may take up in an entry: there are other things in it."""
        return self._wiring.most_bytes * 3 // 4

    def apply(self, entry: Entry) -> None:
        """Fold what succeeded last, and failures in a row."""
        if isinstance(entry, CircuitSucceededEntry):
            self.state.failures.pop(entry.circuit_id, None)
            if not entry.substituted:
                self.state.last[entry.circuit_id] = entry.outputs
        elif isinstance(entry, CircuitFailedEntry):
            self.state.failures[entry.circuit_id] = self.state.failures.get(entry.circuit_id, 0) + 1

    # --- one circuit ----------------------------------------------------------------------------

    async def _step(self, command: RunChain, place: int, step: Step, found: dict[str, Found], room: int) -> StepReply:
        circuit = self._wiring.circuit(step.circuit_id)
        if circuit is None:
            reason = f"circuit [{step.circuit_id}] is not registered"
            return await self._failed(command, step.circuit_id, "unknown_circuit", reason, None, 0.0, {})
        check_step(circuit, step)
        inputs, provenance = inputs_of(circuit, command, step, found)
        definition = circuit.definition
        too_large = _problem_of(partial(check_room, "inputs", inputs, self._room))
        await self.record(
            CircuitEnteredEntry(
                execution_id=command.execution_id, place=place, circuit_id=definition.circuit_id,
                version=self._wiring.version(circuit), inputs={} if too_large else inputs, provenance=provenance,
                protected=protected_of(definition, provenance),
            )
        )  # fmt: skip
        if too_large is not None:
            return await self._failed(command, definition.circuit_id, "failed", too_large, circuit, 0.0, provenance)
        missing = [name for name in definition.inputs if name not in provenance]
        if missing:
            reason = f"input [{', '.join(missing)}] of [{definition.circuit_id}] is missing"
            return await self._failed(command, definition.circuit_id, "missing_input", reason, None, 0.0, provenance)
        raw = self._raw(command, place, step, inputs, provenance, found)
        secret = is_secret(definition, step, inputs, provenance, found)
        ran = await self._run(command, place, circuit, raw, secret=secret, room=room)
        if ran["problem"] is not None and ran["outputs"] is None:
            return await self._failed(
                command, definition.circuit_id, "failed", ran["problem"], circuit, ran["latency_ms"], provenance
            )
        return await self._succeeded(command, place, circuit, ran, provenance, found)

    def _opened(self, client_id: str, last: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue] | None:
        """Return what was last said, opened; None where it is erased, as if it had never been said."""
        try:
            return None if last is None else self._wiring.fields.reveal(last, subject=client_id)
        except ErasedError:
            return None

    def _raw(
        self,
        command: RunChain,
        place: int,
        step: Step,
        inputs: Mapping[str, JsonValue],
        provenance: Provenance,
        found: Mapping[str, Found],
    ) -> dict[str, Any]:
        """Return inputs as they are: as they came, as an earlier step found them, or opened; what is gone is `GONE`.

        What was masked, hashed or dropped lives in memory only: it is gone for a turn that is resumed.
        """
        came = self._wiring.raw.get((command.client_id, command.execution_id), {})
        raw: dict[str, Any] = {}
        for name, where in provenance.items():
            earlier = found.get(name)
            is_earlier = earlier is not None and where == earlier.where
            key = earlier.key if earlier is not None and is_earlier else (place, name)
            lost = earlier.lost if earlier is not None and is_earlier else name in step.unwritten
            raw[name] = came[key] if key in came else GONE if lost else inputs[name]
        self._check_not_erased(command.client_id, raw)
        return raw

    def _check_not_erased(self, client_id: str, inputs: Mapping[str, Any]) -> None:
        """Refuse to go on, or to be replayed, on what nobody can read any more."""
        try:
            if any(is_sealed(value) for value in inputs.values()):
                self._wiring.fields.erasures.check(client_id)
        except ErasedError as error:
            raise NotReplayableError(str(error), reason="erased") from error

    async def _run(
        self, command: RunChain, place: int, circuit: Circuit, inputs: Mapping[str, Any], *, secret: bool, room: int
    ) -> dict[str, Any]:
        """Run the circuit, and its failure mode where it fails, as one look-up: resumed, neither runs again."""
        told = partial(problem_of, secret=secret)
        last = self.state.last.get(circuit.definition.circuit_id)

        async def work() -> dict[str, Any]:
            began = time.perf_counter()
            given = self._wiring.fields.reveal(inputs, subject=command.client_id)
            try:
                check_inputs(given)
                result = await outcome_of(circuit.run, given)
                written = self._written(command, place, circuit, result, room)
                return {"problem": None, **written, "latency_ms": _ms(began)}
            except Exception as error:
                failure = Failure(given, told(error), self._opened(command.client_id, last), told)
                written = await self._absorbed(command, place, circuit, failure, room)
                return {**written, "latency_ms": _ms(began)}

        try:
            ran: dict[str, Any] = await self.gather_context(
                system="circuit", entity=circuit.definition.circuit_id, query=f"{command.execution_id} {place}",
                fetcher=work,
            )  # fmt: skip
        except LookupFailedError as error:
            return {"problem": f"{error.type_name}: {error.message}"[:500], "outputs": None, "latency_ms": 0.0}
        return ran

    async def _absorbed(
        self, command: RunChain, place: int, circuit: Circuit, failure: Failure, room: int
    ) -> dict[str, Any]:
        """Return what a failure mode makes of a failure, if that can be written, and what is said of it."""
        absorbed = await absorb(circuit, failure)
        if absorbed is None:
            return {"problem": failure.problem, "outputs": None}
        try:
            written = self._written(command, place, circuit, absorbed.result, room)
        except Exception as error:
            return {"problem": f"{failure.problem}; instead: {failure.told(error)}", "outputs": None}
        return {"problem": absorbed.reason, **written}

    def _written(self, command: RunChain, place: int, circuit: Circuit, result: Result, room: int) -> dict[str, Any]:
        """Keep outputs as they are for the steps to come, and return them as they may be written, if they may."""
        check_outputs(circuit, result)
        protected = self._wiring.fields.protect(result.outputs, circuit.definition.fields, subject=command.client_id)
        check_room("outputs", protected.values, room)
        kept = self._wiring.raw.get((command.client_id, command.execution_id))
        if kept is not None:
            kept.update({(-place, name): value for name, value in result.outputs.items()})
        return {"outputs": protected.values, "masked": list(protected.changed), "confidence": result.confidence}

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
                    execution_id=command.execution_id, circuit_id=definition.circuit_id,
                    failure_mode=definition.failure_mode, reason=ran["problem"], outputs=outputs, confidence=confidence,
                )
            )  # fmt: skip
        judged = self._wiring.judge(circuit, {"confidence": _decimal(confidence), "failed": False})
        band: Any = judged.evaluation.rule
        await self.record(
            CircuitSucceededEntry(
                execution_id=command.execution_id, circuit_id=definition.circuit_id, outputs=outputs,
                confidence=confidence, band=band, latency_ms=ran["latency_ms"], substituted=substituted,
                protected=protected_of(definition, ran["masked"]),
            )
        )  # fmt: skip
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
            circuit_id=definition.circuit_id, success=True, data=outputs, confidence=confidence,
            latency_ms=ran["latency_ms"],
            substituted=substituted, error=ran["problem"], provenance=provenance,
            decision_trace=(f"ENTER:{definition.circuit_id}", f"SUCCESS:{definition.circuit_id}"),
        )  # fmt: skip

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
        mode = None if circuit is None else circuit.definition.failure_mode
        before = self.state.failures.get(circuit_id, 0)
        await self.record(
            CircuitFailedEntry(
                execution_id=command.execution_id, circuit_id=circuit_id, failure_mode=mode, code=code, reason=reason,
                latency_ms=latency_ms,
            )
        )  # fmt: skip
        if circuit is not None:
            judged = self._wiring.judge(circuit, {"confidence": "0", "failed": True})
            await self._decide(command, circuit, judged, 0.0, {"success": False, "reason": reason})
            if mode == "escalate_to_admin":
                await self._escalate(command, circuit_id, "failed", reason)
            elif before + 1 >= _FAILURES:
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

    async def _decide(
        self, command: RunChain, circuit: Circuit, judged: Judged, confidence: float, outcome: Mapping[str, Any]
    ) -> None:
        await self.record_decision(
            decision_type="circuit_execution",
            rationale=f"{circuit.definition.purpose}: {judged.evaluation.why}",
            outcome=outcome,
            facts={"confidence": _decimal(confidence), "failed": not outcome["success"]},
            evaluation=judged.evaluation,
            policy=judged.version,
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
            "client_id": command.client_id, "circuit_id": circuit_id, "execution_id": command.execution_id,
        }  # fmt: skip
        cause = f"{command.client_id}/{circuit_id}/{what}"
        await self.perform(
            action=f"escalate {what}",
            effect=lambda key: self._wiring.escalate(cause, reason, about, key),
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


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1_000, 3)
