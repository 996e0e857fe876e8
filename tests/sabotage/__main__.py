"""Takes away one guard of loom's after the other and runs the tests of its room: `python -m tests.sabotage [WORD…]`.

Each runs in a copy of the repository, so that processes which a test starts are sabotaged, too. Exits with 1 where an
act survives its tests, or does not apply any more; WORDs narrow the acts by name.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.sabotage.acts import ACTS, Act

ROOT = Path(__file__).parents[2]
COPIED = ("loom", "tests", "examples", "docs", "benchmarks", "requirements")
TIMEOUT_S = 600.0


def main(words: Sequence[str]) -> int:
    """Run the acts that the words name, as many at once as there are cores; return the exit code."""
    chosen = [act for act in ACTS if all(word in act.name for word in words)]
    names = [act.name for act in chosen]
    if not chosen or len(set(names)) < len(names):
        print("no act has these words" if not chosen else "two acts have one name")
        return 1
    workers = min(os.cpu_count() or 1, len(chosen))
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(workers) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            copies.put(copied(Path(directory) / str(number)))
        problems = [problem for problem in pool.map(lambda act: tried(act, copies), chosen) if problem]
    print(f"{len(chosen)} acts of sabotage, {len(chosen) - len(problems)} noticed")
    return 1 if problems else 0


def copied(target: Path) -> Path:
    """Copy what the tests need to a directory of its own."""
    for name in COPIED:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != "reliability.json":
            shutil.copy(path, target / path.name)
    return target


def tried(act: Act, copies: SimpleQueue[Path]) -> str | None:
    """Run the tests of an act in a copy; return what is wrong: that nothing noticed it, or that it does not apply."""
    copy = copies.get()
    began = time.perf_counter()
    path = copy / act.file
    sound = path.read_text(encoding="utf-8")
    try:
        path.write_text(sabotaged(sound, act), encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *act.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        problem = None if ran.returncode == 1 else f"SURVIVED (pytest ended with {ran.returncode})"
    except (LookupError, OSError) as error:
        problem = f"DOES NOT APPLY: {error}"
    except subprocess.TimeoutExpired:
        problem = None  # the tests hang without the guard: noticed
    finally:
        path.write_text(sound, encoding="utf-8")
        copies.put(copy)
    print(f"{problem or 'noticed'}: {act.name} ({time.perf_counter() - began:.0f} s)", flush=True)
    return problem


def sabotaged(source: str, act: Act) -> str:
    """Return a module's source with the guard taken away; raise `LookupError` where it is not there exactly once."""
    node: ast.AST = ast.parse(source)
    for name in act.function.split("."):
        found = [each for each in ast.iter_child_nodes(node) if getattr(each, "name", None) == name]
        if len(found) != 1:
            raise LookupError(f"{act.file} has {len(found)} of [{act.function}]; expected one")
        [node] = found
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = source.splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    body = "".join(lines[first:last])
    if body.count(act.line) != 1:
        raise LookupError(f"[{act.function}] has [{act.line}] {body.count(act.line)} times; expected once")
    return "".join(lines[:first]) + body.replace(act.line, act.instead) + "".join(lines[last:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
