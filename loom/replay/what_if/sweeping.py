"""A sweep: the effects of all cases for several values of one parameter, to find the value that would have spared most.

The effects can change only at values that some case has, so the values that are tried lie there, spread evenly over the
cases, within the bounds of the parameter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from loom.errors import AdmissionError, PolicyTableError
from loom.policies.tables.compiled import UNUSABLE, reader_of
from loom.policies.tables.layout import ParameterRef, Scalar, TableFact, read
from loom.policies.tables.table import Table
from loom.replay.what_if.bits import Shape
from loom.replay.what_if.columns import Alive
from loom.replay.what_if.results import Sweep, SweepPoint
from loom.replay.what_if.saying import Saying
from loom.replay.what_if.trial import Trial

__all__ = ["sweep"]

_POINTS = 33


def sweep(trial: Trial, edited: Table, parameter: str, *, points: int = _POINTS, alive: Alive) -> Sweep:
    """Return the effects for at most `points` values of a parameter of numbers, and for its present value.

    Raises `AdmissionError` for a parameter that the table does not have, or that is not a number.
    """
    trial.check(edited)
    given = edited.layout.parameters.get(parameter)
    if given is None or given.type not in ("integer", "decimal"):
        numbers = [name for name, each in edited.layout.parameters.items() if each.type in ("integer", "decimal")]
        raise AdmissionError(
            f"parameter [{parameter}] is no number of table [{edited.name}]; expected one of [{', '.join(numbers)}]: "
            "name one"
        )
    values = _spread(sorted(_candidates(trial, edited, parameter)), points, keep=read(given.type, given.value))
    found = []
    for value in values:
        alive()
        written: Scalar = value if given.type == "integer" else format(value, "f")
        other = _with(edited, parameter, written)
        if other is None:
            continue
        found.append(SweepPoint(value=written, effects=_effects(trial, other, alive)))
    return Sweep(parameter=parameter, points=tuple(found))


def _with(table: Table, parameter: str, value: Scalar) -> Table | None:
    """Return the table with another value of a parameter; None if it is no table then, as a range ends too early."""
    written = table.written()
    written["parameters"][parameter]["value"] = value
    try:
        return Table.of(written, checked=False)
    except PolicyTableError:
        return None


def _effects(trial: Trial, table: Table, alive: Alive) -> dict[str, int]:
    shape = Shape(table.layout)
    fails = trial.bits.of(shape, alive)
    saying, effects = Saying(table, shape, trial.columns), Counter[str]()
    for (code, bits), cases in Counter(zip(trial.columns.recorded_codes, fails, strict=True)).items():
        said = saying.said(code, bits, fails)
        if said.label is not None:
            effects[said.label.partition(":")[0]] += cases
    return dict(sorted(effects.items()))


def _candidates(trial: Trial, table: Table, parameter: str) -> set[Any]:
    """Return the values of the facts that the parameter is compared with, within its bounds, and its bounds."""
    given = table.layout.parameters[parameter]
    facts = {
        condition.fact
        for row in table.layout.rows
        for condition in row.when
        if any(isinstance(each, ParameterRef) and each.param == parameter for each in condition.operands)
    }
    found = {read(given.type, each) for each in (given.value, given.min, given.max) if each is not None}
    for name in facts:
        found.update(_usable(table.layout.facts[name], trial.columns.facts[name].values))
    low = None if given.min is None else read(given.type, given.min)
    high = None if given.max is None else read(given.type, given.max)
    return {each for each in found if (low is None or each >= low) and (high is None or each <= high)}


def _usable(fact: TableFact, values: Iterable[Any]) -> set[Any]:
    reader = reader_of(fact)
    return {each for each in map(reader, values) if each is not UNUSABLE}


def _spread(values: list[Any], most: int, *, keep: Any) -> list[Any]:
    """Return at most `most` values, evenly by their rank, with the first, the last and `keep`."""
    if len(values) <= most:
        return values
    step = (len(values) - 1) / (most - 1)
    return sorted({values[round(number * step)] for number in range(most)} | {keep})
