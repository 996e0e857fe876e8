"""A user's file under `mypy --strict`, without loom's settings or plugins: what is inferred, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def checked(*files: Path) -> list[str]:
    """Return what mypy says of files, a line each."""
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--no-error-summary",
            "--hide-error-context",
            f"--cache-dir={ROOT / '.mypy_cache' / 'users'}",
            *map(str, files),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.stderr == ""
    return ran.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_a_users_file_is_inferred_and_refused_as_it_says() -> None:
    expected = []
    for number, line in enumerate((HERE / "users.py").read_text(encoding="utf-8").splitlines(), 1):
        code, _, comment = line.partition("  # ")
        if "reveal_type" in code:
            expected.append(f'{number}: note: Revealed type is "{comment}"')
        elif comment.startswith("error: "):
            expected.append(f"{number}: error {comment.removeprefix('error: ')}")

    said = [re.sub(r"^.*users\.py:", "", line) for line in checked(HERE / "users.py")]
    refused = re.compile(r"(\d+): error: .*(\[[a-z-]+\])$")
    found = [refused.sub(r"\1: error \2", line) for line in said if "error:" in line or "Revealed type" in line]

    assert found == expected


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_the_readmes_code_passes_a_strict_type_check(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")

    assert checked(script) == []
