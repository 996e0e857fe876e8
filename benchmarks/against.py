"""Two revisions in one run, taking turns: medians, and the ratio of each figure to that of the other revision."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.revisions import Revision

__all__ = ["MEASURES", "Aim", "Measure", "aim_of", "compared", "load", "measured", "table"]

Figures = Mapping[str, float]
"""What one part of the probe printed: the figure's name → its value."""

_PROBE = Path(__file__).with_name("probe.py")
_ONCE = frozenset({"memory"})
"""Parts that count, and whose counts do not change from round to round."""


class Aim(NamedTuple):
    """What a figure is to be: at most or at least a bound, by itself or as a ratio to the other revision's."""

    of: Literal["ratio", "value"]
    at_most: bool
    bound: float

    def met(self, value: float, ratio: float) -> bool:
        """Tell whether it is so."""
        seen = ratio if self.of == "ratio" else value
        return seen <= self.bound if self.at_most else seen >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:,g}{' ×' if self.of == 'ratio' else ''}"


def aim_of(written: str) -> Aim:
    """Read an aim as it is written in a table: `≤ 600`, or `≥ 2.2 ×` for a ratio."""
    sign, bound, *times = written.split()
    if sign not in {"≤", "≥"} or times not in ([], ["×"]):
        raise ValueError(f"[{written}] is no aim; expected [≤ or ≥, a number, and × for a ratio]: write it so")
    return Aim("ratio" if times else "value", sign == "≤", float(bound.replace(",", "")))


class Measure(NamedTuple):
    """One line of the table: which figure of which part of the probe."""

    part: str
    figure: str
    shown: str
    unit: str
    aim: str | None = None


MEASURES = (
    Measure("turns", "cpu_us", "CPU of a turn at 256, all threads", "µs", "≤ 0.5 ×"),
    Measure("turns", "loop_us", "… of the loop", "µs"),
    Measure("turns", "writer_us", "… of the writer", "µs"),
    Measure("turns", "views_us", "… of the views, until they had caught up", "µs", "≤ 0.5 ×"),
    Measure("turns", "readers_us", "… of readers", "µs"),
    Measure("turns", "views_us_an_entry", "CPU of the views, for each entry", "µs", "≤ 0.5 ×"),
    Measure("history", "views_rebuilt_us_an_entry", "… where all views are rebuilt", "µs"),
    Measure("turns", "per_second", "turns at 256", "/s", "≥ 2.2 ×"),
    Measure("alone", "commits", "one turn alone", "raw commits", "≤ 3"),
    Measure("calls", "calls", "Python calls of a turn at 256, all threads", "calls", "≤ 600"),
    Measure("calls", "calls_on_loop", "… on the loop", "calls"),
    Measure("calls", "calls_alone", "Python calls of a turn alone, all threads", "calls", "≤ 600"),
    Measure("calls", "calls_alone_on_loop", "… on the loop", "calls"),
    Measure("turns", "bytes", "bytes of a decision", "bytes", "≤ 0.6 ×"),
    Measure("turns", "journal_bytes", "… in the journal", "bytes"),
    Measure("turns", "views_bytes", "… in the views", "bytes"),
    Measure("history", "rebuild", "rebuild of a long journal", "entries/s"),
    Measure("history", "rebuild_ratio", "… to validate_json alone", "", "≥ 0.7"),
    Measure("judged", "judged", "judged again from SQLite", "decisions/s", "≥ 150,000"),
    Measure("memory", "awake", "an actor that is awake", "bytes", "≤ 3,000"),
    Measure("shell", "help_ms", "CPU of `loom --help`", "ms", "≤ 200"),
)


def measured(
    revisions: Sequence[Revision], *, rounds: int, parts: Sequence[str], directory: Path, scale: float = 1.0
) -> dict[str, dict[tuple[str, str], float]]:
    """Return the medians of each revision by its name; who comes first changes with each round."""
    seen: dict[str, dict[tuple[str, str], list[float]]] = {each.name: defaultdict(list) for each in revisions}
    for number in range(rounds):
        for part in parts:
            if part in _ONCE and number:
                continue
            for revision in revisions if number % 2 == 0 else reversed(revisions):
                for figure, value in _probed(revision, part, directory, scale).items():
                    seen[revision.name][part, figure].append(value)
    return {name: {which: statistics.median(values) for which, values in of.items()} for name, of in seen.items()}


def compared(here: Mapping[tuple[str, str], float], then: Mapping[tuple[str, str], float]) -> list[dict[str, object]]:
    """Return a line for every measure that was taken of both: its two values, their ratio, and its aim."""
    lines: list[dict[str, object]] = []
    for measure in MEASURES:
        which = measure.part, measure.figure
        if which not in here or which not in then:
            continue
        value, before = here[which], then[which]
        ratio = value / before if before else float("nan")
        met = None if measure.aim is None else aim_of(measure.aim).met(value, ratio)
        lines.append(
            {
                "name": measure.shown,
                "value": value,
                "then": before,
                "unit": measure.unit,
                "ratio": ratio,
                "aim": measure.aim,
                "met": met,
            }
        )
    return lines


def table(lines: Sequence[Mapping[str, object]], *, then: str) -> str:
    """Return the lines as a table in Markdown; `then` is the name of the other revision."""
    rows = [f"| figure | here | {then} | ratio | aim | met |", "|---|---:|---:|---:|---|---|"]
    for line in lines:
        met = {None: "", True: "yes", False: "**no**"}[line["met"]]  # type: ignore[index]
        rows.append(
            f"| {line['name']} | {_shown(line['value'])} {line['unit']} | {_shown(line['then'])} {line['unit']} "
            f"| {line['ratio']:.2f} | {line['aim'] or ''} | {met} |"
        )
    return "\n".join(rows).replace("  |", " |")


def load() -> str:
    """Say how busy the machine is, to print next to the figures."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _shown(value: object) -> str:
    number = float(str(value))
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _probed(revision: Revision, part: str, directory: Path, scale: float) -> Figures:
    with tempfile.TemporaryDirectory(dir=directory) as place:
        command = [str(revision.python), str(_PROBE), part, place, str(scale)]
        ran = subprocess.run(
            command, env=revision.environment(), cwd=revision.source, capture_output=True, text=True, timeout=1_800
        )
    if ran.returncode:
        raise RuntimeError(f"part [{part}] of revision [{revision.name}] ended with [{ran.returncode}]: {ran.stderr}")
    figures: Figures = json.loads(ran.stdout.strip().splitlines()[-1])
    return figures
