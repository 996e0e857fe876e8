"""Names that are safe to store and show, ids that are the same again, and ids that never are."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import InvalidNameError
from loom.identity import (
    Edge,
    Identity,
    actor_type_of,
    check_person,
    check_workspace,
    derived_id,
    is_self,
    journal_name,
    new_id,
    parse_journal_name,
    random_bytes,
    same_person,
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
    with pytest.raises(InvalidNameError, match="is empty"):
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


# --- whose name it is ------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_a_name_is_the_same_persons_however_it_is_written(name: str) -> None:
    assert same_person(name, Identity(name, "os_user:1", "socket"))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert same_person(name, unicodedata.normalize(form, name))
    assert same_person(name, name.casefold())
    assert same_person(f" {name}", name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("robin", "Robin"), ("ROBIN", "ｒｏｂｉｎ"), ("Straße", "STRASSE"), ("ﬁlip", "FILIP")],
)
def test_names_that_differ_in_case_or_form_alone_are_one_persons(one: str, other: str) -> None:
    assert same_person(one, other)
    assert same_person(other, Identity(one))


@pytest.mark.parametrize(("one", "other"), [("robin", "robyn"), ("anna", "ann"), ("a b", "ab")])
def test_other_names_are_other_persons(one: str, other: str) -> None:
    assert not same_person(one, other)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("agent-1", True),
        ("Agent-1", True),
        ("gate/agent-1", True),
        ("router", True),
        ("dana", False),
        ("agent-11", False),
    ],
)
def test_a_subject_is_itself_also_by_the_name_of_its_journal(*, by: str, expected: bool) -> None:
    assert is_self(by, "agent-1", None, "router") is expected


def test_a_plain_name_is_claimed_and_an_identity_stays_what_it_is() -> None:
    assert Identity.of("robin") == Identity("robin", "claimed", "python")
    assert Identity.of("robin", via="shell") == Identity("robin", "claimed", "shell")
    established = Identity("robin", "api_key:7", "http")
    assert Identity.of(established) is established
    for nobody in (None, "", " ", "a\nb", Identity(" ", "api_key:7", "http")):
        with pytest.raises(InvalidNameError):
            Identity.of(nobody)


@pytest.mark.parametrize(
    ("identity", "shown", "brief"),
    [
        (Identity("robin", "claimed", "socket"), "robin (claimed, via socket)", "robin (claimed)"),
        (Identity("robin", "api_key:7f", "http"), "robin (api_key:7f, via http)", "robin (api_key)"),
        (Identity("robin", None, None), "robin (source not recorded)", "robin (source not recorded)"),
        (Identity.of_system("loom"), "loom (system)", "loom (system)"),
    ],
)
def test_a_person_is_shown_with_where_the_name_comes_from(identity: Identity, shown: str, brief: str) -> None:
    assert (str(identity), identity.brief) == (shown, brief)


def test_an_account_establishes_its_own_name_alone_and_not_where_it_runs_loom(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = {1000: "robin", os.getuid(): "loom"}

    def getpwuid(uid: int) -> object:
        return SimpleNamespace(pw_name=accounts[uid])

    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    assert Edge("socket", 1000).identity("robin") == Identity("robin", "os_user:1000", "socket")
    for edge, name in (
        (Edge("socket", 1000), "dana"),
        (Edge("socket", 1000), "Robin"),
        (Edge("socket", os.getuid()), "loom"),
        (Edge("socket", 4_242), "robin"),
        (Edge("socket"), "robin"),
    ):
        assert edge.identity(name) == Identity(name, "claimed", "socket")
