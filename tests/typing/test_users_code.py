"""A user's file under `mypy --strict`, without loom's settings or plugins: what is inferred, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_docs import EXAMPLES
from tests.test_readme import blocks
from tests.test_walks import walks

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def checked(*files: Path, options: tuple[str, ...] = ()) -> list[str]:
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
            *options,
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


def programs() -> Iterator[tuple[str, str]]:
    """Yield the programs that a newcomer copies: of the README, of `loom init` and of the pages, each with a name."""
    yield from (("readme", code) for code in blocks("python"))
    yield "init", (ROOT / "loom" / "cli" / "templates" / "refunds.py.txt").read_text(encoding="utf-8")
    for number, example in enumerate(EXAMPLES):
        yield f"page_{number}", str(example.values[0])
    for number, walk in enumerate(walks()):
        for block in walk.blocks:
            if (block["title"] or "").endswith(".py"):
                yield f"walk_{number}/{block['title'].removesuffix('.py')}", block["text"]


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_every_program_that_a_newcomer_copies_passes_a_strict_type_check(tmp_path: Path) -> None:
    scripts = [tmp_path / f"{name}.py" for name, _ in programs()]
    for script, (_, code) in zip(scripts, programs(), strict=True):
        script.parent.mkdir(exist_ok=True)
        script.write_text(code, encoding="utf-8")
    assert len(scripts) > 20

    assert checked(*scripts, options=("--explicit-package-bases",)) == []
