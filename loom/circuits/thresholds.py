"""Which version an execution is judged under: the circuit's definition, with the thresholds that a person adopted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loom.circuits.definition import Circuit
from loom.policies import Evaluation
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.telemetry import get_logger

__all__ = ["Thresholds"]

_THRESHOLDS = frozenset({"act_above", "escalate_below"})

_log = get_logger("loom.circuits")


class Thresholds:
    """The versions of circuits. Registering a definition adopts nothing: what is adopted, a person has adopted."""

    def __init__(self, policies: PolicyRegistry, *, by: str) -> None:
        self._policies = policies
        self._by = by

    async def version(self, circuit: Circuit) -> str:
        """Return the hash of the version that an execution of a circuit is judged under from now on.

        It is the adopted one where that is of the definition at hand. Where the definition has changed since, the
        adopted thresholds go with the new one: that version is registered, and what ran is known for ever.
        """
        adopted = self._policies.adopted(circuit.policy.name)
        if adopted is None:
            return circuit.policy.version_hash
        if _definition(adopted.document) == _definition(circuit.policy.document):
            return adopted.hash
        values = _thresholds(adopted)
        if values.keys() != _THRESHOLDS:
            _log.warning(
                "adopted_thresholds_missing",
                circuit=circuit.definition.circuit_id,
                version=adopted.version,
                expected="act_above and escalate_below among its parameters: the circuit's own count",
            )
            return circuit.policy.version_hash
        both = circuit.policy.with_params(**values)
        return (await self._policies.register_code(both, by=self._by, reason="a circuit")).hash

    def judge(self, version: str, facts: Mapping[str, Any]) -> Evaluation:
        """Return what a version says of facts; it is a table, and so needs no code."""
        return self._policies.runnable(self._policies.resolve(version)).evaluate(facts)


def _definition(document: Mapping[str, Any]) -> dict[str, object]:
    """Return what a document says of the circuit: all of its parameters but the thresholds."""
    parameters = document.get("parameters")
    listed = parameters.items() if isinstance(parameters, Mapping) else ()
    return {name: each.get("value") for name, each in listed if name not in _THRESHOLDS}


def _thresholds(version: PolicyVersion) -> dict[str, Any]:
    parameters: Any = version.document.get("parameters", {})
    return {name: each["value"] for name, each in parameters.items() if name in _THRESHOLDS}
