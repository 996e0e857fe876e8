"""Names that are safe to store and show, ids that are the same again, and ids that never are."""

from __future__ import annotations

import os
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import InvalidNameError
from loom.identity import (
    actor_type_of,
    check_person,
    check_workspace,
    derived_id,
    journal_name,
    new_id,
    parse_journal_name,
    random_bytes,
    short,
)


@pytest.mark.parametrize(
    ("class_name", "actor_type"),
    [("DiscountAgent", "discount-agent"), ("HTTPServer", "http-server"), ("A1", "a1"), ("snake_case", "snake-case")],
)
def test_the_actor_type_of_a_class_is_its_name_in_lower_case_with_dashes(class_name: str, actor_type: str) -> None:
    assert actor_type_of(class_name) == actor_type


def test_a_journal_is_named_by_its_actors_type_and_key_and_can_be_taken_apart_again() -> None:
    assert journal_name("discount-agent", "acme:7") == "discount-agent/acme:7"
    assert parse_journal_name("discount-agent/acme:7") == ("discount-agent", "acme:7")


@pytest.mark.parametrize("key", ["", "a/b", "a\nb", "a\x00b", "\x1b[31m", " a", "a ", "x" * 201, "\ud800", "a\u202eb"])
def test_a_key_with_a_slash_or_a_control_character_is_refused_and_shown_escaped(key: str) -> None:
    with pytest.raises(InvalidNameError, match="expected") as refused:
        journal_name("agent", key)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a..b", "a b", ".hidden", "x" * 65, "ü"])
def test_a_workspace_that_is_no_safe_directory_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_workspace(name)


@pytest.mark.parametrize("name", [None, "", "   ", "\n"])
def test_nobody_is_not_a_person(name: str | None) -> None:
    with pytest.raises(InvalidNameError, match="nobody"):
        check_person(name)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=4))
def test_a_derived_id_depends_on_every_part_and_on_where_it_ends(parts: list[str]) -> None:
    derived = derived_id("test", *parts)
    assert re.fullmatch(r"[0-9a-f]{64}", derived)
    assert derived == derived_id("test", *parts)
    assert derived != derived_id("other", *parts)
    assert derived != derived_id("test", *parts, "")
    assert derived != derived_id("test", "".join(parts), *[""] * len(parts))


def test_a_new_id_is_a_uuid_of_version_7_in_order_of_its_time() -> None:
    ids = [new_id(now_ms=lambda at=at: at) for at in (1_000, 2_000, 3_000)]  # type: ignore[misc]
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids)
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_random_bytes_are_never_the_same_in_two_threads_or_after_a_fork() -> None:
    seen: list[bytes] = []

    def draw() -> None:
        seen.extend(random_bytes(16) for _ in range(2_000))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 8_000
    assert len(random_bytes(10_000)) == 10_000
    random_bytes(16)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - the child reports through the pipe
        os.write(writing, random_bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 16) != random_bytes(16)
    os.close(reading)
    os.close(writing)


def test_the_short_form_of_an_id_is_its_beginning() -> None:
    assert short("a" * 64) == "a" * 12
