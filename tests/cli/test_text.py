"""The words that the shell prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.text import age, as_json, compact, moment, one_line, parse_moment, safe, shortened, size

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_text_that_could_steer_a_terminal_is_shown_as_escapes() -> None:
    assert safe("a\x1b[31mb\u202ec\u009bd") == "a\\u001b[31mb\\u202ec\\u009bd"


def test_line_breaks_and_ordinary_letters_stay() -> None:
    assert safe("grüße\n日本 👩\u200d🔬") == "grüße\n日本 👩\u200d🔬"


@given(st.text())
def test_safe_text_has_nothing_unprintable_but_line_breaks(text: str) -> None:
    assert all(each.isprintable() or each in "\n\u200d" for each in safe(text))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_says_the_same_and_cannot_steer_a_terminal(value: object) -> None:
    text = as_json(value)
    assert json.loads(text) == value
    assert all(each.isprintable() or each == "\n" for each in text)


def test_one_line_has_no_break_and_is_cut() -> None:
    assert one_line("a\n b\t c") == "a b c"
    assert one_line("abcdef", 4) == "abc…"


def test_compact_shows_objects_as_names_and_values() -> None:
    assert compact({"a": 1, "b": "x y", "c": None}) == "a=1, b=x y, c=null"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "250 ms"), (45, "45 s"), (600, "10 min"), (7_260, "2 h 1 min"), (200_000, "2 d 7 h"), (-90, "-2 min")],
)
def test_ages_are_in_the_units_a_person_would_use(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_sizes() -> None:
    assert size(12) == "12 B"
    assert size(1_500_000) == "1.4 MiB"


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T10:30+02:00", datetime(2026, 2, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_moments_are_read_as_a_person_writes_them(text: str, when: datetime) -> None:
    assert parse_moment(text, now=NOW) == when


@pytest.mark.parametrize("text", ["", "h", "yesterday", "-2h", "2026-13-01"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text, now=NOW)


def test_moments_are_shown_in_utc() -> None:
    assert moment("2026-02-01T10:30:00+02:00") == "2026-02-01 08:30:00"


def test_ids_are_shortened_as_far_as_they_stay_different() -> None:
    short = shortened(["0123456789abcdef", "0123456789abcXYZ", "zz", "fedcba9876543210"])
    assert short["fedcba9876543210"] == "fedcba987654"
    assert short["zz"] == "zz"
    assert short["0123456789abcdef"] == "0123456789abcd"
    assert len(set(short.values())) == 4
