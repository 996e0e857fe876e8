"""What a rule may depend on: the lists of pure functions, methods and attributes, and loom's own words.

They protect against accidents, not malice: the author of a rule is trusted, but may not notice a clock.
A name is allowed because of the object that it refers to, never because of its spelling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from loom.policies import cases
from loom.policies.evaluation import Evaluation, RuleMiss

__all__ = ["ATTRIBUTES", "BUILTINS", "METHODS", "SEMANTICS", "SET_READERS", "WORDS", "total"]

SEMANTICS = 1
"""The meaning of the tree, of loom's words and of the functions below. A change of meaning needs a higher number."""

MAX_RANGE = 100_000


def total(values: Iterable[Any], /, start: Any = 0) -> Any:
    """Add from left to right: Python's own `sum` rounds floats differently from 3.12 on."""
    for value in values:
        start = start + value
    return start


def bounded_range(*bounds: int) -> range:
    """Return a range of at most 100 000 numbers, so that a rule ends."""
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise ValueError(f"range has [{len(numbers)}] numbers; expected at most [{MAX_RANGE}]")
    return numbers


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS: Mapping[str, object] = MappingProxyType(
    {
        "abs": abs,
        "all": all,
        "any": any,
        "bool": bool,
        "divmod": divmod,
        "enumerate": enumerate,
        "float": float,
        "int": int,
        "len": len,
        "list": list,
        "max": max,
        "min": min,
        "range": bounded_range,
        "reversed": reversed,
        "round": round,
        "sorted": sorted,
        "str": str,
        "sum": total,
        "tuple": tuple,
        "zip": zip,
    }
)
"""Builtins by name, as a rule gets them: two are loom's own, so that they mean the same everywhere."""

SET_READERS = frozenset({"len", "max", "min", "sorted"})
"""Builtins whose answer does not depend on the order of a set, which differs from process to process."""

WORDS: Mapping[int, str] = MappingProxyType(
    {
        id(word): name
        for name, word in {
            "allow": cases.allow,
            "case": cases.case,
            "deny": cases.deny,
            "first_match": cases.first_match,
            "indeterminate": cases.indeterminate,
            "otherwise": cases.otherwise,
            "require_approval": cases.require_approval,
            "Evaluation": Evaluation,
            "RuleMiss": RuleMiss,
            "Decimal": Decimal,
            "date": date,
            "timedelta": timedelta,
            "ceil": math.ceil,
            "floor": math.floor,
        }.items()
    }
)
"""Loom's words and a few pure functions of the standard library: the canonical name of each, by identity."""

METHODS = _words(
    """
    capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric
    isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rjust rpartition rsplit rstrip
    split splitlines startswith strip swapcase title upper zfill
    get items keys values
    bit_length is_integer
    copy_abs copy_sign is_signed is_zero quantize to_integral_value
    isoformat isoweekday total_seconds weekday
    """
)
"""Methods of text, tuples, dicts, numbers and dates that change nothing and read nothing outside."""

ATTRIBUTES = _words(
    """
    allowed denied needs_approval
    name value
    year month day hour minute second microsecond days seconds microseconds
    """
).union(Evaluation.model_fields, ("rule", "why"))
"""Attributes that are data, in addition to the fields of the parameters and facts."""
