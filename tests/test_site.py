"""The source of the site: every page is in it once, links work there, and what would load from elsewhere is found."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from loom.cli.commands.docs import pages
from loom.cli.reference import WRITTEN
from release.site import from_elsewhere, with_anchors, write_site
from tests.test_pages import broken_links


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


def test_llms_txt_names_pages_of_the_site(site: Path) -> None:
    text = (site / "docs" / "llms.txt").read_text("utf-8")
    named = re.findall(r"\]\(([\w-]+\.md)\)", text)
    assert len(named) > 15
    assert not [each for each in named if not (site / "docs" / each).exists()]
    assert text.startswith("# loom\n\n> ")
