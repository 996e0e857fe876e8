"""The mutation score of modules: which mutants there are to try, what came of each, and how many are enough."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.mutation.core import CORE, PLANTED
from tests.mutation.operators import Mutant, mutants_of
from tests.mutation.warm import LEFT_OUT, ROOT, Outcome, judged, preload

__all__ = ["ENOUGH", "Left", "Score", "chosen_of", "equivalents", "gone", "judge", "scored", "state_of"]

ENOUGH = 0.9
"""The share of the mutants of a module that its tests have to find out."""

EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Left:
    """A mutant that nothing found out: it survived its tests, or no test runs it."""

    function: str
    line: int
    change: str
    outcome: Outcome

    def __str__(self) -> str:
        untested = " (no test runs it)" if self.outcome == "untested" else ""
        return f"{self.line} {self.function or 'at import'}: {self.change}{untested}"


@dataclass(frozen=True)
class Score:
    """What came of the mutants of one module."""

    file: str
    tried: int
    killed: int
    timeouts: int
    """How many of the killed ones were not finished in time."""
    equivalent: int
    """How many were not tried, as they do the same."""
    left: tuple[Left, ...]
    seconds: float = 0.0
    unfit: tuple[str, ...] = ()
    """Tests that judged nothing, as they fail where nothing is changed."""
    state: str = ""
    """Of which state of the module and of its test files it is: see `state_of`."""

    @property
    def share(self) -> float:
        """How many of the mutants that were tried were found out; 1 where there is none."""
        return self.killed / self.tried if self.tried else 1.0

    def as_json(self) -> dict[str, Any]:
        """Return it as a value of JSON."""
        return {**asdict(self), "share": round(self.share, 4)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Score:
        """Return what `as_json` made a value of."""
        fields = {name: given for name, given in value.items() if name not in ("left", "share", "unfit")}
        left = tuple(Left(**each) for each in value["left"])
        return cls(**fields, left=left, unfit=tuple(value.get("unfit", ())))


def state_of(file: str) -> str:
    """Return a digest of a module of the core and of the test files that judge it, of 12 characters."""
    digest = hashlib.sha256()
    for name in (file, *CORE.get(file, ())):
        digest.update(hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()[:12]


def equivalents(file: str) -> dict[tuple[str, str], str]:
    """Return the mutants of a file that do the same, as function and change, with the reason of each."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    return {(each["function"], each["change"]): each["reason"] for each in listed if each["file"] == file}


def chosen_of(file: str, *, sample: int | None = None, seed: str = "") -> tuple[list[Mutant], int]:
    """Return the mutants of a file to try, all or a sample, and how many others do the same as the code does."""
    same = equivalents(file)
    mutants = mutants_of((ROOT / file).read_text(encoding="utf-8"))
    chosen = [each for each in mutants if (each.function, each.change) not in same]
    if sample is not None and sample < len(chosen):
        chosen = sorted(random.Random(f"{seed}/{file}").sample(chosen, sample))
    return chosen, len(mutants) - len([each for each in mutants if (each.function, each.change) not in same])


def scored(file: str, *, sample: int | None = None, seed: str = "") -> Score:
    """Take the score of a file in a process of its own, which has nothing of loom imported.

    Raises:
        RuntimeError: no test of it passes where nothing is changed.
    """
    state = state_of(file)
    asked = [sys.executable, "-m", "tests.mutation.score", file, "" if sample is None else str(sample), seed]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"no score of [{file}]:\n{done.stderr[-3_000:]}")
    said = done.stderr.splitlines()
    unfit = tuple(line.removeprefix(LEFT_OUT) for line in said if line.startswith(LEFT_OUT))
    return replace(Score.of_json(json.loads(done.stdout.splitlines()[-1])), unfit=unfit, state=state)


def judge(file: str, tests: Sequence[str], mutants: Sequence[Mutant], equivalent: int) -> Score:
    """Try mutants of a file here; nothing of loom may be imported yet."""
    by_number = {each.number: each for each in mutants}
    outcomes: dict[int, Outcome] = {}
    for line in judged(file, tests, mutants):
        number, outcome, _ = json.loads(line)
        outcomes[number] = outcome
    count = [*outcomes.values()].count
    found = [(by_number[number], outcome) for number, outcome in sorted(outcomes.items())]
    left = tuple(
        Left(mutant.function, mutant.first, mutant.change, outcome)
        for mutant, outcome in found
        if outcome in ("survived", "untested")
    )
    killed = count("killed") + count("timeout")
    return Score(file, len(outcomes), killed, count("timeout"), equivalent, left)


def gone() -> Iterable[str]:
    """Yield each mutant that is listed as doing the same, and is not there any more."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    for file in sorted({each["file"] for each in listed}):
        there = {(each.function, each.change) for each in mutants_of((ROOT / file).read_text(encoding="utf-8"))}
        yield from (
            f"{file} {function}: {change}" for function, change in equivalents(file) if (function, change) not in there
        )


def main(file: str, sample: str, seed: str) -> None:
    """Print the score of a file as JSON."""
    preload()
    chosen, equivalent = chosen_of(file, sample=int(sample) if sample else None, seed=seed)
    print(json.dumps(judge(file, {**CORE, **PLANTED}[file], chosen, equivalent).as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
