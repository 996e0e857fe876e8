"""Try the mutants of one module in forked children of a pytest that has collected its tests already.

A mutant takes the place of the code of functions that exist, so neither imports nor collection are repeated. What runs
at import is tried in a child that imports loom with it. Which tests run a line is measured first, by coverage; the
quickest come first, and what found out another mutant of the same function before all others.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Literal, NamedTuple, TypeAlias

import pytest
from hypothesis import Phase, settings

from tests.mutation.forks import PASSED, forked, lines_of
from tests.mutation.operators import Mutant, mutated
from tests.mutation.swap import Swap

__all__ = ["LEFT_OUT", "ROOT", "Measured", "Outcome", "judged", "preload"]

ROOT = Path(__file__).parents[2]

Outcome: TypeAlias = Literal["killed", "timeout", "survived", "untested"]

EXAMPLES = 25
"""How many examples a property tries at most; nothing is shrunk."""
SLOWEST_S = 4.0
"""A test that takes longer judges no mutants."""
TOGETHER_S = 20.0
"""How long all tests of one mutant may take, as they were measured."""
PATIENCE_S = 10.0
"""How long a mutant may take longer than its tests took: on a busy machine they wait for each other."""
CPU_S = 5

LEFT_OUT = "left out, as it fails where nothing is changed: "

_FAILED, _ELSEWHERE = 1, 4
_PRELOADED = (
    *("aiosqlite", "anyio", "coverage", "cronsim", "cryptography.fernet", "fastapi", "httpx2", "hypothesis", "numpy"),
    *("pydantic", "pydantic_core", "pytest_asyncio", "rfc8785", "rich", "structlog", "typer", "yaml"),
)


class Measured(NamedTuple):
    """What the tests of a module run, when nothing is changed."""

    seconds: dict[str, float]
    """Of each test that passes, at work; waiting counts a tenth, as on a busy machine all wait."""
    tests: dict[int, list[str]]
    """Those that run a line."""
    at_import: frozenset[int]
    """The lines that run when the module is imported."""
    failed: tuple[str, ...]


def preload() -> None:
    """Import what takes long and has nothing of loom in it, for all children."""
    settings.register_profile(
        "mutation",
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=EXAMPLES,
        phases=(Phase.explicit, Phase.generate),
    )
    for name in _PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def judged(file: str, tests: Sequence[str], mutants: Sequence[Mutant]) -> Iterator[str]:
    """Try mutants of a file, and yield a line of JSON each: number, outcome, the test that found it out.

    Raises:
        RuntimeError: none of its tests passes, or they find something where nothing is changed. A test that fails there
            judges nothing, and is named on stderr.
    """
    source = (ROOT / file).read_text(encoding="utf-8")
    measured = _measured(file, tests)
    if not measured.seconds:
        raise RuntimeError(f"no test of [{file}] passes where nothing is changed")
    for name in measured.failed:
        print(f"{LEFT_OUT}{name}", file=sys.stderr)
    later = [each for each in mutants if not each.at_import]
    cold = [each for each in mutants if each.at_import]
    by_number = {each.number: each for each in later}
    for line in lines_of(lambda write: _warm(file, tests, source, later, measured, write)):
        number, outcome, _ = json.loads(line)
        mutant = by_number[number]
        lines = range(mutant.first, mutant.last + 1)
        ran_at_import = not measured.at_import.isdisjoint(lines)
        ran_elsewhere = outcome == "untested" and any(map(measured.tests.get, lines))
        if outcome in ("survived", "untested") and (ran_at_import or ran_elsewhere):
            cold.append(mutant)
        else:
            yield line
    for mutant in cold:
        outcome, by = _cold(file, tests, source, mutant, measured)
        yield json.dumps([mutant.number, outcome, by])


# --- pytest, in a child ----------------------------------------------------------------------------------------------


def _pytest(tests: Sequence[str], plugin: object) -> int:
    os.chdir(ROOT)
    arguments = ["-q", "-x", "-s", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--assert=plain"]
    return int(pytest.main([*arguments, "--hypothesis-profile=mutation", *tests], plugins=[plugin]))


class _Plugin:
    """Runs the tests that are asked for, one after the other."""

    def __init__(self, loop: Callable[[dict[str, pytest.Item]], None]) -> None:
        self._loop = loop

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items if "postgres" not in getattr(item, "fixturenames", ())}
        for item in items.values():
            _lessen(item)
        self._loop(items)
        return True


def _lessen(item: pytest.Item) -> None:
    """Let a property try few examples."""
    test = getattr(getattr(item, "obj", None), "__func__", getattr(item, "obj", None))
    has = getattr(test, "_hypothesis_internal_use_settings", None)
    if isinstance(has, settings):
        few = settings(has, max_examples=min(EXAMPLES, has.max_examples), phases=(Phase.explicit, Phase.generate))
        test._hypothesis_internal_use_settings = few  # type: ignore[union-attr]


def _first_failed(items: Sequence[pytest.Item]) -> int | None:
    """Run tests until one fails; return which, or None."""
    from _pytest.runner import runtestprotocol

    for number, item in enumerate(items):
        following = items[number + 1] if number + 1 < len(items) else None
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return number
    return None


# --- what is measured first ----------------------------------------------------------------------------------------


def _measured(file: str, tests: Sequence[str]) -> Measured:
    path = str(ROOT / file)
    lines = lines_of(lambda write: _measure(path, tests, write))
    seconds, failed, by_line = json.loads("".join(lines))
    of_tests = {int(line): [each for each in found if each in seconds] for line, found in by_line.items()}
    at_import = frozenset(int(line) for line, found in by_line.items() if "" in found)
    return Measured(seconds, of_tests, at_import, tuple(failed))


def _measure(path: str, tests: Sequence[str], write: Callable[[str], None]) -> int:
    import coverage

    covering = coverage.Coverage(data_file=None, include=[path], config_file=False)
    seconds: dict[str, float] = {}
    failed: list[str] = []

    def run(items: dict[str, pytest.Item]) -> None:
        from _pytest.runner import runtestprotocol

        several = list(items.values())
        for item, following in zip(several, [*several[1:], None], strict=True):
            covering.switch_context(item.nodeid)
            began, cpu = time.perf_counter(), time.process_time()
            reports = runtestprotocol(item, log=False, nextitem=following)
            took_s = time.process_time() - cpu + (time.perf_counter() - began) / 10
            if any(report.failed for report in reports):
                failed.append(item.nodeid)
            elif not any(report.skipped for report in reports):
                seconds[item.nodeid] = took_s

    covering.start()
    try:
        _pytest(tests, _Plugin(run))
    finally:
        covering.stop()
    write(json.dumps([seconds, failed, covering.get_data().contexts_by_lineno(path)]))
    return PASSED


def _judging(mutant: Mutant, measured: Measured, kills: Mapping[str, int]) -> list[str]:
    """Return the tests for a mutant, those first that are likely to find it out, or quick."""
    lines = (
        measured.tests.values() if mutant.at_import else map(measured.tests.get, range(mutant.first, mutant.last + 1))
    )
    names = {name for found in lines for name in found or () if measured.seconds[name] <= SLOWEST_S}
    if mutant.at_import and not names:  # a module without functions
        names = set(measured.seconds)
    ordered = sorted(names, key=lambda name: (-kills.get(name, 0), measured.seconds[name], name))
    total_s, chosen = 0.0, []
    for name in ordered:
        total_s += measured.seconds[name]
        if total_s > TOGETHER_S:
            break
        chosen.append(name)
    return chosen


# --- functions that exist get other code ---------------------------------------------------------------------------


def _warm(
    file: str,
    tests: Sequence[str],
    source: str,
    mutants: Iterable[Mutant],
    measured: Measured,
    write: Callable[[str], None],
) -> int:
    """Try mutants of what is in functions; return 0 where a pytest ran that could."""
    kills: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def run(items: dict[str, pytest.Item]) -> None:
        swap = Swap(ROOT / file, source)
        gc.collect()
        gc.freeze()
        names = [name for name in sorted(measured.seconds, key=measured.seconds.__getitem__) if name in items][:50]
        found, by = _tried(lambda: None, [items[name] for name in names], TOGETHER_S)
        if found != "survived":
            raise RuntimeError(f"[{by}] finds something where nothing is changed")
        for mutant in mutants:
            names = [each for each in _judging(mutant, measured, kills[mutant.function]) if each in items]
            took_s = sum(measured.seconds[name] for name in names)
            tree = mutated(source, mutant.number)
            outcome, by = _tried(lambda: swap.put(tree), [items[name] for name in names], took_s)  # noqa: B023
            if by is not None:
                kills[mutant.function][by] += 1
            write(json.dumps([mutant.number, outcome, by]))

    return _pytest(tests, _Plugin(run))


def _tried(change: Callable[[], None], items: Sequence[pytest.Item], took_s: float) -> tuple[Outcome, str | None]:
    if not items:
        return "untested", None
    found, saying = os.pipe()

    def run() -> int:
        try:
            change()
        except Exception:
            return _ELSEWHERE
        which = _first_failed(items)
        if which is None:
            return PASSED
        os.write(saying, str(which).encode())
        return _FAILED

    try:
        code = forked(run, cpu_s=CPU_S + 3 * took_s, wall_s=PATIENCE_S + 20 * took_s)
        os.close(saying)
        which = os.read(found, 20).decode()
    finally:
        os.close(found)
    if code in (PASSED, _ELSEWHERE):
        return ("survived" if code == PASSED else "untested"), None
    return ("timeout" if code is None else "killed"), items[int(which)].nodeid if which else None


# --- what runs at import -------------------------------------------------------------------------------------------


def _cold(
    file: str, tests: Sequence[str], source: str, mutant: Mutant, measured: Measured
) -> tuple[Outcome, str | None]:
    """Try one mutant in a process that imports loom with it."""
    names = _judging(mutant._replace(at_import=True), measured, {})
    if not names:
        return "untested", None
    took_s = sum(measured.seconds[name] for name in names)
    path = str(ROOT / file)
    failed = [True]

    def run() -> int:
        original = SourceFileLoader.get_code

        def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
            if self.path != path:
                return original(self, fullname)
            return compile(mutated(source, mutant.number), path, "exec", dont_inherit=True)

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]

        def loop(items: dict[str, pytest.Item]) -> None:
            present = [items[name] for name in names if name in items]
            failed[0] = len(present) < len(names) or _first_failed(present) is not None

        _pytest(sorted({name.partition("::")[0] for name in names}), _Plugin(loop))
        return _FAILED if failed[0] else PASSED

    code = forked(run, cpu_s=30 + 3 * took_s, wall_s=120 + 20 * took_s)
    return ("survived" if code == PASSED else "timeout" if code is None else "killed"), None
