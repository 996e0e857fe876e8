"""Reports: one file, from the journal alone, every text escaped; looked at in a real browser where there is one."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loom import Actor, Command, Loom
from loom.errors import ConfigError, RunNotFoundError
from loom.policies import Table
from loom.reports import Period, report, write_report
from loom.reports.charts import offers_chart
from loom.reports.reading import MOST, Observed, read_report
from loom.reports.report import render
from tests.gate.support import Desk, gated

NASTY = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "]]>",
    "&amp;",
    "'--",
    "{{ 7*7 }}",
    "{% raw %}",
    "</style><svg/onload=alert(1)>",
    "\u202egnp.exe",
    "é ∑ 漢字 🦜",
)
POLICY = Table.of(
    {
        "format": "loom.table/1",
        "name": "discount",
        "facts": {"percent": {"type": "integer"}},
        "rules": [{"name": "small", "when": [["percent", "<=", 10]], "effect": "allow", "why": "it is small"}],
        "otherwise": {"name": "large", "effect": "deny", "why": "it is large"},
    }
)


class Decide(Command[str]):
    percent: int
    why: str


class Clerk(Actor[None]):
    policy = POLICY

    async def execute(self, command: Decide) -> str:
        said = self.evaluate({"percent": command.percent})
        return await self.record_decision(
            rationale=command.why, outcome={"granted": said.allowed, "note": command.why}, context={"x": command.why}
        )


async def fill(loom: Loom) -> None:
    """A run of decisions with every nasty text in them, and one at the gate until it is suspended."""
    async with loom.runs.run(run_id="nasty", parameters={"note": NASTY[0], "list": list(NASTY)}, note=NASTY[1]):
        for number, text in enumerate(NASTY):
            await loom.actor(Clerk, "one").ask(Decide(percent=number * 2, why=text))
    async with loom.runs.run(run_id="drifting", parameters={"ceiling": 15.0}, seed=36):
        desk = await Desk(loom, run_id="drifting").arrive()
        for number in range(40):
            if (await desk.offer(f"i-{number}", min(15.0, 3 + number * 0.4))).code != "VALIDATION_PASSED":
                break
        await loom.runs.end("drifting", reason="profitability_drift_monitor")
    async with loom.runs.run(run_id="empty"):
        pass


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        assert not any(value and value.startswith("javascript:") for name, value in attrs if name in ("href", "src"))


async def test_a_report_needs_nothing_else_and_holds_every_decision_escaped(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        html = await report(loom.queries, "nasty", workspace="default")
    seen = _Elements()
    seen.feed(html)
    assert not seen.tags & {"script", "img", "iframe", "link", "object", "embed", "form", "base"}
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert not seen.attributes & {"src", "srcset", "action"}, "nothing is fetched"
    assert set(re.findall(r'href="([^"]*)"', html)) == {f"#d{number}" for number in range(1, len(NASTY) + 1)}
    assert html.count("<tr>") >= len(NASTY)
    assert "{{ 7*7 }}" in html
    for text in ("漢字 🦜", "&lt;script&gt;"):
        assert text in html


async def test_a_report_draws_the_context_graph_of_its_run(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        html = await report(loom.queries, "nasty")
        graph = await loom.lineage.graph("nasty")
        empty = await report(loom.queries, "empty")
    assert "<h2>Context graph</h2>" in html
    [svg] = re.findall(r'<svg xmlns="http://www.w3.org/2000/svg" class="graph".*?</svg>', html, re.DOTALL)
    drawn = ElementTree.fromstring(svg)
    small = graph.condensed()
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}rect")) == len(small.nodes)
    assert f"{len(graph.nodes)} nodes and {len(graph.edges)} edges: <code>loom graph nasty</code>" in html
    assert "<script" not in svg
    assert "Context graph" not in empty


async def test_a_run_at_the_gate_shows_offers_mean_ceiling_threshold_and_the_suspension(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        html = await report(loom.queries, "drift")
    assert "ceiling 15" in html
    assert "threshold 10" in html
    assert ">suspended</text>" in html
    assert "profitability_drift_monitor" in html
    assert html.count('class="dot"') >= 20
    # Made again at any later time, by somebody who has the journal alone, it is the same.
    for view in (tmp_path / "default").glob("*views*"):
        view.unlink()
    async with gated(tmp_path) as loom:
        again = await report(loom.queries, "drift")
    assert _without_position(again) == _without_position(html)


def _without_position(html: str) -> str:
    return re.sub(r"up to position [\d,]+", "", html)


async def test_figures_count_what_is_not_listed_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        whole, part = [await read_report(loom.queries, "nasty", most=most) for most in (MOST, 4)]
        watched, cut = [await read_report(loom.queries, "drifting", most=most) for most in (MOST, 4)]
    assert part.effects == whole.effects == {"allow": 6, "deny": 5}
    assert (len(part.decisions), part.left_out) == (4, 7)
    assert whole.left_out == 0
    html = render(part, workspace="w", position=1)
    assert "The first 4 decisions</h2>" in html
    assert "7 more decisions are not shown" in html
    assert "The first 4 of 11 are drawn; these count all" in html
    assert "Every decision</h2>" in render(whole, workspace="w", position=1)
    assert watched.watched is not None
    assert cut.watched is not None
    assert cut.watched.last == watched.watched.last == watched.watched.drawn[-1]
    assert cut.watched.found == watched.watched.found
    assert cut.watched.observations == len(watched.watched.drawn) > len(cut.watched.drawn) == 4
    drawn = render(cut, workspace="w", position=1)
    assert f"The first 4 of {cut.watched.observations} observations are drawn." in drawn
    assert ">suspended</text>" not in drawn  # it came after those that are drawn, and is told
    assert 'class="verdict found">completed' in drawn, "a run that completed is not red, whatever a monitor found"
    assert f"After observation {cut.watched.found[0].number}:" in drawn


async def test_rows_that_read_the_same_are_one_row_with_the_links_of_all(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom, loom.runs.run(run_id="alike"):
        for percent in (2, 2, 50, 2):
            await loom.actor(Clerk, "one").ask(Decide(percent=percent, why="as before"))
        html = await report(loom.queries, "alike", server="http://127.0.0.1:8137/")
        ids = [each.decision_id for each in reversed(await loom.traces.find(run_id="alike"))]
        with pytest.raises(ConfigError, match=r"is not one; expected \[http://HOST"):
            await report(loom.queries, "alike", server="javascript:alert(1)")
    assert html.count('<tr>\n<td class="number"') == 2
    assert ">3 alike</div>" in html
    assert "<summary>2 more</summary>" in html
    for number, decision_id in enumerate(ids, start=1):
        assert f'id="d{number}" href="http://127.0.0.1:8137/decisions/{decision_id}"' in html
        assert f'<a href="#d{number}"><rect' in html, "the strip leads to the row"


async def test_a_time_has_a_report_without_a_run(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        await loom.actor(Clerk, "alone").ask(Decide(percent=3, why="outside of any run"))
        await loom.reached()
        whole = Period(loom.now() - timedelta(days=7), loom.now())
        html = await report(loom.queries, whole)
        read = await read_report(loom.queries, whole)
        every = await loom.traces.find(limit=1_000)
        cut = Period(whole.since, every[0].recorded_at)  # the last one came at its end
        before = await read_report(loom.queries, cut)
        nothing = await report(loom.queries, Period(whole.since - timedelta(days=7), whole.since))
    assert isinstance(read.about, Period)
    assert read.about.decisions == len(read.decisions) == len(every)
    assert read.about.actors == len({each.journal for each in every})
    assert sum(each.decisions for each in read.about.versions) == len(every)
    assert [each.summary.decision_id for each in before.decisions] == [each.decision_id for each in every[:0:-1]]
    assert "outside of any run" in html
    assert "What the monitor saw" in html
    assert 'class="verdict' not in html
    assert "Nothing was decided in this time." in nothing


async def test_observations_of_several_subjects_are_not_drawn_as_one(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom, loom.runs.run(run_id="two"):
        for agent, percent in (("roa-1", 3.0), ("roa-2", 9.0)):
            desk = await Desk(loom, agent=agent, run_id="two").arrive()
            for number in range(4):
                await desk.offer(f"{agent}-{number}", percent)
        await loom.reactors.reached()  # the monitor sees the last execution a moment after its answer
        read = await read_report(loom.queries, "two")
        seen = await loom.queries.fetch(
            "SELECT subject, count(*) FROM monitor_observations GROUP BY subject", names=["monitors"]
        )
    assert read.watched is not None
    assert {each.subject for each in read.watched.drawn} == {read.watched.subject}
    [(_, other, observations, findings)] = read.others
    assert dict(map(tuple, seen)) == {read.watched.subject: len(read.watched.drawn), other: observations}
    assert findings == 0
    assert f"Not drawn: {observations} observations of" in render(read, workspace="w", position=1)


@pytest.mark.parametrize("values", [[1.7e308] * 3, [-1.7e308, 1.7e308], [-200.0, 15.0]])
def test_a_chart_of_any_finite_values_is_drawn_or_left_out(values: list[float]) -> None:
    observed = [
        Observed(number, "m", "a", datetime.now(UTC), value, value, 10.0, "drift", None, None)
        for number, value in enumerate(values, start=1)
    ]
    chart = offers_chart(observed, ceiling=15.0)
    assert (chart is None) == (max(map(abs, values)) > 1e300)
    assert chart is None or all(0 <= point.y <= chart.height for point in chart.points)


async def test_a_run_without_decisions_and_one_that_is_open_have_reports_too(tmp_path: Path) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        assert "Nothing was decided in this run." in await report(loom.queries, "empty")
        await loom.runs.start(run_id="open")
        assert "still open" in await report(loom.queries, "open")
        with pytest.raises(RunNotFoundError):
            await report(loom.queries, "nothing")


async def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated(tmp_path) as loom:
        await fill(loom)
        path = await write_report(loom.queries, "empty", tmp_path / "new" / "folder" / "report.html")
        assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
        before = path.read_bytes()

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            await write_report(loom.queries, "nasty", path)
        assert path.read_bytes() == before
        assert [each.name for each in path.parent.iterdir()] == ["report.html"], "nothing is left lying about"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_report_looks_right_in_a_browser(tmp_path: Path, width: int, scheme: Any) -> None:
    from playwright.async_api import async_playwright

    async with gated(tmp_path) as loom:
        await fill(loom)
        paths = [await write_report(loom.queries, run, tmp_path / f"{run}.html") for run in ("nasty", "drifting")]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        said: list[str] = []
        context.on("console", lambda message: said.append(message.text))
        context.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
        for path in paths:
            page = await context.new_page()
            page.on("dialog", lambda dialog: said.append(dialog.message))
            page.on("pageerror", lambda error: said.append(str(error)))
            await page.goto(path.as_uri())
            assert await page.title() == f"{path.stem} · loom report"
            sides = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert sides[0] <= sides[1], "the page does not scroll sideways"
            over = "[...document.querySelectorAll('.tables')].map(each => each.scrollWidth - each.clientWidth)"
            assert width > 500 or max(await page.evaluate(over)) <= 0, "on a phone a table does not, either"
            if "SHOTS" in os.environ:
                await page.screenshot(path=f"{os.environ['SHOTS']}/{path.stem}-{width}-{scheme}.png", full_page=True)
            shown = (
                "getComputedStyle(document.body).backgroundColor",
                "getComputedStyle(document.querySelector('h1')).color",
            )
            colours = [await page.evaluate(each) for each in shown]
            light, dark = (sum(map(int, re.findall(r"\d+", each)[:3])) for each in colours)
            assert (light > dark) == (scheme == "light")
            assert await page.locator("table tbody tr").count() > 5
        dots = page.locator("svg circle.dot")
        assert await dots.count() >= 20
        box = await dots.first.bounding_box()
        assert box is not None
        assert box["width"] > 2
        await browser.close()
    assert said == [], "nothing ran, nothing was fetched, nothing was complained about"
