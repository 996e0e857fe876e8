"""The Dockerfile is built, and what it makes runs as the pages say: not root, nothing but its volume is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.production.container import USER, Container, Image, why_missing
from tests.test_readme import ROOT

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(1_800)]
COMPOSE = ROOT / "deploy" / "compose" / "sqlite.yaml"
DESK = ROOT / "tests" / "desk.py"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if (why := why_missing()) is not None:
        pytest.skip(why)
    # Not below pytest's own directory, which is kept: two images of 400 MB are in it.
    at = Path(tempfile.mkdtemp(prefix="loom-image-"))
    try:
        yield (made := Image(at))
        made.remove()
    finally:
        shutil.rmtree(at, ignore_errors=True)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as Docker makes it from the image: of its user, who alone may look into it."""
    (place := tmp_path / "volume").mkdir(mode=0o700)
    (place / "loom.config.yaml").write_text("modules: [desk]\n", encoding="utf-8")
    shutil.copy(DESK, place)
    for each in (place, *place.iterdir()):
        os.chown(each, USER, USER)
    return place


def healthy(running: Container, check: list[str]) -> bool:
    """Ask the health check of an image or a compose file, whose first word says how the others are run."""
    assert check[0] == "CMD"
    return running.run(*check[1:]).returncode == 0


def test_it_serves_as_its_user_from_a_root_that_cannot_be_written_and_ends_in_order(image: Image, volume: Path) -> None:
    check = image.config["Healthcheck"]["Test"]
    with image.container("serves", volume, "serve", "--host", "0.0.0.0") as running:
        running.until("listening on http://0.0.0.0:8765")
        assert healthy(running, check)
        assert running.run("id", "-u").stdout == f"{USER}\n"
        for place in ("/x", "/opt/loom/x", "/usr/local/x"):
            assert "Read-only" in running.run("touch", place).stderr, place
        assert running.run("touch", "/tmp/x").returncode == 0
        asked = running.run("loom", "run", "diary/me", "Note", '{"text": "in a box"}', "--by", "ada")
        assert asked.returncode == 0, asked.stderr
        assert running.end() == 0
    with image.container("verifies", volume, "decisions", "--json") as after:
        assert "in a box" in "".join(iter(after.line, ""))
    with image.container("looks", volume, "verify") as after:
        assert after.process.wait(60) == 0
    assert {each.stat().st_uid for each in volume.rglob("*")} == {USER}


def test_its_health_check_fails_where_nothing_listens(image: Image, volume: Path) -> None:
    with image.container("elsewhere", volume, "serve", "--port", "8766") as running:
        running.until("listening on http://127.0.0.1:8766")
        assert not healthy(running, image.config["Healthcheck"]["Test"])


def test_what_is_installed_is_what_is_locked(image: Image, volume: Path) -> None:
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / "image.txt").read_text("utf-8"), re.MULTILINE)
    )
    with image.container("lists", volume, "serve") as running:
        running.until("listening")
        found = json.loads(running.run("/opt/loom/bin/pip", "list", "--format=json").stdout)
    installed = {each["name"].lower().replace("_", "-"): each["version"] for each in found}
    assert {"asyncpg", "cryptography", "fastapi", "uvicorn", "pydantic"} <= set(installed)
    assert {name: version for name, version in installed.items() if locked.get(name, version) != version} == {}
    assert "loom-journal" in installed


def test_the_two_services_of_the_compose_file_are_an_active_and_a_standby_process(image: Image, volume: Path) -> None:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    (volume / "loom.config.yaml").write_text("", encoding="utf-8")  # the file that Docker mounts over

    def service(name: str) -> Container:
        given = services[name]
        assert given["read_only"]
        assert given["tmpfs"] == ["/tmp"]
        own, config = given["volumes"]
        assert own == "journal:/data"
        source, target, mode = config.split(":")
        assert mode == "ro"
        return image.container(name, volume, *given["command"], binds={COMPOSE.parent / source: target})

    with service("one") as one:
        one.until("listening")
        with service("two") as two:
            two.until("standing by: workspace default is run by process 1")
            assert healthy(one, services["one"]["healthcheck"]["test"])
            assert healthy(two, services["two"]["healthcheck"]["test"]), "one that waits is as it should be"
            assert not healthy(two, image.config["Healthcheck"]["Test"]), "it does not listen"
            one.signal("KILL")
            two.until("listening")
            assert healthy(two, image.config["Healthcheck"]["Test"])
            assert two.end() == 0
