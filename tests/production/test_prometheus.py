"""A Prometheus scrapes a loom under load, as the page says: each query of the dashboard and each alert has a value."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.cli.support import environment
from tests.production.container import said
from tests.production.proxies import free_port, replaced, shown
from tests.test_readme import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FILES = ROOT / "deploy" / "prometheus"
PYTHON = ROOT / ".venv-production" / "bin" / "python"
DASHBOARD = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
QUERIES = {panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
_WITHIN_S = 120


def needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} on this machine: apt-get install --no-install-recommends prometheus")


class Prometheus:
    """A Prometheus that runs on the loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **query: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self._port}{path}?{urlencode(query)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        """Return the numbers that a query gives, without those that are none."""
        found = self.ask("/api/v1/query", query=query)["result"]
        return [float(each["value"][1]) for each in found if not math.isnan(float(each["value"][1]))]

    def first(self, query: str) -> list[float]:
        """Return what a query gives as soon as it gives something."""
        until = time.monotonic() + _WITHIN_S
        while not (found := self.values(query)) and time.monotonic() < until:
            time.sleep(0.5)
        return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that scrapes a loom under load every second, by the config and the rules of deploy/."""
    needs("prometheus")
    if not PYTHON.exists():
        pytest.skip("the exporter of OpenTelemetry is in an environment of its own: make production sets it up")
    at = tmp_path_factory.mktemp("prometheus")
    metrics, port = free_port(), free_port()
    (at / "of_the_page.py").write_text(shown("py", "from os import environ"), encoding="utf-8")
    given = {":9464": f":{metrics}", "scrape_interval: 15s": "scrape_interval: 1s\n  evaluation_interval: 1s"}
    config = replaced((FILES / "prometheus.yaml").read_text(encoding="utf-8"), given)
    (at / "prometheus.yaml").write_text(config, encoding="utf-8")
    shutil.copy(FILES / "alerts.yaml", at)
    load = [str(PYTHON), "-m", "tests.production.loaded", str(at / "of_the_page.py"), str(at / "data")]
    server = ["prometheus", f"--config.file={at / 'prometheus.yaml'}", f"--storage.tsdb.path={at / 'series'}"]
    server += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    started: list[subprocess.Popen[str]] = []
    try:
        with (at / "log").open("w") as log:
            own = environment(METRICS_PORT=str(metrics))
            started.append(subprocess.Popen(load, env=own, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True))
            assert started[0].stdout is not None
            assert started[0].stdout.readline() == "under way\n", (at / "log").read_text()
            started.append(subprocess.Popen(server, stdout=log, stderr=log, text=True, env={**os.environ}))
        _wait(port, at, started[1])
        yield Prometheus(port)
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.communicate(timeout=60)


def _wait(port: int, at: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _WITHIN_S
    while time.monotonic() < until:
        assert process.poll() is None, (at / "log").read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError((at / "log").read_text())


@pytest.mark.parametrize("title", sorted(QUERIES))
def test_a_panel_of_the_dashboard_shows_something(prometheus: Prometheus, title: str) -> None:
    assert prometheus.first(QUERIES[title]), QUERIES[title]


def test_what_the_panels_say_is_what_was_done(prometheus: Prometheus) -> None:
    """A quarter of the decisions are exceptions, in two systems, and a third of the critics' answers fail."""
    assert prometheus.first('sum(loom_decisions_total{loom_exception="true"}) > 5')
    share = 'sum(loom_decisions_total{loom_exception="true"}) / sum(loom_decisions_total)'
    assert prometheus.values(share)[0] == pytest.approx(0.25, abs=0.1)
    assert len(prometheus.first("sum by (loom_system) (loom_lookup_duration_seconds_count)")) == 2
    failed = "sum by (loom_status) (loom_enrichment_duration_seconds_count)"
    assert len(prometheus.first(failed)) == 2


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_alert_looks_at_something_that_is_there(prometheus: Prometheus, name: str) -> None:
    """Without its limit, what it compares has a value; Prometheus itself evaluates it without an error."""
    looked_at = re.sub(r" (==|>|<) [\d.]+$", "", RULES[name]["expr"])
    assert looked_at != RULES[name]["expr"]
    assert prometheus.first(looked_at), looked_at
    known = [rule for group in prometheus.ask("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert [each["health"] for each in known if each["name"] == name] in (["ok"], ["unknown"])
    assert f"| `{name}` |" in (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")


def test_nothing_is_alerted_of_a_node_that_answers(prometheus: Prometheus) -> None:
    assert prometheus.first('up{job="loom"}') == [1.0]
    assert prometheus.values(RULES["LoomNodeDown"]["expr"]) == []
    assert not prometheus.values("loom_no_such_metric"), "a name that is not there has no value"


def test_promtool_takes_the_config_and_the_rules() -> None:
    needs("promtool")
    assert f"{len(RULES)} rules found" in said("promtool", "check", "rules", FILES / "alerts.yaml")
    assert "is valid prometheus config" in said("promtool", "check", "config", FILES / "prometheus.yaml", cwd=FILES)


def test_alerts_fire_beyond_their_limits_and_not_before(tmp_path: Path) -> None:
    needs("promtool")
    series = {
        'up{job="loom",instance="one"}': "0x40",
        'up{job="loom",instance="two"}': "1x40",
        'loom_decisions_total{loom_exception="true"}': "0+3x40",
        'loom_decisions_total{loom_exception="false"}': "0+7x40",
        'loom_budget_left{loom_unit="calls"}': "100x20 99x20",
    }
    times = {"LoomNodeDown": ("50s", "1m"), "LoomManyExceptions": ("15m", "17m"), "LoomBudgetLow": ("20m", "21m")}
    expected = [
        {"eval_time": moment, "alertname": name, "exp_alerts": alerts}
        for name, moments in times.items()
        for moment, alerts in zip(moments, ([], [fired(name)]), strict=True)
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": given, "alert_rule_test": expected}
    whole = {"rule_files": ["alerts.yaml"], "evaluation_interval": "10s", "tests": [test]}
    shutil.copy(FILES / "alerts.yaml", tmp_path)
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    assert "SUCCESS" in said("promtool", "test", "rules", "test.yaml", cwd=tmp_path)


def fired(name: str) -> dict[str, Any]:
    """Return what `promtool test rules` expects of an alert that fires."""
    labels = {"LoomNodeDown": {"job": "loom", "instance": "one"}, "LoomBudgetLow": {"loom_unit": "calls"}}.get(name, {})
    summary = RULES[name]["annotations"]["summary"].replace("{{ $labels.instance }}", "one")
    return {"exp_labels": labels, "exp_annotations": {"summary": summary}}
