"""Entries come back as they went in: by their kind, upcast where shapes changed, as unknown where nobody reads them."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, field_validator

from loom.errors import AdmissionError, DuplicateKindError, EntryUnreadableError, InvalidNameError
from loom.journal import KINDS, Entry, KindRegistry, Limits, Recorded, Step, UnknownEntry, draft
from loom.journal.chain import body_digest
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.journal.serialisation import serialise
from tests.journal.support import NotedEntry, note
from tests.journal.test_admission import JSON


class Inner(BaseModel):
    score: float = 0.0


class Careful(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    score: float = 0.0


class WideEntry(Entry):
    kind: ClassVar[str] = "test.wide"

    number: Annotated[float, Field(ge=-1e9)] = 0.0
    inner: Inner | None = None
    careful: Careful | None = None
    anything: Any = None
    mapping: dict[Any, Any] = Field(default_factory=dict)
    took: timedelta | None = None


class GrownEntry(Entry):
    """Version 1 had `name`; version 2 `names`; version 3 has `people`, a tuple."""

    model_config = ConfigDict(strict=True)

    kind: ClassVar[str] = "test.grown"
    schema_version: ClassVar[int] = 3

    people: tuple[str, ...]

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        if version == 1:
            return {"step": body.get("step"), "names": [body["name"]]}
        return {"step": body["step"], "people": body["names"]}


@given(JSON, st.none() | st.builds(Step, st.text("ab/ ", max_size=5), st.text("xyz", max_size=5), st.integers(0, 9)))
def test_an_entry_is_decoded_to_what_it_was(reply: JsonValue, step: Step | None) -> None:
    entry = TurnCompletedEntry(reply=reply, step=step)
    written = draft(entry)
    assert KINDS.decode(written.kind, written.schema_version, written.body) == entry
    assert json.loads(written.body)["reply"] == reply


def test_a_draft_is_digested_with_its_salt() -> None:
    written = draft(NotedEntry(text="x"), new_salt=lambda size: b"s" * size)
    assert written.salt == b"s" * 16
    assert written.body_digest == body_digest(written.salt, written.body)


def test_an_unknown_kind_is_kept_with_all_that_was_stored() -> None:
    entry = KINDS.decode("test.nobody_reads_this", 7, b'{"a":[1,2]}')
    assert isinstance(entry, UnknownEntry)
    assert (entry.of_kind, entry.of_schema, entry.problem, entry.body) == (
        "test.nobody_reads_this",
        7,
        "unknown_kind",
        {"a": [1, 2]},
    )


def test_a_newer_schema_is_kept_as_unknown() -> None:
    entry = KINDS.decode("test.noted", 2, b'{"text":"x","colour":"red"}')
    assert isinstance(entry, UnknownEntry)
    assert (entry.problem, entry.body) == ("newer_schema", {"text": "x", "colour": "red"})


def test_a_body_that_is_gone_is_an_unknown_entry_that_says_so() -> None:
    entry = KINDS.decode("test.noted", 1, None)
    assert isinstance(entry, UnknownEntry)
    assert entry.problem == "erased"


@pytest.mark.parametrize(
    ("version", "body"),
    [(1, {"name": "ada"}), (2, {"step": None, "names": ["ada"]}), (3, {"step": None, "people": ["ada"]})],
)
def test_old_shapes_are_upcast_step_by_step(version: int, body: dict[str, Any]) -> None:
    assert KINDS.decode("test.grown", version, json.dumps(body).encode()) == GrownEntry(people=("ada",))


@pytest.mark.parametrize(
    ("kind", "version", "body"),
    [
        ("test.noted", 1, b'{"text":5}'),
        ("test.noted", 1, b'{"surplus":5}'),
        ("test.noted", 1, b"\xff"),
        ("test.noted", 1, b""),
        ("test.noted", 0, b"{}"),
        ("test.grown", 1, b"{}"),
        ("test.grown", 1, b"[]"),
        ("test.grown", 2, b"{"),
        ("test.nobody_reads_this", 1, b"{"),
    ],
)
def test_a_body_of_the_wrong_shape_is_unreadable_and_not_a_traceback(kind: str, version: int, body: bytes) -> None:
    with pytest.raises(EntryUnreadableError, match="schema"):
        KINDS.decode(kind, version, body)


def test_a_validator_that_raises_makes_an_entry_unreadable() -> None:
    class PickyEntry(Entry):
        kind: ClassVar[str] = "test.picky"

        value: int

        @field_validator("value")
        @classmethod
        def never(cls, value: int) -> int:
            raise KeyError(value)

    with pytest.raises(EntryUnreadableError, match="KeyError"):
        KINDS.decode("test.picky", 1, b'{"value":1}')


def test_two_classes_cannot_claim_one_kind() -> None:
    with pytest.raises(DuplicateKindError, match="NotedEntry"):

        class OtherEntry(Entry):
            kind: ClassVar[str] = "test.noted"

    assert KINDS.get("test.noted") is NotedEntry


def test_a_registry_of_ones_own_knows_only_what_is_registered() -> None:
    registry = KindRegistry()
    registry.register(NotedEntry)
    registry.register(NotedEntry)
    assert list(registry) == ["test.noted"]
    assert registry.get("command_received") is None
    assert isinstance(registry.decode("command_received", 1, b"{}"), UnknownEntry)


@pytest.mark.parametrize("kind", ["", "Upper", "has space", "a/b", "1st", "a__b", "a.", "é", "x" * 65, "a\n"])
def test_a_kind_must_be_a_name(kind: str) -> None:
    registry = KindRegistry()
    cls = type("NamedEntry", (Entry,), {"__annotations__": {}, "__module__": __name__})
    cls.kind = kind  # type: ignore[attr-defined]
    with pytest.raises(InvalidNameError):
        registry.register(cls)


def test_a_schema_version_counts_from_one() -> None:
    with pytest.raises(InvalidNameError, match="schema version"):

        class ZeroEntry(Entry):
            kind: ClassVar[str] = "test.zero"
            schema_version: ClassVar[int] = 0


def test_a_class_without_a_kind_of_its_own_is_not_journaled_as_its_parent() -> None:
    class LongerNoteEntry(NotedEntry):
        more: str = ""

    with pytest.raises(AdmissionError, match="no kind of its own"):
        draft(LongerNoteEntry(text="x"))
    with pytest.raises(AdmissionError, match="no kind of its own"):
        draft(UnknownEntry(of_kind="x", of_schema=1, problem="unknown_kind"))


@pytest.mark.parametrize(
    "entry",
    [
        WideEntry(number=math.inf),
        WideEntry(inner=Inner(score=math.nan)),
        WideEntry(careful=Careful(score=math.nan)),
        WideEntry(anything={"x": [math.inf]}),
        WideEntry(anything=2**53),
        WideEntry(anything="\ud800"),
        WideEntry(anything="\x00"),
        WideEntry(anything=object()),
        WideEntry(mapping={1: "a", "1": "b"}),
        TurnCompletedEntry(reply=math.nan),
        TurnCompletedEntry(reply=[2**53]),
        NotedEntry(text="\x00"),
        NotedEntry.model_construct(text="\ud800"),
        NotedEntry.model_construct(text=7),  # type: ignore[arg-type]
    ],
)
def test_an_entry_that_would_not_come_back_the_same_is_refused(entry: Entry) -> None:
    with pytest.raises(AdmissionError):
        draft(entry)


def test_a_serialiser_of_a_users_own_does_not_get_around_the_gate() -> None:
    class OddEntry(Entry):
        kind: ClassVar[str] = "test.odd"

        value: Annotated[int, PlainSerializer(lambda value: math.nan if value == 1 else 1 / value)]

    assert draft(OddEntry(value=2))
    for value in (1, 0):
        with pytest.raises(AdmissionError):
            draft(OddEntry(value=value))


def test_an_entry_larger_than_the_limit_is_refused() -> None:
    with pytest.raises(AdmissionError, match="at most"):
        draft(NotedEntry(text="x" * 100), limits=Limits(max_bytes=100))


@pytest.mark.parametrize("command_id", ["", "\x00", "a\nb", "\ud800", "x" * 513])
def test_a_command_id_that_cannot_stand_in_a_header_is_refused(command_id: str) -> None:
    with pytest.raises(AdmissionError, match="command id"):
        note(command_id=command_id)


def test_a_policy_hash_is_a_full_one() -> None:
    with pytest.raises(AdmissionError, match="policy hash"):
        draft(NotedEntry(), policy_hash=b"short")


def test_plain_entries_are_written_once_and_only_then_checked_by_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a plain entry was parsed again")

    monkeypatch.setattr("loom.journal.serialisation.admit", never)
    monkeypatch.setattr("loom.journal.serialisation.json_value", never)
    monkeypatch.setattr("loom.journal.admission.parse_json", never)
    command = CommandReceivedEntry(command_type="T", payload={"a": [1]}, correlation_id="c", step=Step("ask", "x"))
    assert serialise(command, limits=Limits())


def test_a_recorded_entry_is_decoded_on_first_use_and_kept() -> None:
    written = note("x")
    recorded = Recorded(
        1,
        "a/1",
        1,
        written.kind,
        1,
        None,
        1,
        1_000_000,
        0,
        b"\x01" * 32,
        written.salt,
        written.body,
        written.body_digest,
        b"h" * 32,
    )
    assert recorded.entry == NotedEntry(text="x")
    assert recorded.entry is recorded.entry
    assert recorded.recorded_at.isoformat() == "1970-01-01T00:00:01+00:00"
    assert recorded.policy == "01" * 32
    assert recorded.body_json() == {"step": None, "text": "x"}
