"""R42: the same commit gives the same wheel and sdist, to the byte, wherever and whenever it is built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from release.building import build, copied, digests
from tests.reliability.board import Tally, row

pytestmark = pytest.mark.reliability


@row("R42")
def test_two_builds_are_the_same_bytes_and_a_changed_byte_is_seen(tally: Tally, tmp_path: Path) -> None:
    here = copied(tmp_path / "source")
    elsewhere = copied(tmp_path / "far" / "away" / "source")
    for each in elsewhere.rglob("*"):
        each.chmod(each.stat().st_mode & 0o700)
        os.utime(each, (946_684_800, 946_684_800))
    first, second = digests(build(here, tmp_path / "one")), digests(build(elsewhere, tmp_path / "two"))
    for name, digest in first.items():
        tally.tried()
        tally.check(second.get(name) == digest, f"{name} differs between two builds")
    (here / "loom" / "errors.py").write_bytes((here / "loom" / "errors.py").read_bytes() + b"\n")
    changed = digests(build(here, tmp_path / "three"))
    tally.check(all(changed[name] != digest for name, digest in first.items()), "a changed byte was not seen")
    tally.note("`make release` runs `twine check --strict`, pip-audit and the SBOM, and installs the wheel")
    tally.note("SKIPPED in part: attestation: an index makes it at the upload")
