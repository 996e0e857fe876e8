"""Plain technical English: what loom says to people has none of the words that its glossary sets aside."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import loom.workspace  # noqa: F401 - its entries are registered
from loom.journal.entry import KINDS
from tests.test_readme import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
AVOIDED = [
    word.strip()
    for row in GLOSSARY.read_text().partition("## Words that are not used")[2].splitlines()
    if row.startswith("| ") and not row.startswith("| avoid")
    for word in row.split("|")[1].split(",")
]
FOUND = re.compile(rf"\b({'|'.join(map(re.escape, AVOIDED))})\b", re.IGNORECASE)
UNREAD = {"docs/glossary.md"}
"""Pages that name the words."""


_READ = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the strings and comments of a module, without kinds and without functions that are registered as rules."""
    source = path.read_text()
    tree = ast.parse(source)
    kinds = set(KINDS)
    exempt = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("policy" in ast.unparse(each) for each in node.decorator_list)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _READ and token.start[0] not in exempt and token.string.strip("\"'") not in kinds:
            yield token.start[0], token.string


def comments_in_sql(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments of a schema. Those of a journal are compared as text, and cannot be changed."""
    if path.parent.name != "sqlite":
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield number, line.partition("--")[2]


def avoided_in(text: str) -> list[str]:
    """Return the words of a text that its glossary sets aside, each with its line."""
    return [
        f"{number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in FOUND.finditer(line)
    ]


WORDS_ELSEWHERE = sorted(
    path
    for path in (ROOT / "loom").rglob("*")
    if path.suffix in {".css", ".j2", ".js", ".txt"} and not path.name.startswith("htmx")
)


@pytest.mark.parametrize("path", WORDS_ELSEWHERE, ids=lambda path: path.name)
def test_pages_of_the_explorer_and_sample_files_avoid_them(path: Path) -> None:
    assert not avoided_in(path.read_text())


def test_the_glossary_names_words_to_avoid() -> None:
    assert {"mend", "told", "nobody"} <= set(AVOIDED)


@pytest.mark.parametrize(
    "room",
    sorted(each.name for each in (ROOT / "loom").iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()),
)
def test_messages_help_and_docstrings_avoid_them(room: str) -> None:
    where = ROOT / "loom" / room
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match.group()}"
        for path in sorted([where] if where.is_file() else [*where.rglob("*.py"), *where.rglob("*.sql")])
        for line, text in (comments_in_sql(path) if path.suffix == ".sql" else texts(path))
        for match in FOUND.finditer(text)
    ]
    assert not found


@pytest.mark.parametrize(
    "page", sorted(str(each.relative_to(ROOT)) for each in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
)
def test_pages_avoid_them(page: str) -> None:
    text = (ROOT / page).read_text() if page not in UNREAD else ""
    assert not avoided_in(re.sub(r"`tests/[^`\n]*`", "", text))
