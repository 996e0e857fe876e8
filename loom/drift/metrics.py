"""Metric drift, apart from the drift of patterns: completion rate, grant rate, and numeric parameters.

A metric is one figure for a window. It is compared with that of the other window by size alone, under the registered
policy `loom.metric-drift`: without a statistical test, and without classes. It decides nothing about the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from loom.decisions.runs import RunsView
from loom.drift.metric_rule import MetricDriftFacts, MetricSeverity, metric_drift
from loom.drift.reading import Selected, Tally, WindowReader
from loom.drift.report import Metrics, MetricShift
from loom.errors import PolicyNotRegisteredError, RunNotFoundError
from loom.identity import By
from loom.policies.canonical import untagged
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.projections import Queries

__all__ = ["MetricReading"]

_MOST = 100
_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?\Z")
_SEVERITIES: dict[str, MetricSeverity] = {"critical": "critical", "warning": "warning"}

_Kind: TypeAlias = Literal["rate", "parameter", "run parameter"]


@dataclass(frozen=True, slots=True)
class MetricReading:
    """Reads the metrics of two windows, and judges their change."""

    reader: WindowReader
    queries: Queries
    policies: PolicyRegistry

    async def compare(
        self, baseline: tuple[Selected, Tally], current: tuple[Selected, Tally], *, least: int, by: By
    ) -> Metrics:
        """Return how the metrics moved; a rate over fewer than `least` is shown and not judged."""
        version, rule = await self._rule(by)
        shifts = await self._rates(rule, baseline[0], current[0], least=least)
        kinds: tuple[tuple[_Kind, dict[str, float], dict[str, float]], ...] = (
            ("parameter", self._parameters(baseline[1]), self._parameters(current[1])),
            ("run parameter", await self._of_run(baseline[0]), await self._of_run(current[0])),
        )
        for kind, before, now in kinds:
            both = sorted(before.keys() & now.keys())[:_MOST]
            shifts += [_shift(rule, name, kind, before[name], now[name]) for name in both]
        parameters: Any = dict(rule.parameters)
        return Metrics(judged=version.version, parameters=parameters, shifts=tuple(shifts))

    async def _rule(self, by: By) -> tuple[PolicyVersion, AnyPolicy]:
        self.policies.attach(metric_drift)
        version = self.policies.adopted(metric_drift.name)
        if version is None or not metric_drift.gives(version.document):
            own = await self.policies.ensure(metric_drift, by=by)
            version = self.policies.adopted(metric_drift.name) or own
        is_own = version.hash == metric_drift.version_hash
        return version, metric_drift if is_own else self.policies.runnable(version)

    async def _rates(self, rule: AnyPolicy, baseline: Selected, current: Selected, *, least: int) -> list[MetricShift]:
        before, now = await self.reader.rates(baseline), await self.reader.rates(current)
        found = []
        for name, (some, of) in before.items():
            later, of_later = now[name]
            if of and of_later:
                judge = rule if min(of, of_later) >= least else None
                found.append(_shift(judge, name, "rate", some / of, later / of_later, of=(of, of_later)))
        return found

    def _parameters(self, tally: Tally) -> dict[str, float]:
        """Return the numeric parameters of the versions that decided, each by how many decisions it made."""
        sums: dict[str, float] = {}
        weights: dict[str, int] = {}
        for reference, decisions in tally.versions:
            try:
                document = self.policies.resolve(reference.hash).document
            except PolicyNotRegisteredError:
                continue
            for name, value in _numbers(f"{reference.name}.", _values(document), text=True):
                sums[name] = sums.get(name, 0.0) + value * decisions
                weights[name] = weights.get(name, 0) + decisions
        return {name: sums[name] / weights[name] for name in sums}

    async def _of_run(self, selected: Selected) -> dict[str, float]:
        run_id = selected.window.run
        if run_id is None:
            return {}
        try:
            run = await RunsView(self.queries).get(run_id)
        except RunNotFoundError:  # decisions name it, but it was not started here
            return {}
        return dict(_numbers("", run.parameters, text=False))


def _shift(
    rule: AnyPolicy | None, name: str, kind: _Kind, before: float, now: float, *, of: tuple[int, int] | None = None
) -> MetricShift:
    change = None if before == 0 else (now - before) / abs(before)
    severity: MetricSeverity | None = None
    if rule is not None:
        # A value exactly at a limit counts as at it, whatever the rounding of binary fractions does to the quotient.
        facts = MetricDriftFacts(change=round(abs(change or 0.0), 9), from_nothing=before == 0 and now != 0)
        severity = _SEVERITIES.get(rule.evaluate(facts).rule, "stable")
    return MetricShift(name=name, kind=kind, baseline=before, current=now, change=change, severity=severity, of=of)


def _values(document: Mapping[str, Any]) -> Any:
    """Return the parameters of a version: a table has each with its value, a rule in Python has its model's."""
    if document.get("language") == "python":
        return untagged(document["parameters"]["values"])
    return {name: each.get("value") for name, each in (document.get("parameters") or {}).items()}


def _numbers(prefix: str, values: Any, *, text: bool) -> Iterator[tuple[str, float]]:
    """Yield the numbers among values by name, a dot reaching into objects; `text` takes decimals written as text."""
    for name, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}{name}.", value, text=text)
        elif (isinstance(value, int | float) and not isinstance(value, bool)) or (
            text and isinstance(value, str) and _DECIMAL.match(value)
        ):
            yield f"{prefix}{name}", float(value)
