"""The source of the site: every page is in it once, links work there, and what would load from elsewhere is found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from loom.cli.commands.docs import pages
from loom.cli.reference import WRITTEN
from release.site import WORKER, dead_links, from_elsewhere, with_anchors, write_site
from tests.explorer.conftest import CHROMIUM
from tests.test_pages import broken_links
from tests.test_readme import ROOT

BUILT = ROOT / "site"
IN_A_WORKER = """
addEventListener("message", ({ data }) => {
  if (data.fail) throw new Error("as asked");
  postMessage({ twice: data.number * 2 });
});
"""
ASKS_A_WORKER = """
const said = [], worker = new Worker("twice.js");
worker.onmessage = ({ data }) => said.push(data.twice);
worker.onerror = (event) => said.push(event.message);
for (const number of [1, 2]) worker.postMessage({ number });
worker.postMessage({ fail: true });
const none = new Worker("missing.js");
none.onerror = (event) => said.push(event.message);
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("site") / "source"
    write_site(at)
    return at


def listed(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [name for each in (nav.values() if isinstance(nav, dict) else nav) for name in listed(each)]


def test_every_page_is_in_the_navigation_once(site: Path) -> None:
    config = json.loads((site / "mkdocs.yml").read_text("utf-8"))
    assert sorted(listed(config["nav"])) == sorted(f"{name}.md" for name in {*pages(), *WRITTEN, "index", "python"})
    assert config["theme"]["font"] is False


def test_every_link_between_pages_works_in_the_site(site: Path) -> None:
    assert not {page.name: found for page in (site / "docs").rglob("*.md") if (found := list(broken_links(page)))}


def test_an_error_is_an_anchor_of_its_page(site: Path) -> None:
    assert "## JournalLockedError { #JournalLockedError }" in (site / "docs" / "errors.md").read_text("utf-8")
    assert with_anchors("## two words\n```\n## Code\n```\n") == "## two words\n```\n## Code\n```\n"


def test_what_would_be_loaded_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<script src="https://unpkg.com/x"></script><a href="https://example.org">a link</a>'
    )
    (tmp_path / "b.html").write_text('<script src="assets/x.js"></script><link rel=stylesheet href="x.css">')
    assert list(from_elsewhere(tmp_path)) == ["a.html"]


def test_a_link_of_a_built_site_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="one">x</h1><a href="#one">1</a> <a href="#two">2</a>'
        '<a class=x href="b.html#one">3</a> <a href=c.html>4</a>'
        '<a href="https://example.org/none">5</a> <a href="/a.html">6</a> <a href="mailto:a@example.org">7</a>'
    )
    (tmp_path / "b.html").write_text('<h1 id="three">x</h1><a href="./a.html#one">1</a>')
    assert dead_links(tmp_path) == {"a.html": ["#two", "b.html#one", "c.html"]}


@contextmanager
def page_of(path: Path) -> Iterator[tuple[Any, list[str]]]:
    """Open a file in a browser; yield the page, and what it asked of other hosts or failed at."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, said = browser.new_page(), list[str]()
        page.on("request", lambda asked: None if asked.url.startswith("file:") else said.append(asked.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        yield page, said
        browser.close()


def test_a_page_that_is_opened_as_a_file_has_a_worker(tmp_path: Path) -> None:
    (tmp_path / "twice.js").write_text(IN_A_WORKER)
    (tmp_path / "page.html").write_text(
        f"<!doctype html><body><script>{WORKER.read_text('utf-8')}</script><script>{ASKS_A_WORKER}</script></body>"
    )
    with page_of(tmp_path / "page.html") as (page, _):
        page.wait_for_function("said.length === 4")
        said = page.evaluate("said")
        assert [each for each in said if isinstance(each, int)] == [2, 4]
        assert {"Script error.", "[missing.js] cannot be read"} == {x for x in said if isinstance(x, str)}
        assert page.evaluate("worker.terminate(), none.terminate(), document.querySelectorAll('iframe').length") == 0


@pytest.mark.skipif(not BUILT.exists(), reason="the site is not built here: make docs")
def test_the_built_site_is_searched_as_files_and_asks_no_host() -> None:
    with page_of(BUILT / "tutorial.html") as (page, said):
        page.keyboard.press("/")
        page.get_by_role("combobox").or_(page.get_by_role("textbox")).first.fill("JournalLockedError")
        page.get_by_role("option").filter(has_text="Another process writes this journal").first.click()
        page.wait_for_url("**/errors.html*")
        assert page.locator('[id="JournalLockedError"]').count() == 1
        assert not said


def test_llms_txt_names_pages_of_the_site(site: Path) -> None:
    text = (site / "docs" / "llms.txt").read_text("utf-8")
    named = re.findall(r"\]\(([\w-]+\.md)\)", text)
    assert len(named) > 15
    assert not [each for each in named if not (site / "docs" / each).exists()]
    assert text.startswith("# loom\n\n> ")


@pytest.mark.skipif(not BUILT.exists(), reason="the site is not built here: make docs")
def test_what_llms_txt_names_is_in_the_built_site() -> None:
    named = re.findall(r"\]\(([^)]+)\)", (BUILT / "llms.txt").read_text("utf-8"))
    assert len(named) > 15
    assert not [each for each in named if not (BUILT / each).exists()]
