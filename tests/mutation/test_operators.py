"""What mutants are made of, and that each takes the place of the code where tests look for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.core import CORE, NOT_YET, PLANTED
from tests.mutation.operators import mutants_of, mutated
from tests.mutation.page import page
from tests.mutation.score import Left, Score, chosen_of, equivalents, gone, state_of
from tests.mutation.warm import ROOT


def changes(source: str) -> list[str]:
    return [each.change for each in mutants_of(source)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a < b", ["return a < b → return None", "a < b → a <= b"]),
        ("return a and b", ["return a and b → return None", "a and b → a or b"]),
        ("return a is not b", ["return a is not b → return None", "a is not b → a is b"]),
        ("return a in b", ["return a in b → return None", "a in b → a not in b"]),
        ("return 7", ["return 7 → return 8"]),
        ("return -a", ["return -a → return None", "-a → a"]),
        ("return b''", ["return b'' → return b'XX'"]),
        ("return a.get('x')", ["return a.get('x') → return None", "a.get('x') → a.get('XXxXX')"]),
        ("a = 'two words'", []),
        ("a(b)", ["a(b) → pass"]),
        ("a(b, 1, c)", ["a(b, 1, c) → pass", "a(b, 1, c) → a(1, b, c)", "a(b, 1, c) → a(b, 2, c)"]),
        ("a = b", ["a = b → a = None"]),
        ("a[b] += c", []),
        ("if a: b = 1", ["a → not a", "b = 1 → b = 2"]),
        ("if not a: pass", ["not a → a"]),
        ("return b if a else c", ["return b if a else c → return None", "b if a else c → c if a else b", "a → not a"]),
        ("raise ValueError(f'{a} is not 1') from None", ["raise ValueError(f'{a} is not 1') from None → pass"]),
        ("return f'a {b + 1}'", ["return f'a {b + 1}' → return None", "b + 1 → b - 1", "b + 1 → b + 2"]),
        ("while a: break", ["a → not a", "break → continue"]),
        ("return [b for b in a if b]", ["return [b for b in a if b] → return None", "for b in a if b → for b in a"]),
        ("return lambda: a * 2", ["return lambda: a * 2 → return None", "a * 2 → a // 2", "a * 2 → a * 3"]),
        ("try: a()\nexcept OSError: b()", ["a() → pass", "except OSError: b() → except OSError: raise", "b() → pass"]),
        ("return isinstance(a, int)", ["return isinstance(a, int) → return None"]),
        ("return max(a, b)", ["return max(a, b) → return None"]),
        ("'a docstring'", []),
        ("a: int = b", ["a: int = b → a = None"]),
    ],
)
def test_code_has_the_mutants_that_are_to_be_expected(body: str, expected: list[str]) -> None:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    assert changes(f"def f(a, b, c):\n{lines}") == expected


def test_what_runs_at_import_is_known_and_what_nobody_runs_is_left_alone() -> None:
    source = (
        "from typing import TYPE_CHECKING\n__all__ = ['A']\nif TYPE_CHECKING:\n    B = 1\nA = 1\n"
        "@wraps(1)\ndef f(x: int = 2) -> Literal['x']:\n    y = 3\nclass C:\n    z: int = 4\n"
    )
    found = [(each.function, each.change, each.at_import) for each in mutants_of(source)]
    assert found == [
        ("", "A = 1 → A = 2", True),
        ("f", "x: int=2 → x: int=3", True),
        ("f", "y = 3 → y = 4", False),
        ("C", "z: int = 4 → z: int = 5", True),
    ]


def test_a_change_that_a_function_has_twice_is_numbered_and_only_one_is_made() -> None:
    source = "def f(a):\n    g(a + 1)\n    g(a + 1)\n"
    second = next(each for each in mutants_of(source) if each.change == "a + 1 → a - 1 #2")
    assert ast.unparse(mutated(source, second.number)) == "def f(a):\n    g(a + 1)\n    g(a - 1)"


@pytest.mark.parametrize("file", [*CORE, *PLANTED])
def test_every_mutant_of_the_core_is_python_that_differs_and_has_a_name_of_its_own(file: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    found = mutants_of(source)
    assert len({(each.function, each.change) for each in found}) == len(found)
    original = ast.dump(ast.parse(source))
    for each in found[:: max(1, len(found) // 8)]:
        tree = mutated(source, each.number)
        compile(tree, file, "exec")
        assert ast.dump(tree) != original


def test_the_tests_that_judge_the_core_are_there_and_the_core_has_ten_modules_or_more() -> None:
    assert len(CORE) >= 10
    assert all((ROOT / test).is_file() for tests in [*CORE.values(), *PLANTED.values()] for test in tests)


def test_every_equivalent_mutant_is_one_of_the_core_and_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [*gone()] == []
    assert all(reason for file in CORE for reason in equivalents(file).values())
    listed = tmp_path / "equivalent.toml"
    listed.write_text(
        '[[mutant]]\nfile = "tests/mutation/planted.py"\nfunction = "is_far"\nchange = "distance > 1 → 0"\n'
        'reason = "x"\n'
        '[[mutant]]\nfile = "tests/mutation/planted.py"\nfunction = "is_far"\nchange = "return True → return False"\n'
        'reason = "x"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr("tests.mutation.score.EQUIVALENT", listed)
    assert [*gone()] == ["tests/mutation/planted.py is_far: distance > 1 → 0"]
    chosen, same = chosen_of("tests/mutation/planted.py")
    assert same == 1
    assert "return True → return False" not in [each.change for each in chosen]


def test_a_sample_is_the_same_for_a_seed_and_another_for_another() -> None:
    first, again, other = (chosen_of("loom/proof/tree.py", sample=5, seed=seed)[0] for seed in "aab")
    assert first == again != other
    assert len(first) == len(other) == 5


def test_the_page_has_each_module_each_survivor_and_each_equivalent_mutant() -> None:
    left = (Left("f", 3, "1 → 2", "survived"), Left("", 1, "A = 1 → A = 2", "untested"))
    file = "loom/proof/tree.py"
    score = Score(file, tried=10, killed=8, timeouts=1, equivalent=4, left=left, state=state_of(file))
    text = page({"modules": [score.as_json()]})
    assert "| `loom/proof/tree.py` | 10 | 8 | 80.0% | 1 | 1 | 4 | 0 |\n| all of them | 10 | 8 | 80.0% |" in text
    assert "- `f`: `1 → 2`\n- at import: `A = 1 → A = 2` (no test runs it)" in text
    assert all(reason in text for reason in equivalents("loom/proof/tree.py").values())
    assert all(f"- `{file}`: {why}" in text for file, why in NOT_YET.items())


def test_a_module_that_was_changed_since_its_run_or_whose_tests_were_is_marked_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.mutation.score.ROOT", tmp_path)
    monkeypatch.setattr("tests.mutation.score.CORE", {"a/x.py": ("a/test_x.py",)})
    (tmp_path / "a").mkdir()
    for name in ("x.py", "test_x.py"):
        (tmp_path / "a" / name).write_text(name, encoding="utf-8")
    measured = Score("a/x.py", tried=10, killed=9, timeouts=0, equivalent=0, left=(), state=state_of("a/x.py"))
    assert "| `a/x.py` | 10 |" in page({"modules": [measured.as_json()]})
    assert "| `a/x.py` * | 10 |" in page({"modules": [{**measured.as_json(), "state": ""}]})
    for name in ("x.py", "test_x.py"):
        (tmp_path / "a" / name).write_text("changed", encoding="utf-8")
        assert "| `a/x.py` * | 10 |" in page({"modules": [measured.as_json()]})
        (tmp_path / "a" / name).write_text(name, encoding="utf-8")


def test_no_module_is_both_measured_and_not_yet() -> None:
    assert not [file for file in CORE for other in NOT_YET if file == other or file.startswith(f"{other}/")]
    assert all((ROOT / name).exists() for name in (*CORE, *NOT_YET))


def test_a_score_is_what_was_found_out_of_what_was_tried() -> None:
    left = (Left("f", 3, "1 → 2", "survived"),)
    score = Score("loom/x.py", tried=10, killed=9, timeouts=1, equivalent=4, left=left)
    assert score.share == 0.9
    assert Score.of_json(score.as_json()) == score


PROBE = """
import os
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.mutation.operators import mutants_of, mutated
from tests.mutation.warm import Swap
import module
from module import K, L, add, cached, made

source = Path(module.__file__).read_text()
swap = Swap(Path(module.__file__), source)
for each in mutants_of(source):
    if each.change in sys.argv[1:]:
        if (child := os.fork()) == 0:
            swap.put(mutated(source, each.number))
            print(add(5), cached(5), K().size, K.of(5), made(5), L().size, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
"""
MODULE = """
from functools import lru_cache

def add(x):
    return x + 1

@lru_cache(maxsize=4)
def cached(x):
    return x + 2

class K:
    @property
    def size(self):
        return 3 + len([x for x in (4, 5) if x > 4])
    @classmethod
    def of(cls, x):
        return (lambda y: y * 4)(x)

class L(K):
    def __init__(self):
        super().__init__()

def outer(by):
    def inner(x):
        return x - by
    return inner

made = outer(7)
"""


def test_a_mutant_takes_the_place_of_code_wherever_it_was_imported_to(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE, encoding="utf-8")
    asked = ["x + 1 → x - 1", "x + 2 → x - 2", "x > 4 → x >= 4", "y * 4 → y * 5", "x - by → x + by"]
    ran = subprocess.run(
        [sys.executable, "-c", PROBE.format(root=str(ROOT)), *asked, "super().__init__() → pass"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.splitlines() == [
        "4 7 4 20 -2 4",
        "6 3 4 20 -2 4",
        "6 7 5 20 -2 5",
        "6 7 4 25 -2 4",
        "6 7 4 20 -2 4",
        "6 7 4 20 12 4",
    ], ran.stderr
