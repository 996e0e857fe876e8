"""The image: not root, one volume, a health check; and the dashboard shows metrics that loom has."""

from __future__ import annotations

import fnmatch
import inspect
import json
import re
import tomllib

from loom import spans
from tests.test_readme import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = [
    (word, " ".join(rest.split()))
    for word, rest in re.findall(r"^([A-Z]+) (.*?)$", DOCKERFILE.replace("\\\n", " "), flags=re.MULTILINE)
]


def last(word: str) -> str:
    return [rest for each, rest in STEPS if each == word][-1]


def test_the_image_is_not_root_has_a_volume_and_a_health_check() -> None:
    final = [word for word, _ in STEPS][[word for word, _ in STEPS].index("FROM", 1) :]
    assert {"USER", "VOLUME", "HEALTHCHECK", "ENTRYPOINT"} <= set(final)
    assert final.index("USER") < final.index("ENTRYPOINT")
    assert int(last("USER").partition(":")[0]) > 0
    assert "/health" in last("HEALTHCHECK")
    assert last("ENTRYPOINT").startswith("["), "signals reach loom, and no shell"
    assert not [rest for word, rest in STEPS if word == "ADD" or (word == "FROM" and ":" not in rest)]


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    admitted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word, rest in STEPS:
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, f"{each}*") for each in admitted), source


def test_the_dashboard_asks_for_metrics_and_labels_that_loom_has() -> None:
    source = inspect.getsource(spans)
    known = set()
    for kind, name, rest in re.findall(r'create_(\w+)\("(loom[\w.]+)"([^)]*)', source):
        base = name.replace(".", "_") + ("_seconds" if 'unit="s"' in rest else "")
        known |= {base + "_total"} if kind == "counter" else {base, f"{base}_bucket", f"{base}_sum", f"{base}_count"}
    labels = {each.replace(".", "_") for each in re.findall(r'"(loom\.\w+)": ', source)}
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    words = {word for expression in asked for word in re.findall(r"\bloom_\w+", expression)}
    assert len(words & known) == 4
    assert words <= known | labels


def test_the_image_has_what_three_extras_need_at_the_versions_that_tests_run_with() -> None:
    image, tested = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / name).read_text("utf-8"), re.MULTILINE))
        for name in ("image.txt", "dev.txt")
    )
    assert {name: tested.get(name) for name in image} == image
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [project["optional-dependencies"][name] for name in ("crypto", "postgres", "server")]
    needed = {re.match(r"[\w-]+", each)[0].lower() for each in sum(extras, project["dependencies"])}  # type: ignore[index]
    assert needed <= set(image)
