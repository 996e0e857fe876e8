"""A Python function → the snapshot of a rule: its text, its dependencies, and an isolated copy that runs.

The copy is compiled from the tree that the document describes, and sees only what was captured with it. A global that
changes later, or a file that is edited while the process runs, has no effect on a version.
"""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from loom.errors import AdmissionError, PolicyRuleError
from loom.policies.canonical import Json, tagged
from loom.policies.names import Names, Place
from loom.policies.syntax import Writer

__all__ = ["Rule", "plain_function", "snapshot"]


@dataclass(frozen=True, slots=True)
class Rule:
    """The snapshot of a rule: `tree` and `helpers` are hashed, `source` is for people, `run` is the isolated copy."""

    tree: dict[str, Json]
    helpers: list[Json]
    source: str
    run: Callable[..., object]


def snapshot(
    function: Callable[..., object], *, uses: Sequence[Callable[..., object]] = (), fields: frozenset[str] = frozenset()
) -> Rule:
    """Return the snapshot of a function of (params, facts); raise `PolicyRuleError` if it cannot be a rule.

    `uses` are the helper functions that it may call, `fields` the attributes that are data.
    """
    book = _Book(uses=tuple(uses), fields=fields)
    tree, run = book.write(function, place=Place(getattr(function, "__name__", "?")))
    if len(tree["parameters"]) != 2 or tree["defaults"]:  # type: ignore[arg-type]  # it is a list
        raise PolicyRuleError(
            f"rule [{function.__name__}] takes {tree['parameters']}; expected [two parameters without defaults]: "
            "write it as (params, facts)"
        )
    for helper in uses:
        if helper not in book.indices:
            raise PolicyRuleError(
                f"rule [{function.__name__}] declares [{getattr(helper, '__name__', helper)}] in uses= and does not "
                "call it; expected [only functions that it calls]: drop it"
            )
    return Rule(tree=tree, helpers=list(book.helpers), source="\n".join(book.sources), run=run)


@dataclass(slots=True)
class _Book:
    """All parts of one rule; each function is described once."""

    uses: tuple[Callable[..., object], ...]
    fields: frozenset[str]
    helpers: list[Json] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    indices: dict[Callable[..., object], tuple[int, Callable[..., object]]] = field(default_factory=dict)
    open: list[Callable[..., object]] = field(default_factory=list)

    def write(self, function: Callable[..., object], *, place: Place) -> tuple[dict[str, Json], Callable[..., object]]:
        """Return the document of a function and its isolated copy."""
        plain = plain_function(function)
        definition, source = _definition(plain, place)
        parameters = _parameters(definition, place)
        self.open.append(function)
        self.sources.append(source)
        names = Names(plain, place, self.fields, lambda helper, node: self._helper(helper, node, place))
        writer = Writer(names, definition)
        body = writer.body(definition.body)
        if len(self.open) == 1:
            writer.answers(definition)
        if _is_stale(plain, definition):
            _refuse_stale(place)
        self.open.pop()
        tree: dict[str, Json] = {
            "parameters": parameters,
            "defaults": _defaults(plain, place),
            "body": list[Json](body),
            "constants": names.constants,
        }
        return tree, _seal(plain, definition, names.namespace)

    def _helper(self, helper: types.FunctionType, node: ast.AST, place: Place) -> tuple[str, object]:
        if helper in self.open:
            place.refuse(
                node,
                f"calls [{helper.__name__}], which is running already",
                expected="no recursion",
                cure="loop with `for` over something finite",
            )
        if helper not in self.uses:
            place.refuse(
                node,
                f"calls the function [{helper.__name__}], which is not declared",
                expected="a word of loom's, a pure builtin or a declared helper",
                cure=f"declare it: @policy(..., uses=[{helper.__name__}])",
            )
        if helper not in self.indices:
            tree, run = self.write(helper, place=Place(helper.__name__))
            self.indices[helper] = (len(self.helpers), run)
            self.helpers.append(tree)
        index, run = self.indices[helper]
        return f"helper:{index}", run


def plain_function(function: Callable[..., object]) -> types.FunctionType:
    """Return the function if it is one that has a name and a source; raise `PolicyRuleError` if not."""
    name = getattr(function, "__name__", repr(function))
    if not isinstance(function, types.FunctionType) or hasattr(function, "__wrapped__"):
        raise PolicyRuleError(
            f"rule [{name}] is a [{type(function).__name__}] or is wrapped by a decorator; expected [a plain "
            "function]: write it with def, and @policy as its only decorator"
        )
    if function.__name__ == "<lambda>":
        raise PolicyRuleError("rule [<lambda>] has no name and no source of its own; expected [a def]: write it as one")
    return function


def _definition(function: types.FunctionType, place: Place) -> tuple[ast.FunctionDef, str]:
    """Return the tree of a function, with the line numbers of its file and without what does not count."""
    try:
        source = inspect.getsource(function)
        # Not dedented: that would change strings of several lines.
        indented = source[:1].isspace()
        module = ast.parse(f"if 1:\n{source}" if indented else source)
    except (OSError, TypeError, SyntaxError) as error:
        raise PolicyRuleError(
            f"rule [{place.rule}] has no source that can be read [{error}]; expected [a def in a file]: "
            "write it in a module, not at a prompt or through exec"
        ) from None
    block = module.body[0]
    found = block.body[0] if indented and isinstance(block, ast.If) else block
    if isinstance(found, ast.AsyncFunctionDef):
        place.refuse(found, "is async", expected="a pure function", cure="pass what it awaits as a fact")
    if not isinstance(found, ast.FunctionDef):
        _refuse_stale(place)
    ast.increment_lineno(found, function.__code__.co_firstlineno - (2 if indented else 1))
    return found, source


def _refuse_stale(place: Place) -> NoReturn:
    raise PolicyRuleError(
        f"rule [{place.rule}] is not what its file now says; expected [the source that was imported]: "
        "start the process again"
    )


def _is_stale(function: types.FunctionType, definition: ast.FunctionDef) -> bool:
    """Return whether the file was edited since its import, as far as names and constants show it."""
    code, now = function.__code__, _compiled(definition, function)
    count = code.co_argcount + code.co_kwonlyargcount
    return (
        definition.name != function.__name__
        or now.co_varnames[:count] != code.co_varnames[:count]
        or set(_constants(now)) != set(_constants(code))
    )


def _parameters(definition: ast.FunctionDef, place: Place) -> list[Json]:
    arguments = definition.args
    if arguments.vararg or arguments.kwarg or getattr(definition, "type_params", None):
        place.refuse(
            definition,
            "takes any number of arguments, or types",
            expected="named parameters",
            cure="name every parameter",
        )
    names: list[Json] = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    if arguments.kwonlyargs:
        names += ["*", *(argument.arg for argument in arguments.kwonlyargs)]
    return names


def _defaults(function: types.FunctionType, place: Place) -> dict[str, Json]:
    defaults: dict[str, Json] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = parameter.default
        if value is inspect.Parameter.empty:
            continue
        try:
            if not (value is None or type(value) in (bool, int, float, str)):
                raise AdmissionError(f"it is of type [{type(value).__name__}]")
            defaults[name] = tagged(value)
        except AdmissionError as error:
            raise PolicyRuleError(
                f"helper [{place.rule}] has a default for [{name}] that is not plain: {error}; "
                "expected [int, float, str, bool, None]: change it"
            ) from None
    return defaults


class _NeverInPlace(ast.NodeTransformer):
    """Makes `x += y` mean `x = x + y`, as in the document: a list among the facts is never changed."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if not isinstance(node.target, ast.Name):
            return node
        read = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        value = ast.copy_location(ast.BinOp(read, node.op, node.value), node)
        return ast.copy_location(ast.Assign([node.target], value), node)


def _compiled(definition: ast.FunctionDef, function: types.FunctionType) -> types.CodeType:
    """Return the code of a definition without decorators, annotations and defaults."""
    arguments = definition.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    bare = ast.arguments(
        posonlyargs=[_bare(argument) for argument in arguments.posonlyargs],
        args=[_bare(argument) for argument in arguments.args],
        kwonlyargs=[_bare(argument) for argument in arguments.kwonlyargs],
        kw_defaults=[None for _ in arguments.kwonlyargs],
        defaults=[],
    )
    stripped = ast.FunctionDef(name=definition.name, args=bare, body=definition.body, decorator_list=[])
    ast.copy_location(stripped, every[0] if every else definition)
    if hasattr(definition, "type_params"):
        stripped.type_params = []  # type: ignore[attr-defined, unused-ignore]  # from 3.12 on
    module = ast.Module(body=[stripped], type_ignores=[])
    code = compile(module, function.__code__.co_filename, "exec", dont_inherit=True)
    return next(item for item in code.co_consts if isinstance(item, types.CodeType))


def _bare(argument: ast.arg) -> ast.arg:
    return ast.copy_location(ast.arg(arg=argument.arg), argument)


def _constants(code: types.CodeType) -> Iterator[tuple[str, str]]:
    """Yield the constants of code, to tell whether two pieces of code have one source."""
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _constants(item)
        elif isinstance(item, int | float | str):
            yield type(item).__name__, repr(item)


def _seal(
    function: types.FunctionType, definition: ast.FunctionDef, namespace: dict[str, Any]
) -> Callable[..., object]:
    changed = _NeverInPlace().visit(definition)
    sealed = types.FunctionType(_compiled(changed, function), namespace, function.__name__, function.__defaults__)
    sealed.__kwdefaults__ = dict(function.__kwdefaults__) if function.__kwdefaults__ else None
    return sealed
