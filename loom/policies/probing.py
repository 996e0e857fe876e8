"""Try a rule before it is registered, with made-up facts, to find wrong calls of loom's own words.

A rule that makes such a call for all facts could never judge a case. The facts are made from the description of their
model alone. The results are not kept: they are not part of a version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, TypeVar

from pydantic import ValidationError

from loom.errors import PolicyRuleError
from loom.policies.canonical import untagged
from loom.policies.cases import Case, Effect
from loom.policies.describe import describe_model
from loom.policies.evaluation import Facts

__all__ = ["check_calls", "probes"]

F = TypeVar("F", bound=Facts)

_PROBES = 4
_OF_LOOM = frozenset({"loom.policies.cases", "loom.policies.evaluation"})
_MODELS_OF_LOOM = frozenset({"Evaluation", "RuleMiss"})


def check_calls(name: str, run: Callable[[F], object], facts_model: type[F]) -> None:
    """Raise `PolicyRuleError` for a rule that calls loom wrongly on all made-up facts.

    A rule that does so on some facts only, or raises another error, is not refused: the evaluation says why.
    """
    found = [_misuse(run, facts) for facts in probes(facts_model)]
    if found and all(each is not None for each in found):
        raise PolicyRuleError(
            f"rule of policy [{name}] calls loom wrongly whatever its facts are [{found[0]}]; expected [an "
            "evaluation]: correct the call"
        )


def probes(facts_model: type[F]) -> Iterator[F]:
    """Yield a few different facts of a model; none where no made-up facts are valid, for example with a pattern."""
    description: Any = describe_model(facts_model)
    for number in range(_PROBES):
        try:
            yield facts_model.model_validate_json(json.dumps(_model(description, number, count(1))))
        except (ValidationError, ValueError):
            continue


def _misuse(run: Callable[[F], object], facts: F) -> str | None:
    """Return what is wrong with a rule's calls of loom's words, or None."""
    try:
        said = run(facts)
    except ValidationError as error:
        return f"{error.title}: {error.errors()[0]['msg']}" if error.title in _MODELS_OF_LOOM else None
    except Exception as error:  # a user's rule may raise any error
        return f"{type(error).__name__}: {error}" if _raised_by_loom(error) else None
    returned = said[0] if isinstance(said, list | tuple) and said else said
    is_no_evaluation = isinstance(returned, Case | Effect)
    return f"it returns what makes no evaluation, {type(said).__name__}" if is_no_evaluation else None


def _raised_by_loom(error: Exception) -> bool:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") in _OF_LOOM


# --- made-up facts -------------------------------------------------------------------------------


def _model(description: Mapping[str, Any], number: int, leaf: Iterator[int]) -> dict[str, Any]:
    return {
        name: _value(field["type"], untagged(field.get("bounds", {})), number, leaf)
        for name, field in description["fields"].items()
    }


def _value(kind: Any, bounds: Any, number: int, leaf: Iterator[int]) -> Any:
    """Return a value of the described type. Every leaf gets another value, so that no two fields agree."""
    if isinstance(kind, str):
        return _scalar(kind, bounds, number, next(leaf))
    [(what, inner)] = kind.items() if "of" not in kind else [("of", kind)]
    if what == "of":
        return _value(inner["of"], untagged(inner["bounds"]), number, leaf)
    if what == "optional":
        return None if number % 2 == 0 else _value(inner, bounds, number, leaf)
    if what == "model":
        return _model(inner, number, leaf)
    if what in ("enum", "literal"):
        return untagged(inner[number % len(inner)])
    if what == "tuple_of":
        return [_value(each, {}, number, leaf) for each in inner]
    items = max(int(bounds.get("min_length", 0)), min(number, int(bounds.get("max_length", number))))
    return [_value(inner, {}, number, leaf) for _ in range(items)]


def _scalar(kind: str, bounds: Any, number: int, leaf: int) -> Any:
    if kind == "bool":
        return (number + leaf) % 2 == 0
    if kind == "str":
        text = f"{'abcd'[number % 4]}{leaf}".ljust(int(bounds.get("min_length", 0)), "x")
        return text[: int(bounds["max_length"])] if "max_length" in bounds else text
    if kind == "date":
        return f"{2020 + number}-01-{leaf % 28 + 1:02}"
    if kind == "datetime":
        return f"{2020 + number}-01-{leaf % 28 + 1:02}T00:00:00Z"
    value = _number(bounds, number, leaf)
    return str(value) if kind == "decimal" else value


def _number(bounds: Any, number: int, leaf: int) -> Any:
    wanted = (leaf, 1_000 + leaf, -leaf, 50 + leaf)[number % _PROBES]
    low = bounds.get("ge", bounds["gt"] + 1 if "gt" in bounds else wanted)
    high = bounds.get("le", bounds["lt"] - 1 if "lt" in bounds else max(wanted, low))
    found = min(max(wanted, low), high)
    step = bounds.get("multiple_of")
    return found if step is None else found - found % step
