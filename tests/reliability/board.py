"""The scoreboard: what each test of a row tried and found, gathered from all workers into `reliability.json`.

A test is tied to its row with `@row("R1")` and reports through the `tally` fixture. Each worker writes one file a test
into a directory that the controller made; the controller merges them when the session ends.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.reliability.scoreboard import SCOREBOARD

__all__ = [
    "NOT_RUN",
    "PIECES",
    "RESULT",
    "ROOT",
    "TREES",
    "UNKNOWN",
    "Piece",
    "Tally",
    "commit",
    "dirty",
    "finds_enough",
    "merged",
    "row",
    "trees_of",
    "write_result",
]

PIECES = "LOOM_RELIABILITY_PIECES"
"""The variable that names the directory into which workers write."""

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "reliability.json"
SEED = int(os.environ.get("LOOM_RELIABILITY_SEED", "20260101"))

NOT_RUN = "not part of this run"
"""The reason of a row none of whose tests were asked for."""

F = TypeVar("F", bound=Callable[..., object])


def row(name: str) -> Callable[[F], F]:
    """Tie a test to a row of the scoreboard."""
    known = SCOREBOARD.get(name)
    if known is None or known.absent is not None:
        raise LookupError(f"row [{name}] is {'absent from' if known else 'not on'} the scoreboard: see scoreboard.py")

    def mark(test: F) -> F:
        marked: F = pytest.mark.reliability(pytest.mark.row(name)(test))
        return marked

    return mark


@dataclass
class Piece:
    """What one test adds to its row."""

    row: str
    test: str
    trials: int = 0
    failures: int = 0
    control_trials: int = 0
    control_found: int = 0
    seed: int = SEED
    seconds: float = 0.0
    status: str = "passed"
    reason: str | None = None
    notes: list[str] = field(default_factory=list)


class Tally:
    """Counts what a test tries and what goes wrong; every trial that fails says how to find it again."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.dice = random.Random(f"{piece.seed}/{piece.row}/{piece.test}")
        self.heard = Counter[str]()
        """What was answered how often: shown with the figures."""
        self._said: list[str] = []
        self._has_control = False

    def tried(self, times: int = 1) -> None:
        """Count trials."""
        self.piece.trials += times

    def fail(self, what: object) -> None:
        """Count a failure and keep what was seen, up to a bound."""
        self.piece.failures += 1
        if len(self._said) < 20:
            self._said.append(str(what))

    def check(self, holds: object, what: object) -> None:
        """Count a failure where something does not hold."""
        if not holds:
            self.fail(what)

    def control(self, *, trials: int, found: int) -> None:
        """Note how often a variant that is wrong on purpose was tried and found out."""
        assert SCOREBOARD[self.piece.row].must_find is not None, (
            "say in scoreboard.py which share the control must find"
        )
        self._has_control = True
        self.piece.control_trials += trials
        self.piece.control_found += found

    def note(self, text: str) -> None:
        """Keep something that belongs beside the figures, as a part that could not run."""
        self.piece.notes.append(text)

    def judge(self) -> None:
        """Fail the test where a trial failed, where nothing was tried, or where the wrong variant was not found out."""
        if self.heard:
            self.note(", ".join(f"{count:,} {word}" for word, count in sorted(self.heard.items())))
        shown = "\n".join(self._said)
        assert not self.piece.failures, (
            f"{self.piece.failures} of {self.piece.trials} (seed {self.piece.seed}):\n{shown}"
        )
        assert self.piece.trials or self._has_control, "nothing was tried"
        if self._has_control:
            share = SCOREBOARD[self.piece.row].must_find or 0.0
            found, trials = self.piece.control_found, self.piece.control_trials
            assert finds_enough(found, trials, share), (
                f"the control found {found} in {trials}, and must find {share:.0%}: the test is broken"
            )


def finds_enough(found: int, trials: int, share: float) -> bool:
    """Tell whether a control found its share, and anything at all."""
    return found > 0 and found >= share * trials


# --- gathering -----------------------------------------------------------------------------------


def keep(piece: Piece) -> None:
    """Write down what a test found, where the controller will look for it."""
    directory = os.environ.get(PIECES)
    if directory is not None:
        name = f"{piece.row}-{abs(hash(piece.test)):x}-{os.getpid()}-{time.monotonic_ns()}.json"
        Path(directory, name).write_text(json.dumps(asdict(piece)), encoding="utf-8")


def pieces_in(directory: Path) -> list[Piece]:
    """Return what all workers wrote down."""
    return [Piece(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(directory.glob("*.json"))]


def merged(pieces: Iterable[Piece], *, interrupted: bool = False) -> dict[str, Any]:
    """Return one result a row of the scoreboard: failed if one of its tests did, SKIPPED if none of them ran.

    A row is SKIPPED, too, where there is no test of it; and one passes only where its control, if it ran, found enough.
    """
    by_row: dict[str, list[Piece]] = {name: [] for name in SCOREBOARD}
    for piece in pieces:
        by_row[piece.row].append(piece)
    missing = "the run was interrupted" if interrupted else NOT_RUN
    return {
        "seed": SEED,
        "commit": commit(),
        "trees": trees_of("HEAD"),
        "dirty": dirty(),
        "sqlite": sqlite3.sqlite_version,
        "rows": [_row(name, found, missing) for name, found in by_row.items()],
    }


def _row(name: str, pieces: list[Piece], missing: str) -> dict[str, Any]:
    board = SCOREBOARD[name]
    trials, found = (sum(getattr(each, what) for each in pieces) for what in ("control_trials", "control_found"))
    failed = [piece for piece in pieces if piece.status == "failed"]
    skipped = [piece for piece in pieces if piece.status == "SKIPPED"]
    status = "failed" if failed else "passed" if len(skipped) < len(pieces) else "SKIPPED"
    reasons = sorted({f"{piece.reason}" for piece in (failed or skipped)}) if pieces else [board.absent or missing]
    if trials and not finds_enough(found, trials, board.must_find or 0.0):
        status, reasons = "failed", [*reasons, "its control found too little"]
    if status == "passed" and skipped:
        reasons = [f"SKIPPED in part: {'; '.join(reasons)}"]
    control = {"trials": trials, "failures_found": found}
    return {
        "id": name,
        "test": board.title,
        "trials": sum(piece.trials for piece in pieces),
        "failures": sum(piece.failures for piece in pieces),
        "must_find": board.must_find,
        "control": control if trials else None,
        "seconds": round(sum(piece.seconds for piece in pieces), 1),
        "status": status,
        "reason": "; ".join(reasons) or None,
        "notes": sorted({note for piece in pieces for note in piece.notes}),
        "tests": sorted(piece.test for piece in pieces),
    }


def write_result(result: dict[str, Any]) -> None:
    """Write `reliability.json` at the root of the repository."""
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


TREES = ("loom", "tests")
"""The directories on which a result rests."""

UNKNOWN = "unknown"


def trees_of(commit: str) -> dict[str, str]:
    """Return the git tree hash of each directory that a result rests on, at a commit."""
    return {name: _git("rev-parse", f"{commit}:{name}") or UNKNOWN for name in TREES}


def commit() -> str:
    """Return the commit of HEAD."""
    return _git("rev-parse", "HEAD") or UNKNOWN


def dirty() -> bool:
    """Tell whether what lies there differs from HEAD, in what a result rests on."""
    return bool(_git("status", "--porcelain", "--", *TREES))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
