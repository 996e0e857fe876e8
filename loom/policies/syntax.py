"""The language of rules: an allow-list of Python's syntax, and the canonical text of each construct.

The text is loom's own, so that it is the same under every version of Python: comments, docstrings, annotations,
decorators, layout, line numbers, names of modules and of the function itself do not count. It is a list of lines,
statements indented, expressions as (operator operand …): flat enough for every journal, and diffed line by line.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from loom.policies.calls import misuse, wrong_answer
from loom.policies.layout import laid_out
from loom.policies.names import Names
from loom.policies.purity import SET_READERS

__all__ = ["Writer"]

_MAX_NODES = 5_000
_MAX_DEPTH = 60
_MAX_BITS = 1_024
_LANGUAGE = "a pure function of (params, facts)"

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
    ast.BitAnd: "bitand",
    ast.BitOr: "bitor",
    ast.BitXor: "bitxor",
    ast.Not: "not",
    ast.USub: "neg",
    ast.UAdd: "pos",
    ast.Invert: "invert",
    ast.And: "and",
    ast.Or: "or",
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Is: "is",
    ast.IsNot: "is-not",
    ast.In: "in",
    ast.NotIn: "not-in",
}
_CURES = {
    "Import": "import at the top of the module",
    "ImportFrom": "import at the top of the module",
    "Global": "return what is to be known",
    "Nonlocal": "return what is to be known",
    "While": "loop with `for` over something finite",
    "Try": "test the condition before",
    "TryStar": "test the condition before",
    "Raise": "return indeterminate() in a case",
    "Assert": "return indeterminate() in a case",
    "With": "pass what is opened as a fact",
    "Match": "write cases or `if`",
    "Delete": "leave the name alone",
    "FunctionDef": "write a helper at the top of the module and declare it in uses=",
    "Lambda": "write a helper at the top of the module and declare it in uses=, or a comprehension",
    "ClassDef": "define it at the top of the module",
    "SetComp": "build a tuple, or sorted(...) of a generator",
    "Set": "write it on the right of `in`, or as a tuple",
    "GeneratorExp": "hand it to a function at once, or write a list",
    "Expr": "drop it, or use its value: a pure rule has no effects",
}


class Writer:
    """Writes one function in the language of rules; refuses what is not in it."""

    def __init__(self, names: Names, definition: ast.FunctionDef) -> None:
        self._names = names
        self._scopes: list[frozenset[str]] = [_locals(definition)]
        self._nodes = 0
        self._depth = 0

    def body(self, statements: Sequence[ast.stmt], indent: str = "") -> list[str]:
        """Return the lines of a block."""
        lines: list[str] = []
        for node in statements:
            self._count(node)
            for line in self._statement(node):
                lines.extend(laid_out(indent + line))
        return lines

    def refuse(self, node: ast.AST, what: str | None = None, *, cure: str | None = None) -> NoReturn:
        """Raise `PolicyRuleError` for syntax that is not in the language."""
        name = type(node).__name__
        self._names.place.refuse(
            node,
            what or f"uses [{name}]",
            expected=_LANGUAGE,
            cure=cure or _CURES.get(name, "write it with if, for, comparisons and cases"),
        )

    def _statement(self, node: ast.stmt) -> list[str]:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                return []  # a docstring or another unused constant
            case ast.Return():
                return [f"return {self.expression(node.value) if node.value else 'None'}"]
            case ast.Assign():
                targets = " ".join(self._target(target) for target in node.targets)
                return [f"(set {targets} {self.expression(node.value)})"]
            case ast.AnnAssign(target=ast.Name(), value=None):
                return []
            case ast.AnnAssign(value=ast.expr() as value):
                return [f"(set {self._target(node.target)} {self.expression(value)})"]
            case ast.AugAssign(target=ast.Name() as target):
                # It runs as described here: a new value, never a list changed in place.
                operator = self._operator(node, node.op)
                return [f"(set {target.id} ({operator} {target.id} {self.expression(node.value)}))"]
            case ast.If():
                return self._block(f"if {self.expression(node.test)}", node.body, node.orelse)
            case ast.For():
                head = f"for {self._target(node.target)} {self.expression(node.iter)}"
                return self._block(head, node.body, node.orelse)
            case ast.Pass() | ast.Break() | ast.Continue():
                return [type(node).__name__.lower()]
            case _:
                return self.refuse(node)

    def _block(self, head: str, body: Sequence[ast.stmt], other: Sequence[ast.stmt]) -> list[str]:
        lines = [head, *self.body(body, "  ")]
        return [*lines, "else", *self.body(other, "  ")] if other else lines

    def _target(self, node: ast.expr) -> str:
        self._count(node)
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Tuple | ast.List):
            return f"(tuple {' '.join(self._target(item) for item in node.elts)})"
        if isinstance(node, ast.Starred):
            self.refuse(node, "unpacks [*] into a name", cure="take a slice")
        return self.refuse(node, "changes a value in place", cure="build a new value and give it a name")

    def expression(self, node: ast.expr, *, as_set: bool = False) -> str:
        """Return the text of an expression; `as_set` where the order of a set cannot be seen."""
        self._count(node)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self.refuse(node, f"is nested more than {_MAX_DEPTH} levels deep", cure="name the parts")
        try:
            if as_set and isinstance(node, ast.Set):
                return f"(set-of {self._all(node.elts)})"
            if isinstance(node, ast.Name):
                return node.id if self._is_local(node.id) else self._names.value(node, as_set=as_set)
            write = _EXPRESSIONS.get(type(node))
            return write(self, node) if write else self.refuse(node)
        finally:
            self._depth -= 1

    def _all(self, nodes: Sequence[ast.expr]) -> str:
        return " ".join(self.expression(node) for node in nodes)

    def _operator(self, node: ast.AST, operator: ast.AST) -> str:
        return _OPERATORS.get(type(operator)) or self.refuse(node, f"uses [{type(operator).__name__}]")

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _count(self, node: ast.AST) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            self.refuse(node, f"has more than {_MAX_NODES} parts", cure="make the long list a parameter")

    def _constant(self, node: ast.Constant) -> str:
        value = node.value
        if value is None or isinstance(value, bool):
            return str(value)
        if isinstance(value, int) and value.bit_length() <= _MAX_BITS:
            return str(value)
        if isinstance(value, float) and math.isfinite(value):
            return repr(value)
        if isinstance(value, str):
            return self._text(node, value)
        return self.refuse(node, f"writes the constant [{value!r:.40}]", cure="use text, integers or finite floats")

    def _text(self, node: ast.AST, value: str) -> str:
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            self.refuse(node, f"writes the text [{value!r:.40}]", cure="leave U+0000 and lone surrogates out")
        return json.dumps(value)

    def _compare(self, node: ast.Compare) -> str:
        parts, left = [self.expression(node.left)], node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.Is | ast.IsNot) and not (_is_singleton(left) or _is_singleton(right)):
                self.refuse(node, "compares identity", cure="use ==; `is` is for None, True and False")
            text = self.expression(right, as_set=isinstance(operator, ast.In | ast.NotIn))
            parts += [self._operator(node, operator), text]
            left = right
        return f"(compare {' '.join(parts)})"

    def _call(self, node: ast.Call) -> str:
        match node.func:
            case ast.Name(id=name) if not self._is_local(name):
                head = self._names.callee(node.func)
            case ast.Attribute():
                head = f"(method {self.expression(node.func.value)} {self._names.method(node.func)})"
            case _:
                self.refuse(node, "calls a value", cure="call a function by its name")
        word = self._word(node)
        problem = None if word is None else misuse(word, node, self._word)
        if problem is not None:
            self._names.place.refuse(node, problem, expected="a call that can succeed", cure="correct the call")
        builtin = head.removeprefix("builtin:") if head.startswith("builtin:") else ""
        parts = [head]
        for argument in node.args:
            each = argument.value if isinstance(argument, ast.Starred) else argument
            text = self._argument(each, as_set=builtin in SET_READERS and each is argument)
            parts.append(text if each is argument else f"*{text}")
        for keyword in node.keywords:
            if keyword.arg is None or (builtin and keyword.arg == "key"):
                what = f"passes [{'key=' if keyword.arg else '**'}]"
                self.refuse(node, what, cure="name every argument, and build tuples that sort by themselves")
            parts.append(f"{keyword.arg}={self._argument(keyword.value)}")
        return f"(call {' '.join(parts)})"

    def _word(self, node: ast.expr) -> str | None:
        """Return which of loom's words a node calls, or None."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or self._is_local(node.func.id):
            return None
        return self._names.word(node.func)

    def answers(self, definition: ast.FunctionDef) -> None:
        """Refuse a rule that visibly returns no evaluation."""
        for node in ast.walk(definition):
            problem = wrong_answer(node, self._word) if isinstance(node, ast.Return) else None
            if problem is not None:
                self._names.place.refuse(
                    node, problem, expected="an evaluation", cure="return first_match(…) of cases, or an Evaluation"
                )

    def _argument(self, node: ast.expr, *, as_set: bool = False) -> str:
        if isinstance(node, ast.GeneratorExp):
            return self._comprehension(node, "each", node.elt)
        return self.expression(node, as_set=as_set)

    def _attribute(self, node: ast.Attribute) -> str:
        if not (isinstance(node.value, ast.Name) and self._is_local(node.value.id)):
            member = self._names.member(node)
            if member is not None:
                return member
        return f"(get {self.expression(node.value)} {self._names.attribute(node)})"

    def _comprehension(self, node: Any, word: str, *results: ast.expr) -> str:
        generators: list[ast.comprehension] = node.generators
        depth, clauses = len(self._scopes), []
        for clause in generators:
            if clause.is_async:
                self.refuse(node, "uses [async for]")
            source = self.expression(clause.iter)
            self._scopes.append(_stored(clause.target))
            conditions = "".join(f" {self.expression(test)}" for test in clause.ifs)
            clauses.append(f"(for {self._target(clause.target)} {source}{conditions})")
        try:
            return f"({word} {self._all(results)} {' '.join(clauses)})"
        finally:
            del self._scopes[depth:]

    def _format(self, node: ast.JoinedStr) -> str:
        parts: list[str] = []
        text = ""
        for value in node.values:  # how neighbouring texts are cut differs between versions of Python
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                text += value.value
                continue
            if text:
                parts.append(self._text(node, text))
            text = ""
            parts.append(self._format_field(value))
        if text or not parts:
            parts.append(self._text(node, text))
        return parts[0] if len(parts) == 1 and parts[0].startswith('"') else f"(format {' '.join(parts)})"

    def _format_field(self, node: ast.expr) -> str:
        if not isinstance(node, ast.FormattedValue):
            self.refuse(node)
        conversion = "" if node.conversion == -1 else f" !{chr(node.conversion)}"
        spec = self._format(node.format_spec) if isinstance(node.format_spec, ast.JoinedStr) else '""'
        return f"(show {self.expression(node.value)}{conversion}{'' if spec == chr(34) * 2 else ' ' + spec})"

    def _subscript(self, node: ast.Subscript) -> str:
        return f"(item {self.expression(node.value)} {self.expression(node.slice)})"

    def _slice(self, node: ast.Slice) -> str:
        bounds = (node.lower, node.upper, node.step)
        return f"(slice {' '.join(self.expression(bound) if bound else 'None' for bound in bounds)})"

    def _dict(self, node: ast.Dict) -> str:
        items = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                self.refuse(node, "unpacks [**] into a dict", cure="write its keys out")
            items.append(f" {self.expression(key)} {self.expression(value)}")
        return f"(dict{''.join(items)})"

    def _sequence(self, node: ast.Tuple | ast.List) -> str:
        parts = [
            f" *{self.expression(item.value)}" if isinstance(item, ast.Starred) else f" {self.expression(item)}"
            for item in node.elts
        ]
        return f"({type(node).__name__.lower()}{''.join(parts)})"


_EXPRESSIONS: dict[type[ast.expr], Callable[[Writer, Any], str]] = {
    ast.Attribute: Writer._attribute,
    ast.BinOp: lambda w, n: f"({w._operator(n, n.op)} {w.expression(n.left)} {w.expression(n.right)})",
    ast.BoolOp: lambda w, n: f"({w._operator(n, n.op)} {w._all(n.values)})",
    ast.Call: Writer._call,
    ast.Compare: Writer._compare,
    ast.Constant: Writer._constant,
    ast.Dict: Writer._dict,
    ast.DictComp: lambda w, n: w._comprehension(n, "dict-of", n.key, n.value),
    ast.IfExp: lambda w, n: f"(if {w.expression(n.test)} {w.expression(n.body)} {w.expression(n.orelse)})",
    ast.JoinedStr: Writer._format,
    ast.List: Writer._sequence,
    ast.ListComp: lambda w, n: w._comprehension(n, "list-of", n.elt),
    ast.NamedExpr: lambda w, n: f"(let {n.target.id} {w.expression(n.value)})",
    ast.Slice: Writer._slice,
    ast.Subscript: Writer._subscript,
    ast.Tuple: Writer._sequence,
    ast.UnaryOp: lambda w, n: f"({w._operator(n, n.op)} {w.expression(n.operand)})",
}


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def _stored(*nodes: ast.AST) -> frozenset[str]:
    names = (name for node in nodes for name in ast.walk(node))
    return frozenset(name.id for name in names if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store))


def _locals(definition: ast.FunctionDef) -> frozenset[str]:
    """Return the names that belong to the function itself; those of a comprehension are its own."""
    arguments = definition.args
    given = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    inner = {
        id(name)
        for clause in ast.walk(definition)
        if isinstance(clause, ast.comprehension)
        for name in ast.walk(clause.target)
    }
    stored = {
        name.id
        for statement in definition.body
        for name in ast.walk(statement)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store) and id(name) not in inner
    }
    return frozenset(given | stored)
