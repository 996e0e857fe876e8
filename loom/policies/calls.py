"""Calls of loom's own words in a rule that always fail, found before the rule runs.

They would raise on every case that reaches them, and each such evaluation would be indeterminate. Calls that fail for
some facts only are not handled here: such an evaluation carries its cause.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from loom.policies import cases
from loom.policies.evaluation import BAD_FACTS, NO_MATCH, RULE_FAILED, Evaluation, RuleMiss

__all__ = ["misuse", "wrong_answer"]

_WORDS: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            cases.allow,
            cases.case,
            cases.deny,
            cases.first_match,
            cases.indeterminate,
            cases.otherwise,
            cases.require_approval,
            Evaluation,
            RuleMiss,
        )
    }
)
_EFFECTS = frozenset({"allow", "deny", "indeterminate", "require_approval"})
_ROWS = frozenset({"case", "otherwise"})

_TAKEN = (NO_MATCH, BAD_FACTS, RULE_FAILED)
_COLLECTIONS = (ast.List, ast.Tuple, ast.Dict, ast.ListComp, ast.DictComp)
_NEVER: Mapping[str, tuple[type[ast.expr], ...]] = MappingProxyType(
    {
        "cases": (ast.Constant, ast.JoinedStr, ast.Compare, *_COLLECTIONS),
        "details": (ast.Compare, ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp),
        "effect": (ast.Constant, ast.JoinedStr, ast.Compare, *_COLLECTIONS),
        "exception": (ast.Compare, *_COLLECTIONS),
        "holds": (ast.JoinedStr, *_COLLECTIONS),
        "rule": (ast.Compare, *_COLLECTIONS),
        "tier": (ast.Compare, *_COLLECTIONS),
        "why": (ast.Compare, *_COLLECTIONS),
        "why_not": (ast.Compare, *_COLLECTIONS),
    }
)
"""What an argument can never be, by the name of the parameter."""
_CONSTANTS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "details": (type(None),),
        "exception": (str, type(None)),
        "holds": (bool,),
        "rule": (str,),
        "tier": (str, type(None)),
        "why": (str,),
        "why_not": (str,),
    }
)
"""What an argument can be where it is a constant."""
_CALLS: Mapping[str, frozenset[str]] = MappingProxyType({"cases": _ROWS, "effect": _EFFECTS})
"""Which of loom's words an argument can come from, where it comes from one."""
_MADE_BY = {"cases": "case() or otherwise()", "effect": "allow(), deny(), require_approval() or indeterminate()"}


def misuse(word: str, node: ast.Call, word_of: Callable[[ast.expr], str | None]) -> str | None:
    """Return what is wrong with a call of one of loom's words, if that is visible; `word_of` returns the word.

    Values that are only known at run time are not checked: local names, facts, parameters, unpacked arguments.
    """
    called = _WORDS.get(word)
    if called is None or any(isinstance(each, ast.Starred) for each in node.args):
        return None
    try:
        bound = _signature(called).bind(*node.args, **{str(each.arg): each.value for each in node.keywords})
    except TypeError as error:
        return f"calls [{word}] in a way that always raises TypeError [{error}]"
    if called in (Evaluation, RuleMiss):
        return None
    given: list[tuple[str, Any]] = [(name, node) for name, node in bound.arguments.items() if name != "cases"]
    given += [("cases", each) for each in bound.arguments.get("cases", ())]
    problems = (_problem(name, each, word_of) for name, each in given)
    found = next((each for each in problems if each is not None), None)
    return (
        f"calls [{word}] with {found}" if found is not None else _same_rules(bound.arguments.get("cases", ()), word_of)
    )


def wrong_answer(node: ast.Return, word_of: Callable[[ast.expr], str | None]) -> str | None:
    """Return what is wrong with the return value of a rule, if that is visible: an effect or a row is no evaluation."""
    word = None if node.value is None else word_of(node.value)
    return f"returns what [{word}] makes" if word in _EFFECTS | _ROWS else None


@cache
def _signature(called: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(called)


def _problem(name: str, node: ast.expr, word_of: Callable[[ast.expr], str | None]) -> str | None:
    """Return what is wrong with an argument, as far as it is visible."""
    word = word_of(node)
    if word is not None:
        makers = _CALLS.get(name, frozenset())
        return None if word in makers else f"[{name}] made by [{word}]; {_wanted(name)}"
    if isinstance(node, ast.Constant) and name in _CONSTANTS:
        if type(node.value) not in _CONSTANTS[name]:
            return f"[{name}] of type [{type(node.value).__name__}]; {_wanted(name)}"
        if isinstance(node.value, str) and name == "rule" and (node.value in _TAKEN or not node.value.strip()):
            return f"the rule name [{node.value}], which is blank or taken by loom"
        return None
    if isinstance(node, _NEVER.get(name, ())):
        return f"[{name}] that is a [{type(node).__name__}]; {_wanted(name)}"
    return None


def _wanted(name: str) -> str:
    if name in _MADE_BY:
        return f"it is made by {_MADE_BY[name]}"
    kinds = " or ".join(each.__name__ for each in _CONSTANTS[name]) if name != "details" else "a dict"
    return f"it is {kinds.replace('NoneType', 'None')}"


def _same_rules(rows: Any, word_of: Callable[[ast.expr], str | None]) -> str | None:
    names = [
        str(row.args[0].value)
        for row in rows
        if word_of(row) in _ROWS and row.args and isinstance(row.args[0], ast.Constant)
    ]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"calls [first_match] with two rules that are both named [{twice}]"
