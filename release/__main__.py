"""Make a release in `dist/`, check it, and stop before the upload: `python -m release TOOLS` in loom's environment.

TOOLS is the directory with twine, pip-audit and cyclonedx-py. What could not be checked is said, and is no failure;
what was checked and is wrong ends with 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from release.building import ROOT, build, copied, digests

DIST = ROOT / "dist"
_OLD = 946_684_800
"""A time for the files of the second copy."""


def main() -> None:
    """Do all of it, in order."""
    tools = Path(sys.argv[1]).resolve()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    shutil.rmtree(DIST, ignore_errors=True)
    files = build_twice()
    say(f"{len(files)} files, the same bytes from two copies")
    run(tools / "twine", "check", "--strict", *files)
    audit(tools / "pip-audit")
    sbom = DIST / f"loom_journal-{version}.cdx.json"
    run(
        *(tools / "cyclonedx-py", "requirements", "--pyproject", ROOT / "pyproject.toml", "--mc-type", "library"),
        *("--output-reproducible", "--of", "JSON", "-o", sbom, ROOT / "requirements" / "runtime.txt"),
    )
    say(f"{sbom.name}: {len(json.loads(sbom.read_text(encoding='utf-8'))['components'])} components")
    (DIST / "NOTES.md").write_text(
        notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version), encoding="utf-8"
    )
    shutil.copyfile(ROOT / "loom" / "proof" / "verify.py", DIST / "verify.py")  # for strangers, who take it from here
    sums = digests(sorted(DIST.iterdir()))
    (DIST / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")
    install(next(file for file in files if file.suffix == ".whl"), version)
    say(f"release {version} is in dist/, and nothing was uploaded: look at it, tag the commit, then upload it")


def build_twice() -> list[Path]:
    """Build into `dist/` and once more from another copy, elsewhere and of other times and modes; compare the bytes."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        files = build(copied(Path(one) / "source"), DIST)
        elsewhere = copied(Path(two) / "another" / "source")
        for each in elsewhere.rglob("*"):
            each.chmod(each.stat().st_mode & 0o700)
            os.utime(each, (_OLD, _OLD))
        again = digests(build(elsewhere, Path(two) / "dist"))
    if digests(files) != again:
        sys.exit(f"two builds differ: {digests(files)}, {again}")
    return files


def audit(tool: Path) -> None:
    """Ask the advisory database about every locked dependency, and say which it could not be asked about."""
    locked = ROOT / "requirements" / "runtime.txt"
    done = subprocess.run(  # noqa: S603 - a tool of the release
        [tool, "--disable-pip", "--no-deps", "--progress-spinner", "off", "-f", "json", "-r", locked],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        say(f"pip-audit SKIPPED: it gave no answer [{done.stderr.strip()[-200:]}]")
        return
    known = [each for each in found if "vulns" in each]
    if wrong := {each["name"]: [vuln["id"] for vuln in each["vulns"]] for each in known if each["vulns"]}:
        sys.exit(f"vulnerabilities are known: {wrong}")
    asked = f"pip-audit: {len(known)} of {len(found)} packages were looked up, none has a known vulnerability"
    say(asked if known else f"pip-audit SKIPPED: none of {len(found)} packages could be looked up from here")


def notes(changelog: str, version: str) -> str:
    """Return what the changelog says of a version."""
    found = re.search(rf"^## \[{re.escape(version)}\].*?(?=^## \[|\Z)", changelog, flags=re.DOTALL | re.MULTILINE)
    if found is None:
        sys.exit(f"CHANGELOG.md has no section [{version}]; expected one: write what changed")
    return found[0].strip() + "\n"


def install(wheel: Path, version: str) -> None:
    """Install the wheel into an empty environment, and ask it for its version and a page."""
    with tempfile.TemporaryDirectory() as place:
        run(sys.executable, "-m", "venv", place)
        python = Path(place) / "bin" / "python"
        locked = ROOT / "requirements" / "runtime.txt"
        run(python, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--require-hashes", "-r", locked)
        run(python, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps", wheel)
        loom = Path(place) / "bin" / "loom"
        said = subprocess.run([loom, "--version"], cwd=place, capture_output=True, text=True, check=True)  # noqa: S603
        if said.stdout.strip() != f"loom {version}":
            sys.exit(f"the installed wheel says [{said.stdout.strip()}]; expected [loom {version}]")
        run(loom, "docs", "errors#JournalLockedError", cwd=place)


def run(*words: object, cwd: object = ROOT) -> None:
    """Run a program to its end, or end."""
    subprocess.run([str(word) for word in words], cwd=str(cwd), check=True)  # noqa: S603 - programs named above


def say(text: str) -> None:
    """Print what was done."""
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
