"""What pages name is there: links and headings, commands and options, imports; and code of every kind parses.

Whole programs are run by test_docs.py, and pages that are walked through by test_walks.py; this is for other blocks.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from loom.cli.commands.docs import anchor, headings
from loom.cli.reference import WRITTEN
from loom.cli.reference.commands import every_command
from loom.config import parse_config
from loom.errors import LoomError
from loom.history.map import map_of
from loom.policies import Table
from loom.workspace import sections
from tests.test_readme import ROOT

PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if path.name != "CHANGELOG.md")
_BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_SHELL = {"sh", "bash", "console"}
_ELSEWHERE = {"langchain", "langgraph", "agents", "openai", "fastmcp", "django", "langchain_core", "prometheus_client"}
"""Packages that only other environments have."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of these languages with the line where each begins."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        if found[2] in languages:
            indent = len(found[1])
            yield text[: found.start()].count("\n") + 2, "\n".join(line[indent:] for line in found[3].splitlines())


@cache
def anchors(page: Path) -> frozenset[str]:
    return frozenset(anchor(words) for _, _, words in headings(page.read_text(encoding="utf-8")))


def broken_links(page: Path) -> Iterator[str]:
    """Yield the links of a page to what is not there; only links within the repository are followed."""
    for link in _LINK.findall(re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)):
        path, _, heading = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and target.suffix == ".md" and heading not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not list(broken_links(page))


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One\n[x](#one) [y](#two) [z](b.md) [w](a.md#one) [v](https://example.org/b.md) `[u](c.md)`\n")
    assert list(broken_links(page)) == ["#two", "b.md"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_in_a_page_parses_and_its_imports_of_loom_exist(page: Path) -> None:
    for line, code in blocks(page, "python", "py"):
        try:
            tree = compile(code, name(page), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            pytest.fail(f"{name(page)}:{line + (error.lineno or 1) - 1}: {error.msg}")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "loom":
                try:
                    module = import_module(node.module or "")
                except ModuleNotFoundError as error:
                    if (error.name or "").partition(".")[0] not in _ELSEWHERE:
                        pytest.fail(f"{name(page)}:{line}: {error}")
                    continue
                missing = [each.name for each in node.names if not hasattr(module, each.name)]
                assert not missing, f"{name(page)}:{line}: {node.module} has no {missing}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_data_in_a_page_parses(page: Path) -> None:
    for line, text in blocks(page, "yaml", "json"):
        try:
            list(yaml.safe_load_all(text)) if text[:1] not in "{[" else json.loads(text)
        except (yaml.YAMLError, ValueError) as error:
            pytest.fail(f"{name(page)}:{line}: {error}")


class Everything(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> str:
        return "x" * 40

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]


def problem_with(text: str) -> str | None:
    """Return what is wrong with a block of YAML, which is a config unless it names its format."""
    document = yaml.safe_load(text)
    try:
        match document.get("format"):
            case None:
                parse_config(text, env=Everything(), sections=sections())
            case "loom.table/1":
                Table.of(document)
            case "loom.import/1":
                map_of(document)
            case other:
                return f"no format [{other}]"
    except LoomError as error:
        return str(error)
    return None


PART_OF_A_TABLE = "missing: three_valued"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_config_a_table_and_a_map_in_a_page_are_read(page: Path) -> None:
    problems = {line: problem_with(text) for line, text in blocks(page, "yaml") if not text.startswith(PART_OF_A_TABLE)}
    assert not {line: problem for line, problem in problems.items() if problem}


def test_a_config_that_is_not_read_would_be_found() -> None:
    assert "[host]" in (problem_with("web: {hosts: 127.0.0.1}") or "")
    assert problem_with("format: loom.table/1\nname: x") is not None
    assert problem_with("format: loom.chair/1") == "no format [loom.chair/1]"
    assert problem_with("web:\n  host: ${HOST}") is None


@cache
def known() -> Mapping[tuple[str, ...], Any]:
    return {path: (command, context) for path, command, context in every_command()}


def problem_of(line: str) -> str | None:
    """Return what is wrong with a command of the shell as a page writes it: no such command, or no such option."""
    words = shlex.split(re.sub(r"[…\[\]<>]|\{…\}", "", line), comments=True)
    path: tuple[str, ...] = ("loom",)
    for word in (each for each in words[1:] if not each.startswith("-")):
        if (*path, word) not in known():
            break
        path = (*path, word)
    options = {option for at in range(len(path)) for option in options_of(path[: at + 1])}
    positional = [word for word in words[1:] if not word.startswith("-")]
    if path == ("loom",) and positional and not words[1].startswith("-"):
        return f"no command [{positional[0]}]"
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"[{' '.join(path)}] has no {unknown}" if unknown else None


def options_of(path: tuple[str, ...]) -> set[str]:
    command, context = known()[path]
    group = getattr(command, "commands", None)
    default = [known()[(*path, next(iter(group)))]] if group and path != ("loom",) else []
    return {
        option
        for each, inside in [(command, context), *default]
        for parameter in each.get_params(inside)
        for option in [*parameter.opts, *parameter.secondary_opts]
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_loom_in_a_page_and_its_options_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = [line for _, code in blocks(page, *_SHELL) for line in code.splitlines()]
    lines += re.findall(r"`(loom [a-z][^`\n]*)`", _BLOCK.sub("", text))
    said = {}
    for line in lines:
        for each in re.split(r"&&|\|(?= )|;", line):
            command = each.strip()
            if command.startswith("loom ") and (problem := problem_of(command.rstrip("\\"))):
                said[command] = problem
    assert not said


def test_a_command_that_is_not_there_would_be_found() -> None:
    assert problem_of("loom wherefore ID") == "no command [wherefore]"
    assert problem_of("loom why ID --colour") == "[loom why] has no ['--colour']"
    assert problem_of("loom replay judge --under VERSION  # exit code 1") is None
    assert problem_of("loom approvals --json") is None


_FILE = re.compile(r"`((?:loom|tests|examples|benchmarks|release|deploy)/[a-z0-9_/.*-]*(?:\.[a-z0-9]+|/))(?:::\w+)?`")
"""A path of the repository in code: with a suffix, or of a folder. `loom/runs` is the name of a journal."""


def files_gone(text: str) -> list[str]:
    """Return the files and folders that a text names and the repository does not have."""
    return [path for path in _FILE.findall(text) if not any(ROOT.glob(path.rstrip("/")))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert files_gone(page.read_text(encoding="utf-8")) == []


def test_a_file_that_is_not_there_would_be_found() -> None:
    said = "`loom/gone.py`, `loom/gone/`, `loom/text.py`, `loom/*/earlier.py`, `tests/golden/`; a journal `loom/runs`"
    assert files_gone(said) == ["loom/gone.py", "loom/gone/"]


def test_pages_of_the_docs_and_pages_that_are_written_have_different_names() -> None:
    assert not {page.stem for page in PAGES} & set(WRITTEN)
