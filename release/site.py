"""Writes the source of the site into a directory: `python -m release.site build/site`; `make docs` then builds it.

The pages are those of `docs/`, the README is the first, and the reference is written from the program. The generator
gets its own copy, so that pages keep the links that work where they are.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

from loom.cli.commands.docs import headings, pages
from loom.cli.reference import WRITTEN, written
from release.building import ROOT

__all__ = ["WORKER", "dead_links", "from_elsewhere", "navigation", "with_anchors", "write_site"]

_BEGIN = ("tutorial", "concepts", "how-to", "agents", "people", "explorer", "operations", "comparison", "packages")
"""Pages to begin with, in order; all others follow by their titles."""

_FROM_ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")

_LINK = re.compile(r"""<a\b[^>]*?\shref=["']?((?![a-z]+:|//)[^"'\s>]+)""")
_ANCHOR = re.compile(r"""\s(?:id|name)=["']?([^"'\s>]+)""")

WORKER = ROOT / "release" / "iframe-worker.js"
"""What searches where a page was opened as a file."""

_API = """# Python

The public names of `loom`, from their docstrings.

::: loom
    options:
      show_root_heading: false
      members_order: alphabetical
"""


def write_site(at: Path) -> None:
    """Write pages, reference and the config of the generator."""
    source = at / "docs"
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("*.md"))
    (source / "index.md").write_text(_from_root((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        target = source / page.relative_to(ROOT / "docs")
        target.parent.mkdir(exist_ok=True)
        target.write_text(_from_docs(page.read_text(encoding="utf-8")), encoding="utf-8")
    (source / "assets").mkdir()
    shutil.copyfile(WORKER, source / "assets" / WORKER.name)
    for name in WRITTEN:
        (source / f"{name}.md").write_text(with_anchors(written(name)), encoding="utf-8")
    (source / "python.md").write_text(_API, encoding="utf-8")
    (at / "mkdocs.yml").write_text(json.dumps(_config(), indent=2, ensure_ascii=False), encoding="utf-8")


def navigation() -> list[dict[str, object]]:
    """Return the pages in three parts."""
    known = {name: _short(page.read_text("utf-8")) for name, page in pages().items()}
    first = [name for name in _BEGIN if name in known]
    others = sorted(set(known) - set(first), key=lambda name: known[name].lower())
    return [
        {"Begin": [{"loom": "index.md"}, *({known[name]: f"{name}.md"} for name in first)]},
        {"Guides": [{known[name]: f"{name}.md"} for name in others]},
        {"Reference": [*({title: f"{name}.md"} for name, title in WRITTEN.items()), {"Python": "python.md"}]},
    ]


def _short(page: str) -> str:
    """Return the title of a page up to its colon, which is what a narrow column has room for."""
    return next(words for _, _, words in headings(page)).partition(":")[0]


def with_anchors(page: str) -> str:
    """Give each heading of the second level its own words as its anchor, as in `errors#JournalLockedError`."""
    lines = page.splitlines()
    for number, level, words in headings(page):
        if level == 2 and re.fullmatch(r"[\w.:-]+", words):
            lines[number] += f" {{ #{words} }}"
    return "\n".join(lines) + "\n"


def _from_root(text: str) -> str:
    return re.sub(r"\]\(docs/", "](", text)


def _from_docs(text: str) -> str:
    text = text.replace("](../README.md", "](index.md")
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", text)  # other files of the repository are not in the site


def _config() -> dict[str, object]:
    return {
        "site_name": "loom",
        "site_description": "An actor runtime for Python that remembers why",
        "use_directory_urls": False,
        "docs_dir": "docs",
        "site_dir": "site",
        "nav": navigation(),
        "theme": {
            "name": "material",
            "font": False,
            "features": [
                "navigation.sections",
                "navigation.top",
                "toc.follow",
                "content.code.copy",
                "search.highlight",
            ],
            "palette": [
                {"media": "(prefers-color-scheme: light)", "scheme": "default"},
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate"},
            ],
        },
        # A page that is opened as a file cannot start the worker that searches: this stands in for it. The plugin would
        # take one from another host, were there none of this name.
        "extra": {"polyfills": [{"path": f"assets/{WORKER.name}", "async": False, "defer": False}]},
        "plugins": [
            "search",
            "offline",
            {"mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT)], "options": {"show_source": False}}}}},
        ],
        "markdown_extensions": [
            "attr_list",
            "tables",
            {"toc": {"permalink": True}},
            {"pymdownx.highlight": {"anchor_linenums": False}},
            "pymdownx.superfences",
        ],
    }


def from_elsewhere(site: Path) -> dict[str, list[str]]:
    """Return the tags by which pages of a built site would load something from another host, by page."""
    found = {page.name: _FROM_ELSEWHERE.findall(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    return {name: tags for name, tags in found.items() if tags}


def dead_links(site: Path) -> dict[str, list[str]]:
    """Return the links of a built site's pages to pages and headings that it has not, by page."""
    text = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    anchors = {page: set(_ANCHOR.findall(body)) for page, body in text.items()}
    found: dict[str, list[str]] = {}
    for page, body in text.items():
        for link in map(html.unescape, _LINK.findall(body)):
            path, _, heading = link.partition("#")
            base = f"{site}{path}" if path.startswith("/") else page.parent / path  # 404.html
            target = Path(unquote(str(base))).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (heading and target in anchors and unquote(heading) not in anchors[target]):
                found.setdefault(str(page.relative_to(site)), []).append(link)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        built = Path(sys.argv[2]).resolve()
        if loads := from_elsewhere(built):
            sys.exit(f"pages load from elsewhere: {loads}")
        if dead := dead_links(built):
            sys.exit(f"links lead nowhere: {dead}")
    else:
        write_site(Path(sys.argv[1]))
