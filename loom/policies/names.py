"""Free names of a rule → their values, captured, or a refusal that says how to correct the rule."""

from __future__ import annotations

import ast
import builtins
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn

from loom.errors import AdmissionError, PolicyRuleError
from loom.policies.canonical import Json, tagged
from loom.policies.describe import enum_is_plain
from loom.policies.purity import ATTRIBUTES, BUILTINS, METHODS, SEMANTICS, WORDS

__all__ = ["Names", "Place"]

_MISSING = object()
_MAX_ITEMS = 1_000
_CONSTANTS = "int, float, str, bool, None, Decimal, date, and tuples and frozensets of them"


@dataclass(frozen=True, slots=True)
class Place:
    """A function whose source is read, for messages."""

    rule: str

    def refuse(self, node: ast.AST, what: str, *, expected: str, cure: str) -> NoReturn:
        """Raise `PolicyRuleError` about a node."""
        line = getattr(node, "lineno", "?")
        raise PolicyRuleError(f"rule [{self.rule}] at line [{line}] {what}; expected [{expected}]: {cure}")


@dataclass(slots=True)
class Names:
    """The free names of one function: resolves each once and records what the function depends on.

    `constants` are for the document; `namespace` has all that the function sees when it runs.
    """

    function: types.FunctionType
    place: Place
    fields: frozenset[str]
    helper: Callable[[types.FunctionType, ast.AST], tuple[str, object]]
    constants: dict[str, Json] = field(default_factory=dict)
    namespace: dict[str, Any] = field(default_factory=lambda: {"__builtins__": dict(BUILTINS)})

    def value(self, node: ast.Name, *, as_set: bool = False) -> str:
        """Return the text of a free name that is read as a value."""
        found = self._find(node)
        if found is _MISSING or callable(found) or isinstance(found, types.ModuleType):
            self._refuse_value(node, found)
        self.constants[node.id] = self._constant(node, found, as_set=as_set)
        self.namespace[node.id] = found
        return f"captured:{node.id}"

    def callee(self, node: ast.Name) -> str:
        """Return the text of a free name that is called."""
        found = self._find(node)
        if found is _MISSING and node.id in BUILTINS:
            return f"builtin:{node.id}"
        if id(found) in WORDS:
            self.namespace[node.id] = found
            return f"loom:{WORDS[id(found)]}/{SEMANTICS}"
        if isinstance(found, types.FunctionType):
            text, self.namespace[node.id] = self.helper(found, node)
            return text
        return self._refuse_call(node, found)

    def word(self, node: ast.Name) -> str | None:
        """Return which of loom's words a free name refers to, or None."""
        return None if node.id.startswith("__") else WORDS.get(id(self._find(node)))

    def member(self, node: ast.Attribute) -> str | None:
        """Return the text of `Enum.MEMBER`, or None if this is not one."""
        if not isinstance(node.value, ast.Name):
            return None
        found = self._find(node.value)
        if not (isinstance(found, type) and issubclass(found, Enum)):
            return None
        name = f"{node.value.id}.{node.attr}"
        if node.attr not in found.__members__ or not enum_is_plain(found):
            self.place.refuse(
                node, f"reads [{name}]", expected="a member of an enum that is only data", cure="compare plain values"
            )
        self.constants[name] = {"$enum": tagged(found[node.attr].value)}
        self.namespace[node.value.id] = found
        return f"captured:{name}"

    def attribute(self, node: ast.Attribute) -> str:
        """Return the name of an attribute that is data."""
        if node.attr not in self.fields and node.attr not in ATTRIBUTES:
            self.place.refuse(
                node,
                f"reads the attribute [{node.attr}]",
                expected="a field of the parameters or facts",
                cure="declare it as a fact, or compute it in a helper function",
            )
        return node.attr

    def method(self, node: ast.Attribute) -> str:
        """Return the name of a method that is pure."""
        if node.attr == "format":
            self.place.refuse(node, "calls [.format()]", expected="a pure method", cure="write an f-string")
        if node.attr not in METHODS:
            self.place.refuse(
                node,
                f"calls the method [{node.attr}]",
                expected="a pure method of text, numbers, dates, tuples or dicts",
                cure="write a helper function and declare it in uses=, or build a new value",
            )
        return node.attr

    def _find(self, node: ast.Name) -> object:
        name, code = node.id, self.function.__code__
        if name.startswith("__"):
            self.place.refuse(
                node, f"uses the name [{name}]", expected="a name without leading underscores", cure="drop it"
            )
        if name in code.co_freevars:
            cell = (self.function.__closure__ or ())[code.co_freevars.index(name)]
            try:
                return cell.cell_contents
            except ValueError:
                return _MISSING
        return self.function.__globals__.get(name, _MISSING)

    def _constant(self, node: ast.Name, value: object, *, as_set: bool) -> Json:
        if isinstance(value, frozenset) and not as_set:
            self.place.refuse(
                node,
                f"reads the set [{node.id}] in an order that differs from process to process",
                expected="a set on the right of `in`, or inside sorted, len, min or max",
                cure="make it a tuple",
            )
        self._check_constant(node, value)
        try:
            return tagged(value)
        except AdmissionError as error:
            return self.place.refuse(node, f"captures [{node.id}]: {error}", expected=_CONSTANTS, cure="change it")

    def _check_constant(self, node: ast.Name, value: object, *, within: type | None = None) -> None:
        plain = type(value) in (int, float, str, bool, type(None), Decimal, date)
        if plain and not (type(value) is float and not math.isfinite(value)):
            return
        if type(value) is tuple or (type(value) is frozenset and within is None):
            if len(value) > _MAX_ITEMS:
                self.place.refuse(
                    node, f"captures [{node.id}] with {len(value)} items", expected=f"at most {_MAX_ITEMS}", cure="cut"
                )
            for item in value:
                self._check_constant(node, item, within=type(value))
            return
        self.place.refuse(
            node,
            f"depends on [{node.id}] of type [{type(value).__name__}], which may change"
            if type(value) not in (float, frozenset)
            else f"depends on [{node.id}], which holds [{value!r:.40}]",
            expected=_CONSTANTS,
            cure="make it such a constant, a parameter or a fact",
        )

    def _refuse_value(self, node: ast.Name, found: object) -> NoReturn:
        if found is _MISSING and not hasattr(builtins, node.id):
            self._refuse_undefined(node)
        if isinstance(found, types.ModuleType):
            self._refuse_module(node, found)
        self.place.refuse(
            node,
            f"uses the function or class [{node.id}] as a value",
            expected="a constant",
            cure="call it where its answer is needed; an enum is read as Enum.MEMBER",
        )

    def _refuse_call(self, node: ast.Name, found: object) -> NoReturn:
        if found is _MISSING and not hasattr(builtins, node.id):
            self._refuse_undefined(node)
        if isinstance(found, types.ModuleType):
            self._refuse_module(node, found)
        self.place.refuse(
            node,
            f"calls [{node.id}]",
            expected="a pure builtin, a word of loom's, or a plain function declared in uses=",
            cure="pass its answer as a fact",
        )

    def _refuse_module(self, node: ast.AST, module: types.ModuleType) -> NoReturn:
        self.place.refuse(
            node,
            f"uses the module [{module.__name__}]",
            expected="a pure function of parameters and facts",
            cure="import the pure name itself, or pass the module's answer as a fact",
        )

    def _refuse_undefined(self, node: ast.Name) -> NoReturn:
        self.place.refuse(
            node,
            f"uses the name [{node.id}], which is not defined (yet)",
            expected="a local name, a constant or a declared helper",
            cure="define it above the rule",
        )
