"""docs/compliance.md names only what is there, and claims nothing that is not so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loom.cli.reference.commands import every_command
from loom.config import LoomConfig, RetentionConfig
from loom.journal.entry import KINDS
from loom.policies.evaluation import Evaluation
from tests.importing import import_all

PAGE = Path(__file__).parents[1] / "docs" / "compliance.md"
ARTICLES = (*(f"AI Act, Article {number}" for number in (12, 14, 19, 26, 86)), "GDPR, Article 17", "GDPR, Article 22")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def unknown(text: str) -> set[str]:
    """Return the names in code that are no command with its options, no kind of entry, no key of the config."""
    import_all("loom")
    commands = {
        " ".join(path): {option for each in command.params for option in each.opts}
        for path, command, _ in every_command()
    }
    effects = set(Evaluation.model_fields["effect"].annotation.__args__)  # type: ignore[union-attr]
    keys = {f"retention.{name}" for name in RetentionConfig.model_fields} & {
        f"{section}.{name}" for section in LoomConfig.model_fields for name in RetentionConfig.model_fields
    }
    found = set()
    for span in re.findall(r"`([^`]+)`", text):
        words = span.split()
        options = {each for each in words if each.startswith("--")}
        name = " ".join(each for each in words if not each.startswith("--"))
        is_command = name in commands and options <= commands[name]
        if not (is_command or span in set(KINDS) | effects | keys):
            found.add(span)
    return found


def test_every_command_kind_and_key_that_the_page_names_is_there(page: str) -> None:
    assert len(re.findall(r"`([^`]+)`", page)) > 80
    assert unknown(page) == set()
    wrong = "`loom absolve`, `loom prove --without-proof`, `decision_made`, `retention.keep_for`, `loom people show`"
    assert unknown(wrong) == {"loom absolve", "loom prove --without-proof", "decision_made", "retention.keep_for"}


def test_the_default_that_the_page_names_is_the_one_of_the_config(page: str) -> None:
    assert f"by default {RetentionConfig().keep_days:g} days" in " ".join(page.split())


def test_every_duty_has_its_open_points(page: str) -> None:
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")[1:]}
    for article in ARTICLES:
        [section] = [part for title, part in sections.items() if title.startswith(f"{article}:")]
        assert len(re.findall(r"^- ", section.partition("\nOpen:\n")[2], flags=re.MULTILINE)) >= 2, article


def test_the_page_calls_nothing_compliant_and_says_that_no_law_asks_for_tamper_evidence(page: str) -> None:
    words = " ".join(page.split()).lower()
    assert not re.findall(r"complian(?:t|ce)|certif|guarantee|court-proof|legally valid|fulfil|satisf", words)
    assert "no regulation that we found demands tamper evidence" in words
    assert "it is not legal advice" in words
