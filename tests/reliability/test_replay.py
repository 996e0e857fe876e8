"""R13 and R14: what was written once says the same for ever, in every process, and can be gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.discount_approval import DiscountAgent, RequestDiscount
from loom.journal.sqlite.verify import verify
from tests.journal.support import environment
from tests.reliability.board import ROOT, Tally, row
from tests.reliability.golden.replaying import copied, opened, replayed

GOLDEN = sorted(path.parent for path in Path(__file__).parent.glob("golden/*/expected.json"))
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"

SURROUNDINGS = [
    {"PYTHONHASHSEED": str(seed), "TZ": zone, "LC_ALL": locale}
    for seed, (zone, locale) in enumerate(
        [
            (zone, locale)
            for zone in ("UTC", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu")
            for locale in ("C", "C.UTF-8", "tr_TR.UTF-8")
        ]
    )
]

FEWER = [each for number, each in enumerate(SURROUNDINGS) if number % 3 == number // 3 % 3]
"""Every zone, every locale, and another seed for each: what Pythons other than this one are given on a short run."""


def test_there_is_a_golden_journal() -> None:
    assert GOLDEN


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
@row("R14")
async def test_a_golden_journal_verifies_and_gives_the_states_and_views_that_it_gave(
    tmp_path: Path, tally: Tally, golden: Path
) -> None:
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))
    path = copied(golden, tmp_path)
    before = verify(path)
    found = await replayed(path)
    tally.tried()
    for what in ("verified", "entries", "hashes", "states"):
        tally.check(found[what] == expected[what], f"{what} of {golden.name}: {found[what]}, not {expected[what]}")
    for name, view in expected["views"].items():
        same_version = found["views"][name]["version"] == view["version"]
        tally.check(not same_version or found["views"][name] == view, f"view {name} of {golden.name} is another")
    assert before.ok
    tally.check(before.anchored_through == expected["entries"], "the head that was written down is gone")


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
@row("R14")
async def test_the_turn_that_waits_in_a_golden_journal_is_gone_on_with(
    tmp_path: Path, tally: Tally, golden: Path
) -> None:
    path = copied(golden, tmp_path)
    async with opened(path, resume=True) as loom, asyncio.timeout(30):
        [waiting] = await loom.approvals.pending("vp_sales")
        await loom.approvals.grant(waiting.approval_id, by="dana", comment="third of its kind")
        request = RequestDiscount(customer_id="acme-health", percent=15)
        answer = await loom.actor(DiscountAgent, "emea").ask(request, id="acme-health-15", by="robin")
        tally.tried()
        tally.check(answer.percent == 15, f"{answer}")
        trace = await loom.traces.get(answer.decision_id)
        looked_up = [each.system for each in trace.decision.inputs]
        tally.check(looked_up == ["salesforce", "zendesk"], f"looked up {looked_up}")
    tally.check(verify(path).ok, "the journal does not verify any more")


@pytest.mark.seconds(20)
@pytest.mark.timeout(600)  # a process for each of its surroundings
@pytest.mark.parametrize("version", VERSIONS)
@row("R13")
def test_replay_gives_one_digest_whatever_surrounds_the_process(tally: Tally, version: str) -> None:
    python = interpreter(version)
    said: dict[str, list[dict[str, str]]] = {}
    for surroundings in SURROUNDINGS if version == OWN or "LOOM_NIGHTLY" in os.environ else FEWER:
        said.setdefault(replayed_in(python, surroundings), []).append(surroundings)
        tally.tried()
    expected = json.loads((GOLDEN[-1] / "expected.json").read_text(encoding="utf-8"))
    tally.check(len(said) == 1, f"{len(said)} different answers: {list(said.values())}")
    tally.check(json.loads(next(iter(said)))["hashes"] == expected["hashes"], "the entries are others")


def replayed_in(python: str, surroundings: dict[str, str]) -> str:
    """Return what a process of its own makes of the latest golden journal."""
    done = subprocess.run(
        [python, "-W", "ignore", "-m", "tests.reliability.golden.replaying", str(GOLDEN[-1])],
        cwd=ROOT,
        env={**environment(), **surroundings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer: Any = json.loads(done.stdout)
    return json.dumps(answer, sort_keys=True)


def interpreter(version: str) -> str:
    """Return the Python of a version that has what loom needs, or skip by its name."""
    if version == OWN:
        return sys.executable
    beside = ROOT / f".venv-{version}" / "bin" / "python"
    found = str(beside) if beside.exists() else shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"Python {version}: there is none on this machine")
    imported = subprocess.run(
        [found, "-c", "import sys, loom, pydantic, anyio; print('%d.%d' % sys.version_info[:2])"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if imported.stdout.strip() != version:
        pytest.skip(f"Python {version}: no environment has what loom needs (.venv-{version}): make environments")
    return found
