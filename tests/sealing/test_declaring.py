"""What models declare of their fields: read once, refused where it could not be followed, protected and opened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom import Actor, Command, Entry, Loom
from loom.errors import ActorFailedError, AdmissionError, ConfigError, ErasedError
from loom.journal.entry import KINDS
from loom.journal.store import draft
from loom.sealing import (
    Dropped,
    Erased,
    Hashed,
    Masked,
    Sealed,
    SealedValue,
    Withheld,
    declaration_of,
    declared_paths,
    lost_in,
    open_sealed,
    plain_of,
    proofs,
    protect,
    redacted,
    subjects_in,
    texts_in,
)
from tests.sealing.support import opening, vault, vault_of


class Address(BaseModel):
    street: Annotated[str, Sealed()]
    country: str


class Guarantor(BaseModel):
    guarantor_id: str
    name: Annotated[str, Sealed(subject="guarantor_id")]


class Application(Entry):
    kind = "test.application_declared"

    customer_id: str
    email: Annotated[str, Sealed()]
    age: Annotated[int | None, Sealed()] = None
    born: Annotated[str, Hashed()]
    phone: Annotated[str, Masked()]
    note: Annotated[str, Dropped()]
    addresses: list[Address] = Field(default_factory=list)
    by_name: dict[str, Annotated[str, Field(min_length=1), Sealed()]] = Field(default_factory=dict)
    guarantor: Guarantor | None = None
    amount: int = 0


GIVEN: dict[str, Any] = {
    "customer_id": "c-7",
    "email": "ada@example.org",
    "age": 36,
    "born": "1815-12-10",
    "phone": "+44 20 7946",
    "note": "calls at night",
    "addresses": [{"street": "St James's Square", "country": "GB"}],
    "by_name": {"a/b": "secret one", "a~1b": "secret two"},
    "guarantor": {"guarantor_id": "g-1", "name": "Lord Byron"},
    "amount": 5,
}
SECRETS = ("ada@example.org", "1815-12-10", "+44 20 7946", "calls at night", "St James", "secret", "Byron")


def plain(**changes: Any) -> JsonValue:
    return plain_of(Application(**{**GIVEN, **changes}))


DECLARED = declaration_of(Application)


async def test_what_is_declared_is_protected_and_opens_again_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    async with opening(tmp_path) as subjects:
        held = vault_of(subjects)
        written: Any = await protect(plain(), DECLARED, vault=held, subject="c-7")
        text = json.dumps(written)
        assert not [each for each in SECRETS if each in text]
        assert (written["amount"], written["addresses"][0]["country"]) == (5, "GB")
        assert subjects_in(written, DECLARED, subject="c-7") == {"c-7", "g-1"}
        entry: Any = KINDS.decode(Application.kind, 1, draft(Application.model_validate(written)).body)
        assert isinstance(entry.email, SealedValue)
        assert (entry.phone, entry.note) == (Withheld("mask"), Withheld("drop"))
        assert entry.born.digest.startswith("hmac-sha256:")
        opened: Any = await open_sealed(written, DECLARED, vault=held, subject="c-7")
        typed: Any = Application.model_validate(opened)
        assert (typed.email, typed.age, typed.addresses[0].street) == ("ada@example.org", 36, "St James's Square")
        assert (typed.by_name, typed.guarantor.name) == (GIVEN["by_name"], "Lord Byron")
        assert lost_in(opened, DECLARED, subject="c-7") == "hashed"
        await subjects.erase("c-7", by="vera", reason="she asked for it")
        after: Any = Application.model_validate(await open_sealed(written, DECLARED, vault=held, subject="c-7"))
        assert (after.email, after.age, after.addresses[0].street) == (Erased(), Erased(), Erased())
        assert after.guarantor.name == "Lord Byron", "that of another subject opens still"
        await subjects.erase("g-1", by="vera", reason="he asked for it")
        after = Application.model_validate(await open_sealed(written, DECLARED, vault=held, subject="c-7"))
        assert KINDS.decode(Application.kind, 1, draft(after).body) == after, "it is written as it is read"
        with pytest.raises(ErasedError):
            await protect(plain(), DECLARED, vault=held, subject="c-7")


async def test_a_command_sent_again_is_protected_the_same_and_compared_by_a_proof_for_each_subject(
    tmp_path: Path,
) -> None:
    async with vault(tmp_path) as held:

        async def both(once: str, **changes: Any) -> tuple[JsonValue, dict[str, str]]:
            given = plain(**changes)
            return (
                await protect(given, DECLARED, vault=held, subject="c-7", once=once),
                await proofs(given, DECLARED, vault=held, subject="c-7", about=once),
            )

        first, proof = await both("id-1")
        assert (first, proof) == await both("id-1")
        assert proof.keys() == {"c-7", "g-1"}
        other, other_proof = await both("id-1", note="calls by day")
        assert first == other, "nothing of it is written"
        assert not proof.items() & other_proof.items(), "and yet it is told apart"
        assert not proof.items() & (await both("id-2"))[1].items()
    async with vault(tmp_path) as held:
        assert (first, proof) == await both("id-1")


async def test_the_key_of_one_subject_does_not_suffice_to_try_values_of_another_at_a_proof(tmp_path: Path) -> None:
    async with vault(tmp_path) as held:
        proof = await proofs(plain(), DECLARED, vault=held, subject="c-7", about="id-1")
        keys = {subject: await held.keys(subject) for subject in proof}
        about = "proof id-1"
        alone = {each.hashed(plain(), about=about) for each in keys.values()}
        twice = {each.hashed(digest, about=about) for each in keys.values() for digest in alone}
        assert alone.isdisjoint(proof.values())
        nested = keys["g-1"].hashed(keys["c-7"].hashed(plain(), about=about), about=about)
        assert proof == {"c-7": nested, "g-1": nested}, "control: all of the keys give it"
        assert nested in twice
        of_one = {each.hashed(each.hashed(plain(), about=about), about=about) for each in keys.values()}
        assert nested not in of_one


async def test_what_must_not_be_written_is_refused(tmp_path: Path) -> None:
    async with vault(tmp_path) as held:
        written: Any = await protect(plain(), DECLARED, vault=held, subject="c-7")

        async def refused(
            match: str, *, subject: str | None = "c-7", names: Sequence[str] = (), **changes: Any
        ) -> None:
            given: Any = {**GIVEN, **changes}
            with pytest.raises(AdmissionError, match=match):
                await protect(given, DECLARED, vault=held, subject=subject, names=names)

        await refused("looks like a protected value", email=written["email"])
        await refused("looks like a protected value", phone={"$withheld": "mask"})
        await refused("looks like a protected value", age={"$erased": 1})
        await refused("none is named", subject=None)
        await refused("name of its subject", email="c-7")
        await refused("name of its subject", phone="agent/7", names=("agent/7", "id-1"))
        await refused("name of its subject", age=36, names=("36",))
        await refused("names no subject", guarantor={"guarantor_id": None, "name": "x"})
        await refused("expected an object or a list", guarantor="Lord Byron, g-1")
        await refused("expected an object or a list", addresses="St James's Square")
        for changed, at in (({"about": "/age"}, "email"), ({"subject": "g-1"}, "email")):
            moved = {**written, at: {**written[at], **changed}}
            with pytest.raises(ErasedError, match="for another, or elsewhere"):
                await open_sealed(moved, DECLARED, vault=held, subject="c-7")
    with pytest.raises(ConfigError, match="there is no vault"):
        await protect(plain(), DECLARED, vault=None, subject="c-7")


async def test_what_is_masked_or_dropped_needs_neither_vault_nor_subject() -> None:
    class Call(BaseModel):
        phone: Annotated[str, Masked()]
        note: Annotated[str | None, Dropped()] = None

    declared = declaration_of(Call)
    written = await protect({"phone": "+44", "note": None}, declared, vault=None)
    assert written == {"phone": {"$withheld": "mask"}, "note": None}
    assert lost_in(written, declared) == "masked"
    assert await proofs({"phone": "+44"}, declared, vault=None, about="id-1") == {}


async def test_what_is_declared_and_not_protected_yet_is_written_by_nothing(tmp_path: Path) -> None:
    class Apply(Command[None]):
        email: Annotated[str, Sealed()]

    class Answer(BaseModel):
        email: Annotated[str, Sealed()]

    class Look(Command[Any]):
        what: str

    class Desk(Actor[None]):
        actor_type = "desk-declared"

        async def execute(self, command: Apply | Look) -> Answer | None:
            if isinstance(command, Apply):
                return None
            if command.what == "entry":
                await self.record(Application(**GIVEN))
            if command.what == "look-up":
                await self.gather_context(
                    system="crm", entity="e", query="q", fetcher=lambda: Answer(email="ada@example.org")
                )
            return Answer(email="ada@example.org")

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Desk], by="mira") as loom:
        desk = loom.actor(Desk, "c-7")
        with pytest.raises(AdmissionError, match="none is named"):
            await desk.ask(Apply(email="ada@example.org"))
        with pytest.raises(AdmissionError, match="would be written in clear"):
            draft(Application(**GIVEN))
        for what in ("entry", "look-up", "reply"):
            with pytest.raises(ActorFailedError):
                await desk.ask(Look(what=what))
    assert b"ada@example.org" not in b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())


def test_a_model_that_declares_nothing_declares_nothing() -> None:
    class Plain(BaseModel):
        names: list[str]
        more: dict[str, Address] | None = None

    class Bare(BaseModel):
        names: set[int]
        inner: Bare | None = None

    assert not declaration_of(Bare)
    assert declaration_of(Plain).fields.keys() == {"more"}


@dataclass
class InADataclass:
    name: Annotated[str, Sealed()]


class InATuple(NamedTuple):
    name: Annotated[str, Sealed()]


Secret = Annotated[str, Sealed()]


class Tree(BaseModel):
    name: Secret
    children: list[Tree] = []


class OtherModel(BaseModel):
    name: str


REFUSED: dict[str, tuple[Any, str]] = {
    "a set": (set[Secret], "declared in a"),
    "a tuple of several": (tuple[int, Secret], "declared in a"),
    "a key of a dict": (dict[Secret, str], "declared in a"),
    "one of several models": (Address | OtherModel, "may be of several types"),
    "one of several types": (Secret | int, "may be of several types"),
    "twice": (Annotated[Secret, Masked()], "is declared twice"),
    "within what is declared": (Annotated[Address, Sealed()], "so is something in it"),
    "a dataclass": (InADataclass, "which is no model"),
    "a named tuple": (list[InATuple], "which is no model"),
    "a model that holds itself": (Tree, "holds itself"),
    "a subject that is no field": (Annotated[str, Sealed(subject="nobody")], "names its subject by"),
    "a subject that is a number": (Annotated[str, Hashed(subject="number")], "names its subject by"),
    "a subject that is declared": (Annotated[str, Sealed(subject="secret")], "names its subject by"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_declaration_that_could_not_be_followed_is_refused_with_its_place(what: str) -> None:
    annotation, match = REFUSED[what]
    fields: Any = {"__annotations__": {"number": int, "secret": Secret, "field": annotation}}
    metaclass: Any = type(BaseModel)
    cls: Any = metaclass("Refused", (BaseModel,), {**fields, "__module__": __name__})
    with pytest.raises(ConfigError, match=match) as caught:
        declaration_of(cls)
    assert "Refused" in str(caught.value)


def test_a_field_is_found_under_the_name_that_it_is_written_under() -> None:
    class Aliased(BaseModel):
        model_config = ConfigDict(serialize_by_alias=True)
        email: Annotated[str, Sealed()] = Field(serialization_alias="e_mail")

    assert declaration_of(Aliased).fields.keys() == {"e_mail"}


async def test_paths_declare_what_a_look_up_brings(tmp_path: Path) -> None:
    declared = declared_paths({"email": "seal", "contacts.*.phone": "mask", "profile.born": "hash"})
    found: Any = {"email": "a@b.c", "contacts": [{"phone": "1", "kind": "home"}], "profile": {"born": "1815"}, "n": 1}
    async with vault(tmp_path) as held:
        written: Any = await protect(found, declared, vault=held, subject="c-7")
        assert written["contacts"] == [{"phone": {"$withheld": "mask"}, "kind": "home"}]
        opened: Any = await open_sealed(written, declared, vault=held, subject="c-7")
        assert opened["email"] == "a@b.c"
        assert await protect({"n": 1}, declared, vault=held, subject="c-7") == {"n": 1}, "what is not there"
        rows = await protect([{"a": 1, "b": 2}], declared_paths({"*.a": "drop"}), vault=None)
        assert rows == [{"a": {"$withheld": "drop"}, "b": 2}]
    for wrong in (
        {"a": "seals"},
        {"a..b": "seal"},
        {"a": "seal", "a.b": "mask"},
        {"a.*": "seal", "a.b": "seal"},
        {"a": "seal", "*": "mask"},
    ):
        with pytest.raises(ConfigError, match="path"):
            declared_paths(wrong)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(["a", "~/", "c"]), each, max_size=3),
    max_leaves=8,
)


async def test_any_json_opens_as_it_was_sealed_or_is_refused(tmp_path: Path) -> None:
    async with vault(tmp_path) as held:
        await held.keys("c-7")
        declared = declared_paths({"a": "seal", "b.*.c": "seal"})

        async def there_and_back(value: Mapping[str, Any]) -> None:
            try:
                written = await protect(dict(value), declared, vault=held, subject="c-7")
            except AdmissionError:
                return
            assert await open_sealed(written, declared, vault=held, subject="c-7") == value

        values: list[Any] = []

        @settings(max_examples=60, deadline=None)
        @given(st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values, max_size=3))
        def collect(value: Any) -> None:
            values.append(value)

        collect()
        await asyncio.gather(*(there_and_back(value) for value in values))


def test_free_text_loses_exact_occurrences_of_protected_values_the_longest_first() -> None:
    texts = texts_in(plain(), DECLARED, subject="c-7")
    assert {"ada@example.org", "36", "secret one", "Lord Byron"} <= texts
    said = "Refused for ada@example.org, aged 36, as Lord Byron and Lord B. agree"
    assert redacted(said, texts) == "Refused for [sealed], aged 36, as [sealed] and Lord B. agree"
    assert redacted("abcdefgh", {"abcd", "abcdefg"}) == "[sealed]h"
