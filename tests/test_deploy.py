"""What lies in deploy/: it parses, it names commands and options that there are, and its configs load."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from loom.workspace import locate
from tests.cli.support import invoke

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = sorted([DEPLOY / "compose.yaml", *DEPLOY.glob("compose/*.yaml")])
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
CONFIGS = [path for path in COMPOSE if path.name.endswith("config.yaml")]


def _services(path: Path) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    return services


def _commands() -> list[tuple[str, list[str]]]:
    """Return the command lines of loom in all files, without the program."""
    found = []
    for unit in UNITS:
        (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        found.append((unit.name, shlex.split(line.replace("%i", "8321"))[1:]))
    for path in sorted(set(COMPOSE) - set(CONFIGS)):
        for name, service in _services(path).items():
            if "LOOM_IMAGE" in service["image"]:  # its entry point is loom
                found.append((f"{path.name} {name}", service["command"]))
    return found


@pytest.mark.parametrize(("where", "given"), _commands(), ids=lambda each: each if isinstance(each, str) else "")
def test_a_command_of_loom_exists_with_its_options(where: str, given: list[str]) -> None:
    """An option that does not exist is refused before `--help` is looked at."""
    answer = invoke(*given, "--help")
    assert answer.code == 0, answer.err
    assert invoke(*given, "--no-such-option", "--help").code == 2


def test_there_are_nodes_that_stand_by() -> None:
    assert sum("--standby" in given for _, given in _commands()) >= 4


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_config_loads_and_no_password_is_in_it(config: Path) -> None:
    place = locate(config)
    assert place.name == "default"
    url = place.config.journal.url
    assert url is None or not re.search(r"://[^@/]*:[^@/]*@", url.get_secret_value())


@pytest.mark.parametrize("path", sorted(set(COMPOSE) - set(CONFIGS)), ids=lambda path: path.name)
def test_what_a_compose_file_mounts_and_needs_is_there(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for service in document["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (path.parent / source).is_file() if source.startswith("./") else source in document["volumes"]
            assert known, volume
        assert set(service.get("depends_on", {})) <= set(document["services"])
        assert set(service.get("secrets", [])) <= set(document.get("secrets", {}))
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "nothing is published beyond the machine by default"


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("compose/*.sh")), ids=lambda path: path.name)
def test_a_script_parses(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


def _units() -> dict[str, str]:
    """Return the units of deploy/ and that of the page, by the name of a file; an instance where it is a template."""
    page = (DEPLOY.parent / "docs" / "how-to.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```ini\n(\[Unit\].*?)^```$", page, re.DOTALL | re.MULTILINE)
    files = {unit.name.replace("@", "@8321"): unit.read_text(encoding="utf-8") for unit in UNITS}
    return {**files, "loom-page.service": shown}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: apt-get install systemd")
@pytest.mark.parametrize("name", sorted(_units()))
def test_a_unit_verifies_and_takes_away_what_loom_does_not_need(name: str, tmp_path: Path) -> None:
    """The program that it starts has to exist for this: another one stands in."""
    text = _units()[name].replace("/srv/loom/.venv/bin/loom", "/bin/true")
    (tmp_path / name).write_text(text.replace("User=loom", "User=root"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert name not in done.stderr, done.stderr
    (tmp_path / name).write_text(text, encoding="utf-8")
    rated = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=40", str(tmp_path / name)]
    said = subprocess.run(rated, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout  # 4.0 of 10 at most; a unit with nothing taken away has 9.6


def test_the_runbook_names_every_file() -> None:
    said = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for path in sorted(DEPLOY.glob("*/*")):
        assert path.name in said or path.name in "".join(each.read_text() for each in COMPOSE), path.name
