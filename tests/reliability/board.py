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

__all__ = ["NOT_RUN", "PIECES", "RESULT", "ROWS", "Piece", "Tally", "merged", "row", "write_result"]

PIECES = "LOOM_RELIABILITY_PIECES"
"""The variable that names the directory into which workers write."""

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "reliability.json"
SEED = int(os.environ.get("LOOM_RELIABILITY_SEED", "20260101"))

NOT_RUN = "not part of this run"
"""The reason of a row none of whose tests were asked for."""

F = TypeVar("F", bound=Callable[..., object])

ROWS = {
    "R1": "kill -9 at any moment, one writer and three: nothing acknowledged is lost, torn or there twice",
    "R2": "killed before or in the middle of every write-class system call",
    "R3": "EIO and ENOSPC at every write-class system call, once and from then on: no wrong answer about an append",
    "R4": "power cut: unsynced writes dropped, reordered, torn at 512 bytes (control: synchronous NORMAL)",
    "R5": "a disk that is really full, or turns read-only: nothing lost, and it goes on afterwards",
    "R6": "many processes: a second writer is refused by type, and all get through by the control socket",
    "R7": "the WAL-reset race in the supported mode: one writer, readers, and others that try",
    "R8": "a stray open and close in the writer's process, then another process: no false receipt (control: no guard)",
    "R9": "a storm of cancellations on appends and asks (control: the usual shape with aiosqlite)",
    "R11": "a model of journal, projection and pruning, driven through crashes at random",
    "R12": "views kept up through crashes equal rebuilt ones, in pages of any size",
    "R13": "replay gives one digest whatever the hash seed, time zone, locale and Python",
    "R14": "golden journals of every release verify, replay and go on",
    "R17": "a writer that was stopped, overtaken and woken writes nothing more (control: no check of the epoch)",
    "R18": "the same command many times, with the same contents and with others: one entry, conflicts by type",
    "R20": "a budget that many spend at once and killed processes leave: never exceeded (control: no reservation)",
    "R21": "a critic that is down, slow, broken or talked into things: no decision, key or approval is touched",
    "R22": "every byte of a journal flipped: no silent change of what it holds or answers (control: the chain alone)",
    "R26": "killed amid erasures: what is erased opens for nobody, no secret or key is on the disk (control: unsealed)",
    "R27": "killed at every step of sealing and pruning: a whole archive or none, nothing pruned before it verifies",
    "R28": "bad input at every boundary: each rejection has a type, nothing accepted is unstable",
    "R29": "canonical JSON is idempotent and equals RFC 8785",
    "R30": "anything sent to any route of the API: no fault, every answer in the shape that the document says",
    "R31": "every route with every role in every workspace: none does more than it may, none sees another's",
    "R32": "hosts, origins and sites that may not ask are not answered",
    "R36": "a writer that stands still, 100,000 waiting: nothing dropped, memory bounded",
    "R37": "kill switch, shadow and forbidden signals, with processes killed: no optimised choice without its decision",
    "R41": "soak beside a reader that is stuck: descriptors, threads, memory and log stay bounded",
}
"""The rows of the scoreboard that this suite has, with what they show."""


def row(name: str) -> Callable[[F], F]:
    """Tie a test to a row of the scoreboard."""
    if name not in ROWS:
        raise LookupError(f"row [{name}] is not on the scoreboard")

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
        """What was answered how often: told beside the figures."""
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
            assert self.piece.control_found, (
                f"the control passed {self.piece.control_trials} trials: the test is broken"
            )


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
    """Return one result a row: failed if one of its tests did, SKIPPED if all of them were or it never ran."""
    by_row: dict[str, list[Piece]] = {name: [] for name in ROWS}
    for piece in pieces:
        by_row[piece.row].append(piece)
    missing = "the run was interrupted" if interrupted else NOT_RUN
    return {
        "seed": SEED,
        "commit": _commit(),
        "sqlite": sqlite3.sqlite_version,
        "rows": [_row(name, found, missing) for name, found in by_row.items()],
    }


def _row(name: str, pieces: list[Piece], missing: str) -> dict[str, Any]:
    failed = [piece for piece in pieces if piece.status == "failed"]
    skipped = [piece for piece in pieces if piece.status == "SKIPPED"]
    status = "failed" if failed else "passed" if len(skipped) < len(pieces) else "SKIPPED"
    reasons = sorted({f"{piece.reason}" for piece in (failed or skipped)}) if pieces else [missing]
    if status == "passed" and skipped:
        reasons = [f"SKIPPED in part: {'; '.join(reasons)}"]
    with_control = any(piece.control_trials for piece in pieces)
    control = {
        "trials": sum(piece.control_trials for piece in pieces),
        "failures_found": sum(piece.control_found for piece in pieces),
    }
    return {
        "id": name,
        "test": ROWS[name],
        "trials": sum(piece.trials for piece in pieces),
        "failures": sum(piece.failures for piece in pieces),
        "control": control if with_control else None,
        "seconds": round(sum(piece.seconds for piece in pieces), 1),
        "status": status,
        "reason": "; ".join(reasons) or None,
        "notes": sorted({note for piece in pieces for note in piece.notes}),
        "tests": sorted(piece.test for piece in pieces),
    }


def write_result(result: dict[str, Any]) -> None:
    """Write `reliability.json` at the root of the repository."""
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
