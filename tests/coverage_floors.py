"""Run the tests of each room that has a floor, and compare what they cover: `python -m tests.coverage_floors [ROOM …]`.

The floors are in `tests/coverage.toml`.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Return 1 where a room is below its floor, or its tests fail."""
    floors: dict[str, float] = tomllib.loads((HERE / "coverage.toml").read_text(encoding="utf-8"))
    wanted = sys.argv[1:] or sorted(floors)
    if unknown := [room for room in wanted if room not in floors]:
        sys.exit(f"room [{unknown[0]}] has no floor; expected one of [{', '.join(sorted(floors))}]")
    below = [room for room in wanted if not _holds(room, floors[room])]
    print(f"below their floor, or failed: {', '.join(below)}" if below else "every floor holds")
    return 1 if below else 0


def _holds(room: str, floor: float) -> bool:
    covered = [f"--cov=loom/{room}", "--cov-report=term:skip-covered", f"--cov-fail-under={floor:g}"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "logical", f"tests/{room}", *covered]
    print(f"== {room}: at least {floor:g} %", flush=True)
    return subprocess.run(command, cwd=HERE.parent, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
