"""Running one circuit: on its inputs as they are, by its failure mode where it fails; what may be written of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.circuits.chain import RunChain, Step
from loom.circuits.definition import Circuit, Result
from loom.circuits.dependencies import Dependencies
from loom.circuits.entries import Provenance
from loom.circuits.failing import Failure, apply_failure_mode, outcome_of
from loom.circuits.inputs import REDACTED, Found, check_inputs, check_outputs, check_room, earlier_of, problem_of
from loom.errors import ErasedError, NotReplayableError
from loom.sealing import Withheld, is_sealed
from loom.sealing.markers import placeholder_of

__all__ = ["Attempt", "Given", "raw_inputs"]


class Given(NamedTuple):
    """What a step of a chain is given: its inputs as they are written, and where each came from."""

    place: int
    circuit: Circuit
    step: Step
    inputs: Mapping[str, JsonValue]
    provenance: Provenance
    found: Mapping[str, Found]


def raw_inputs(dependencies: Dependencies, command: RunChain, given: Given) -> dict[str, Any]:
    """Return inputs as they are: as they came, as an earlier step found them, or sealed; what is gone is `REDACTED`.

    What was masked, hashed or dropped lives in memory only: it is gone for a turn that is resumed. Raises
    `NotReplayableError` for what can no longer be read.
    """
    came = dependencies.raw.get((command.client_id, command.execution_id), {})
    raw: dict[str, Any] = {}
    for name, where in given.provenance.items():
        earlier = earlier_of(given.circuit.definition, name, where, given.found)
        key = (given.place, name) if earlier is None else earlier.key
        lost = name in given.step.unwritten if earlier is None else earlier.lost
        raw[name] = came[key] if key in came else REDACTED if lost else given.inputs[name]
    try:
        for value in raw.values():
            if is_sealed(value):
                dependencies.fields.erasures.check(command.client_id, generation=value.get("generation", 0))
    except ErasedError as error:
        raise NotReplayableError(str(error), reason="erased") from error
    return raw


@dataclass(frozen=True)
class Attempt:
    """One circuit on its inputs. `last` is what it last came to, `room` how many bytes its outputs may take up."""

    dependencies: Dependencies
    client_id: str
    execution_id: str
    place: int
    circuit: Circuit
    inputs: Mapping[str, Any]
    last: Mapping[str, JsonValue] | None
    is_secret: bool
    room: int

    async def run(self) -> dict[str, Any]:
        """Run the circuit, and its failure mode where it fails; return what may be written of it."""
        began = time.perf_counter()
        given = await self.dependencies.fields.reveal(self.inputs, subject=self.client_id)
        try:
            check_inputs(given)
            result = await outcome_of(self.circuit.run, given)
            return {"problem": None, **await self._written(result), "latency_ms": _ms(began)}
        except Exception as error:
            failure = Failure(given, self._in_words(error), await self._opened(), self._in_words)
            return {**await self._apply_failure_mode(failure), "latency_ms": _ms(began)}

    async def _apply_failure_mode(self, failure: Failure) -> dict[str, Any]:
        """Return what a failure mode makes of a failure, if that can be written, and what is said of it."""
        applied = await apply_failure_mode(self.circuit, failure)
        if applied is None:
            return {"problem": failure.problem, "outputs": None}
        try:
            written = await self._written(applied.result)
        except Exception as error:
            return {"problem": f"{failure.problem}; instead: {failure.in_words(error)}", "outputs": None}
        return {"problem": applied.reason, **written}

    async def _written(self, result: Result) -> dict[str, Any]:
        """Keep outputs as they are for the steps to come, and return them as they may be written, if they may."""
        check_outputs(self.circuit, result)
        fields = self.dependencies.fields
        handling, names = self.circuit.definition.fields, (self.execution_id,)
        protected = await fields.protect(result.outputs, handling, subject=self.client_id, names=names)
        check_room("outputs", protected.values, self.room)
        kept = self.dependencies.raw.get((self.client_id, self.execution_id))
        if kept is not None:
            kept.update({(-self.place, name): value for name, value in result.outputs.items()})
        return {"outputs": protected.values, "masked": list(protected.changed), "confidence": result.confidence}

    async def _opened(self) -> Mapping[str, JsonValue] | None:
        """Return what it last came to, opened; None where that is erased or was not kept, as if it was never said."""
        if self.last is None or any(isinstance(placeholder_of(each), Withheld) for each in self.last.values()):
            return None
        try:
            return await self.dependencies.fields.reveal(self.last, subject=self.client_id)
        except ErasedError:
            return None

    @property
    def _in_words(self) -> Any:
        return partial(problem_of, secret=self.is_secret)


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1_000, 3)
