"""Small faults for a module's source: each mutant has one of them, and some test has to miss what it broke.

What runs at import has no line of a test to find it by, so those mutants are known as such (`at_import`). Left alone
are docstrings, annotations, decorators, `__all__`, and the wording of messages: of what is raised, of f-strings, and
of texts of several words.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Mutant", "mutants_of", "mutated"]

_SWAPPED: dict[type[ast.AST], Any] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_SYMMETRIC = frozenset({"max", "min"})
_REFUSE_AT_ONCE = frozenset({"isinstance", "issubclass"})
"""What raises for exchanged arguments whatever a test does: that would count for nothing."""

_TYPES = frozenset({"NewType", "ParamSpec", "TypeVar", "TypeVarTuple", "cast"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Mutant(NamedTuple):
    """One fault in one module."""

    number: int
    """Which one of the module's, in the order of its text."""
    function: str
    """The qualified name of the function or class that it is in; empty for the module itself."""
    change: str
    """What is there → what the mutant has; `#2` follows where a function has the same change a second time."""
    first: int
    last: int
    """The lines of the statement that it is in; of a compound one, its head."""
    at_import: bool
    """Whether it is in what runs when the module is imported."""


class _Site(NamedTuple):
    """Where one node is replaced by another."""

    owner: ast.AST
    field: str
    at: int | None
    new: ast.AST
    shown: ast.AST
    """The smallest node that says what is changed."""

    def replace(self) -> None:
        if self.at is None:
            setattr(self.owner, self.field, self.new)
        else:
            getattr(self.owner, self.field)[self.at] = self.new

    @property
    def old(self) -> ast.AST:
        found = getattr(self.owner, self.field)
        old: ast.AST = found if self.at is None else found[self.at]
        return old


class _Place(NamedTuple):
    """Where a walk is."""

    names: tuple[str, ...] = ()
    runs_later: bool = False
    statement: ast.stmt | None = None
    shown: ast.AST | None = None


def mutants_of(source: str) -> list[Mutant]:
    """Return every mutant of a module."""
    found: list[Mutant] = []
    seen = Counter[tuple[str, str]]()
    for number, (site, place) in enumerate(_sites(ast.parse(source))):
        function = ".".join(place.names)
        change = _change(site)
        seen[function, change] += 1
        nth = seen[function, change]
        first, last = _head(place.statement or ast.Pass(lineno=1, end_lineno=1))
        text = change if nth == 1 else f"{change} #{nth}"
        found.append(Mutant(number, function, text, first, last, not place.runs_later))
    return found


def mutated(source: str, number: int) -> ast.Module:
    """Return the tree of a module with one of its mutants; lines and columns stay as they are."""
    tree = ast.parse(source)
    for count, (site, _) in enumerate(_sites(tree)):
        if count == number:
            site.replace()
            return ast.fix_missing_locations(tree)
    raise LookupError(f"there is no mutant [{number}]")


def _change(site: _Site) -> str:
    """Return what is there → what is there instead; a copy is changed, never the tree that is being walked."""
    before = _text(site.shown)
    marked = site.old
    marked._mutant = True  # type: ignore[attr-defined]
    try:
        shown = copy.deepcopy(site.shown)
    finally:
        del marked._mutant  # type: ignore[attr-defined]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return site.new if hasattr(node, "_mutant") else super().generic_visit(node)

    return f"{before} → {_text(ast.fix_missing_locations(Replace().visit(shown)))}"


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.ExceptHandler):
        return f"except {'' if node.type is None else ast.unparse(node.type)}: {_text(node.body[0])}"
    if isinstance(node, ast.comprehension):
        return ast.unparse(node).strip()
    return " ".join(ast.unparse(node).split())


def _head(statement: ast.stmt) -> tuple[int, int]:
    """Return the lines of a statement, without the statements in it."""
    last = statement.end_lineno or statement.lineno
    inner = getattr(statement, "body", None)
    if isinstance(inner, list) and inner:
        last = max(statement.lineno, inner[0].lineno - 1)
    return statement.lineno, last


# --- where there is something to change ----------------------------------------------------------------------------


def _sites(tree: ast.Module) -> Iterator[tuple[_Site, _Place]]:
    yield from _in_body(tree, "body", _Place())


def _in_body(owner: ast.AST, field: str, place: _Place) -> Iterator[tuple[_Site, _Place]]:
    body: list[ast.stmt] = getattr(owner, field)
    for index, statement in enumerate(body):
        if _is_left_alone(statement):
            continue
        is_simple = not isinstance(getattr(statement, "body", None), list)
        here = place._replace(statement=statement, shown=statement if is_simple else None)
        if place.runs_later:
            for new in _instead_of(statement):
                yield _Site(owner, field, index, new, statement), here
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            yield from _in_definition(statement, here)
        else:
            yield from _in_node(statement, here)


def _is_left_alone(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id=name))) if name in _TYPES:
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _instead_of(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield what a whole statement is replaced by."""
    at: dict[str, Any] = {"lineno": statement.lineno, "col_offset": statement.col_offset}
    none = ast.Constant(None)
    match statement:
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            pass
        case ast.Expr() | ast.Raise() | ast.Delete():
            yield ast.Pass(**at)
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(none, **at)
        case ast.Assign(targets=[ast.Name() | ast.Attribute() | ast.Subscript() as target], value=value):
            if not isinstance(value, ast.Constant):
                yield ast.Assign([target], none, **at)
        case ast.AnnAssign(target=target, value=value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Assign([target], none, **at)
        case ast.Break():
            yield ast.Continue(**at)
        case ast.Continue():
            yield ast.Break(**at)


def _in_definition(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, place: _Place
) -> Iterator[tuple[_Site, _Place]]:
    """Yield what is in a function or class; decorators and annotations are left alone."""
    inner = place._replace(names=(*place.names, node.name))
    if not isinstance(node, ast.ClassDef):
        defaults = inner._replace(shown=node.args)
        yield from _in_field(node.args, "defaults", defaults)
        yield from _in_field(node.args, "kw_defaults", defaults)
        inner = inner._replace(runs_later=True)
    yield from _in_body(node, "body", inner)


def _in_node(node: ast.AST, place: _Place) -> Iterator[tuple[_Site, _Place]]:
    for field in node._fields:
        if field in ("annotation", "returns", "ctx", "op", "ops") or _is_wording(node, field):
            continue
        yield from _in_field(node, field, place)


def _is_wording(node: ast.AST, field: str) -> bool:
    return isinstance(node, ast.Raise) or (isinstance(node, ast.JoinedStr | ast.FormattedValue) and field != "value")


def _in_field(owner: ast.AST, field: str, place: _Place) -> Iterator[tuple[_Site, _Place]]:
    found = getattr(owner, field, None)
    if isinstance(found, list) and found and isinstance(found[0], ast.stmt):
        yield from _in_body(owner, field, place)
        return
    if isinstance(owner, ast.JoinedStr):
        return
    for index, node in enumerate(found) if isinstance(found, list) else [(None, found)]:
        if isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from _in_field(part, "value", place)
        elif isinstance(node, ast.AST):
            shown = place.shown if isinstance(node, ast.Constant) and place.shown is not None else node
            if not isinstance(node, ast.expr_context | ast.operator | ast.keyword):
                for new in _instead(node, owner, field):
                    yield _Site(owner, field, index, new, shown), place
            inside = place if isinstance(node, ast.keyword) else place._replace(shown=node)
            if isinstance(node, ast.Lambda):
                inside = inside._replace(names=(*place.names, "<lambda>"), runs_later=True)
            yield from _in_node(node, inside)


def _instead(node: ast.AST, owner: ast.AST, field: str) -> Iterator[ast.AST]:
    """Yield what an expression, a handler or a filter is replaced by."""
    if field == "test" and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Await | ast.Subscript):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Compare(left=left, ops=ops, comparators=values):
            for index, op in enumerate(ops):
                swapped = [_SWAPPED[type(op)]() if index == at else each for at, each in enumerate(ops)]
                yield ast.Compare(left, swapped, values)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(_SWAPPED[type(op)](), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SWAPPED:
            yield ast.BinOp(left, _SWAPPED[type(op)](), right)
        case ast.Constant(value=value):
            if not isinstance(owner, ast.Expr) and (new := _other(value)) is not None:
                yield ast.Constant(new)
        case ast.Call(func=func, args=[first, second, *rest], keywords=keywords):
            if not _is_symmetric(func, first, second):
                yield ast.Call(func, [second, first, *rest], keywords)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.ExceptHandler(type=kind, name=name, body=body):
            if not (isinstance(body[-1], ast.Raise) and body[-1].exc is None):
                yield ast.ExceptHandler(kind, name, [ast.Raise(None, None)], lineno=node.lineno, col_offset=0)
        case ast.comprehension(target=target, iter=iterated, ifs=ifs, is_async=is_async) if ifs:
            yield ast.comprehension(target, iterated, [], is_async)


def _other(value: object) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return None if " " in value.strip() else f"XX{value}XX"  # several words are a message
        case bytes():
            return b"XX" + value
    return None


def _is_symmetric(func: ast.expr, first: ast.expr, second: ast.expr) -> bool:
    """Tell whether to exchange two arguments shows nothing."""
    return (
        isinstance(first, ast.Starred)
        or isinstance(second, ast.Starred)
        or (isinstance(func, ast.Name) and func.id in _SYMMETRIC | _REFUSE_AT_ONCE)
        or ast.dump(first) == ast.dump(second)
    )
