"""Put the code of a mutant into functions that exist, wherever they were imported to."""

from __future__ import annotations

import ast
import gc
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType

__all__ = ["Swap"]


class Swap:
    """Gives the functions of one module, wherever they are, the code of another tree of it."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = str(path)
        self._source = source
        self._codes = dict(_codes(compile(source, self._path, "exec", dont_inherit=True)))
        self._functions: defaultdict[tuple[str, int, int], list[FunctionType]] = defaultdict(list)
        keys = {code: key for key, code in self._codes.items()}
        for each in gc.get_objects():
            if type(each) is FunctionType and each.__code__.co_filename == self._path and each.__code__ in keys:
                self._functions[keys[each.__code__]].append(each)

    def put(self, tree: ast.Module) -> None:
        """Give each function its code of a tree; raise `LookupError` where that changes no function that exists."""
        codes = dict(_codes(compile(tree, self._path, "exec", dont_inherit=True)))
        changed = 0
        for key, functions in self._functions.items():
            code = codes.get(key)
            if code is None or code == self._codes[key]:
                continue
            for function in functions:
                free = function.__code__.co_freevars
                function.__code__ = code if code.co_freevars == free else self._with_free(tree, key, free)
                changed += 1
        if not changed:
            raise LookupError("no function has this code")

    def _with_free(self, tree: ast.Module, key: tuple[str, int, int], free: Sequence[str]) -> CodeType:
        """Return code that has the free variables of what it takes the place of, whether it uses them or not."""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _first_line(node) == key[1]:
                uses = ast.Tuple([ast.Name(name, ast.Load()) for name in free], ast.Load())
                node.body.insert(0, ast.If(ast.Constant(value=False), [ast.Expr(uses)], []))
        ast.fix_missing_locations(tree)
        return dict(_codes(compile(tree, self._path, "exec", dont_inherit=True)))[key]


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int, int], CodeType]]:
    """Yield every code object in one with its name, its line, and which one it is of those that share both."""
    seen = Counter[tuple[str, int]]()

    def inside(outer: CodeType) -> Iterator[tuple[tuple[str, int, int], CodeType]]:
        for each in outer.co_consts:
            if isinstance(each, CodeType):
                name = each.co_qualname, each.co_firstlineno
                seen[name] += 1
                yield (*name, seen[name]), each
                yield from inside(each)

    return inside(code)
