"""Law 9: a name is written with where it comes from, in every kind of entry and in whatever is read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
from pydantic import BaseModel

from loom.actors import Command
from loom.archive.manifest import Manifest
from loom.errors import EntryUnreadableError
from loom.explorer.words import InWords
from loom.extension import installed
from loom.identity import Identity
from loom.journal import KINDS, Entry, PersonEntry, draft
from loom.journal.kinds import TurnAbandonedEntry
from tests.importing import import_all

BODIES = Path(__file__).parents[1] / "golden" / "bodies.jsonl"


def everything() -> None:
    """Import all of loom, and the extensions that are installed."""
    import_all("loom")
    installed()


def kinds() -> list[type[Entry]]:
    """Return the class of every kind that is not one of a test's own."""
    everything()
    classes = [KINDS.get(kind) for kind in KINDS]
    return [cls for cls in classes if cls is not None and not cls.__module__.startswith("tests.")]


KEYS = {"pair_by"}
"""What ends like a person's field and is none: the key that decisions are paired by."""

NARROWING = {
    "loom.explorer.narrowing.Asked.asked_by",
    "loom.explorer.pages.decisions.Row.asked_by",
    "loom.explorer.pages.decisions.Row.decided_by",
    "loom.precedents.browsed.BrowsedDecision.decided_by",
}
"""Names that decisions are narrowed down by: one name is one choice; the page of a decision has the sources."""


def persons(model: type[BaseModel]) -> list[str]:
    """Return the fields of a model that name a person."""
    named = [name for name in model.model_fields if name == "by" or (name.endswith("_by") and name not in KEYS)]
    return [name for name in named if str in parts(model, name) and not in_words(model, name)]


def in_words(model: type[BaseModel], name: str) -> bool:
    """Tell whether a field has the source of its name in its text."""
    return any(isinstance(each, InWords) for each in (*model.model_fields[name].metadata, *parts(model, name)))


def parts(model: type[BaseModel], name: str) -> Iterator[Any]:
    """Yield what the type of a field is made of, however deep."""
    waiting = [model.model_fields[name].annotation]
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        yield annotation


def nested(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> set[type[BaseModel]]:
    """Return a model and those that its fields hold."""
    seen = set() if seen is None else seen
    if model not in seen:
        seen.add(model)
        for name in model.model_fields:
            for part in parts(model, name):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    nested(part, seen)
    return seen


def unsourced(cls: type[Entry]) -> list[str]:
    """Return the persons that an entry names without saying where the names come from."""
    found = [f"{cls.kind}.{name}" for name in persons(cls) if not (issubclass(cls, PersonEntry) and cls.person == name)]
    inner = [each for each in nested(cls) if each is not cls and "identity_source" not in each.model_fields]
    return found + [f"{cls.kind}: {each.__name__}.{name}" for each in inner for name in persons(each)]


def test_every_kind_that_names_a_person_says_where_the_name_comes_from() -> None:
    classes = kinds()
    assert sum(issubclass(cls, PersonEntry) for cls in classes) > 25
    assert [missing for cls in classes for missing in unsourced(cls)] == []


class Somebody(BaseModel):
    by: str


class Unsourced(Entry):
    kind: ClassVar[str] = "test.unsourced"

    closed_by: str | None = None
    inner: tuple[Somebody, ...] = ()


def test_a_kind_that_does_not_is_noticed() -> None:
    assert unsourced(Unsourced) == ["test.unsourced.closed_by", "test.unsourced: Somebody.by"]


def test_what_is_read_back_has_the_sources_of_its_names() -> None:
    """A command has its requester's, the arguments of an operation are identities, an archive has none to go by."""
    everything()
    waiting, models = list(BaseModel.__subclasses__()), set[type[BaseModel]]()
    while waiting:
        waiting += (cls := waiting.pop()).__subclasses__()
        models.add(cls)
    own = [cls for cls in models if cls.__module__.startswith("loom.") and not issubclass(cls, Command | Manifest)]
    missing = [
        f"{cls.__module__}.{cls.__name__}.{name}"
        for cls in own
        for name in persons(cls)
        if not {"identity_source", f"{name.removesuffix('by')}identity_source"} & set(cls.model_fields)
    ]
    assert set(missing) == NARROWING


# --- as they were, and as they are ----------------------------------------------------------------


def golden() -> Iterator[tuple[type[PersonEntry], int, str]]:
    everything()
    for line in BODIES.read_text(encoding="utf-8").splitlines():
        stored = json.loads(line)
        cls = KINDS.get(stored["kind"])
        if cls is None or not issubclass(cls, PersonEntry):
            continue
        if (schema := int(stored["schema_version"])) < cls.sources_since:  # the others are of today
            yield cls, schema, stored["body"]


@pytest.mark.parametrize(("cls", "schema", "body"), [*golden()], ids=lambda each: getattr(each, "kind", ""))
def test_an_entry_of_before_has_no_source_and_a_new_one_always_has(
    cls: type[PersonEntry], schema: int, body: str
) -> None:
    assert cls.sources_since <= cls.schema_version, "a new kind sets sources_since = 1"
    entry = KINDS.decode(cls.kind, schema, body.encode())
    assert isinstance(entry, cls)
    if entry.identity is None:
        return
    assert (entry.identity.source, entry.identity.via) == (None, None)
    assert str(entry.identity) == f"{entry.identity.name} (source not recorded)"
    again = KINDS.decode(cls.kind, cls.schema_version, draft(entry).body)
    assert isinstance(again, PersonEntry)
    assert again.identity == Identity(entry.identity.name, "claimed", None)


def test_a_newer_entry_is_no_damage_to_a_loom_that_does_not_know_sources() -> None:
    entry = TurnAbandonedEntry(**Identity("robin", "api_key:7", "http").written(), reason="no")
    body = draft(entry).body
    assert KINDS.decode("turn_abandoned", 2, body) == entry
    assert getattr(KINDS.decode("turn_abandoned", 3, body), "problem", None) == "newer_schema"
    with pytest.raises(EntryUnreadableError):
        KINDS.decode("policy_registered", 1, b"{}")


def test_a_source_that_is_established_is_written_as_it_is() -> None:
    who = Identity("robin", "os_user:1000", "socket")
    body = json.loads(draft(TurnAbandonedEntry(**who.written(), reason="no")).body)
    assert (body["by"], body["identity_source"], body["via"]) == ("robin", "os_user:1000", "socket")
