"""The reference pages say everything that the program has, and what an error prints leads to its meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loom.cli.commands.docs import anchor, headings
from loom.cli.reference import WRITTEN, written
from loom.cli.reference.commands import every_command
from loom.cli.reference.config import config_page
from loom.cli.reference.errors import _KINDS, TO_DO
from loom.cli.reference.found import subclasses
from loom.config import LoomConfig
from loom.errors import KINDS_OF_ANSWERS, ControlError, JournalLockedError, LoomError
from loom.journal.entry import KINDS
from loom.workspace import sections
from tests.cli.support import invoke


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: written(name) for name in WRITTEN}


def titles(page: str) -> set[str]:
    return {words for _, level, words in headings(page) if level == 2}


def commands_named_in(text: str) -> set[tuple[str, ...]]:
    """Return what a text says is a command: the words after `loom` in code, as far as they can be names of commands."""
    spans = re.findall(r"`(loom [^`]*)`", text)
    return {tuple(re.match(r"loom((?: [a-z][a-z-]+)*)", each)[1].split()) for each in spans}  # type: ignore[index]


def unknown_commands(text: str) -> set[str]:
    """Return the commands that a text names and the shell does not have; words that follow are arguments."""
    groups = {path[1:]: hasattr(command, "list_commands") for path, command, _ in every_command()}
    return {" ".join(path) for path in commands_named_in(text) if path and path[:1] not in groups} | {
        " ".join(path)
        for path in commands_named_in(text)
        if groups.get(path[:1]) and path[1:] and path[:2] not in groups
    }


def test_every_error_says_what_it_means_and_what_to_do(pages: dict[str, str]) -> None:
    found = [each for each in subclasses(LoomError) if not each.__name__.startswith("_")]
    assert len(found) > 100
    assert titles(pages["errors"]) == {each.__name__ for each in found}
    assert not [each.__qualname__ for each in found if TO_DO not in (each.__doc__ or "")], "add a paragraph `To do: …`"
    assert pages["errors"].count(f"**{TO_DO}**") == len(found)


def test_the_page_of_errors_knows_every_kind_of_answer(pages: dict[str, str]) -> None:
    assert tuple(_KINDS) == KINDS_OF_ANSWERS


def test_what_to_do_names_commands_that_are_there(pages: dict[str, str]) -> None:
    assert len(commands_named_in(pages["errors"])) > 15
    assert not unknown_commands(pages["errors"])
    assert unknown_commands("`loom wherefore ID`, `loom turns burn`, `loom turns retry ID`, `loom why ffff`") == {
        "wherefore",
        "turns burn",
    }


def test_every_kind_key_and_command_has_its_place(pages: dict[str, str]) -> None:
    own = {kind for kind in KINDS if (cls := KINDS.get(kind)) is not None and cls.__module__.startswith("loom.")}
    assert own <= titles(pages["entries"])
    assert {"journal", "actors", *sections()} <= titles(pages["config"])
    assert all(
        f"`{name}`" in pages["config"] or name in titles(pages["config"])
        for name in set(LoomConfig.model_fields) - {"sections"}
    )
    assert titles(pages["commands"]) == {" ".join(path) for path, _, _ in every_command()}
    assert "| `max_batch` | integer from 1 to 1000000 | `1000` |" in pages["config"]
    assert "version: 1 " in pages["config"], "the sample file, whole"


def test_an_error_is_printed_with_the_place_that_explains_it(tmp_path: Path) -> None:
    said = invoke("decisions", "-j", str(tmp_path / "nothing.db"))
    assert said.code == 2
    [reference] = re.findall(r"^see: loom docs (\S+)$", said.err, flags=re.MULTILINE)
    assert reference == "errors#JournalNotFoundError"
    explained = invoke("docs", reference)
    assert explained.code == 0
    assert explained.out.startswith("## JournalNotFoundError")
    assert "To do:" in explained.out
    assert explained.out.count("## ") == 1


def test_an_error_of_a_running_loom_is_named_as_it_is_there() -> None:
    from loom.cli.command import _name_of

    assert _name_of(ControlError("m", type_name="JournalLockedError")) == JournalLockedError.__name__
    assert _name_of(ControlError("m", type_name="ZeroDivisionError")) == "ControlError"


def test_a_heading_that_is_not_there_is_a_usage_error() -> None:
    said = invoke("docs", "errors#NoSuchError")
    assert said.code == 2
    assert "no heading [NoSuchError]" in " ".join(said.err.split())


def test_a_heading_is_named_as_links_name_it() -> None:
    assert anchor("What differs from the model verb") == "what-differs-from-the-model-verb"
    assert [words for _, _, words in headings("# a\n```sh\n# no heading\n```\n## b\n")] == ["a", "b"]


def test_a_default_that_is_a_path_is_shown() -> None:
    assert "`loom-data`" in config_page()
