"""Fields of circuits: written as those of every actor, and read as an earlier loom wrote them."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loom.circuits import Circuits
from loom.circuits.entries import CircuitEnteredEntry
from loom.circuits.fields import ClientFields, worded_fields
from loom.errors import AdmissionError, CommandConflictError, ConfigError, ErasedError
from loom.journal.sqlite.verify import verify
from loom.sealing import MASTER_KEY, is_sealed, opened_facts
from loom.sealing.facts import OUTCOME_AT
from tests.circuits.test_sealed import sealing
from tests.golden.reading import HERE, copied
from tests.golden.sealed import ADA, MASTER
from tests.golden.sealed import opened as opened_sealed


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(MASTER).decode())


async def test_every_field_becomes_what_is_said_of_it_and_what_changed_is_told(tmp_path: Path) -> None:
    values: dict[str, Any] = {"a": 1, "b": "b@example.org", "c": "c@example.org", "d": "d", "e": {"secret": True}}
    handling: Any = {"b": "mask", "c": "hash", "d": "drop", "e": "seal", "f": "seal"}
    declared: Any = ({}, {"a": "mask"}, {"a": "seal"})
    async with sealing(tmp_path) as loom:
        fields = Circuits.of(loom).fields
        written, changed = await fields.protect({**values, "f": None}, handling, subject="ada")
        assert changed == ("b", "c", "d", "e")
        assert (written["a"], written["b"], written["f"]) == (1, {"$withheld": "mask"}, None)
        assert written["d"] == {"$withheld": "drop"}
        assert is_sealed(written["e"])
        digest: Any = written["c"]
        assert worded_fields(written) == {
            "a": 1,
            "b": "***",
            "c": digest["digest"],
            "e": written["e"],
            "f": None,
        }
        assert (await fields.reveal(written, subject="ada"))["e"] == {"secret": True}
        copies: Any = (written["e"], written["b"], {"$erased": 1}, {"$sealed": 1, "subject": "ada"})
        for copied_value in copies:
            for handled in declared:
                with pytest.raises(AdmissionError, match="looks like a protected value"):
                    await fields.protect({"a": copied_value}, handled, subject="ada")
        with pytest.raises(ErasedError, match="for another"):
            await fields.reveal(written, subject="bob")
        with pytest.raises(ErasedError):
            await fields.reveal({"e": {"$sealed": 1, "subject": "ada"}}, subject="ada")
        again = (await fields.protect(values, handling, subject="ada")).values
        assert written["c"] == again["c"], "equal values can be told by their hash"
        assert written["c"] != (await fields.protect(values, handling, subject="bob")).values["c"]
        without = ClientFields(fields.erasures)
    unkept: Any = ({"c": "hash"}, {"c": "seal"})
    for handled in unkept:
        with pytest.raises(ConfigError, match="there is no vault"):
            await without.protect({"c": "c"}, handled, subject="ada")


async def test_the_outcome_of_a_circuit_opens_where_its_outputs_are_and_nowhere_else(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        fields = Circuits.of(loom).fields
        kept = (await fields.protect({"letter": "Dear Ada"}, {"letter": "seal"}, subject="ada")).values
        found = await opened_facts({"outputs": kept}, fields.vault, at=OUTCOME_AT)
        assert found.facts == {"outputs": {"letter": "Dear Ada"}}
        moved: list[tuple[dict[str, Any], str]] = [
            ({"outputs": {"to": kept["letter"]}}, OUTCOME_AT),
            (kept, OUTCOME_AT),
            ({"outputs": kept}, "/facts"),
        ]
        for value, at in moved:
            assert (await opened_facts(value, fields.vault, at=at)).why == "sealed"


def golden(path: Path) -> Path:
    """Return a copy of the journal of an earlier loom, with its keys."""
    journal = copied(HERE / "sealed", path)
    shutil.copy(HERE / "sealed" / "journal.keys", journal.with_suffix(".keys"))
    journal.with_suffix(".keys").chmod(0o600)
    return journal


async def entered(loom: Any, execution_id: str) -> dict[str, Any]:
    [found] = [
        json.loads(each.body or b"")
        async for each in loom.store.read("circuits/ada")
        if each.kind == CircuitEnteredEntry.kind and execution_id.encode() in (each.body or b"")
    ]
    inputs: dict[str, Any] = found["inputs"]
    return inputs


async def test_what_an_earlier_loom_wrote_is_read_opened_answered_and_erased_as_before(tmp_path: Path) -> None:
    journal = golden(tmp_path)
    async with opened_sealed(tmp_path) as loom:
        circuits = Circuits.of(loom)
        old = await entered(loom, "ada-1")
        assert (old["name"], old["email"]["about"]) == ("***", "email")
        assert (await circuits.fields.reveal(old, subject="ada"))["email"] == ADA["email"]
        shown = (await circuits.view.audit(client_id="ada", days=36_500))["execution_history"][-1]
        assert shown["inputs"] == {"email": "sealed", "name": "***", "born": old["born"], "plan": "pro"}
        assert shown["outputs"] == {"letter": "sealed", "to": "***"}

        last = loom.store.acknowledged
        again = await circuits.run("ada", [("CX20_WELCOME", ADA)], execution_id="ada-1")
        assert again.final_output == {"letter": f"Dear customer {ADA['email']}", "to": "***"}
        assert loom.store.acknowledged == last, "it is answered, and nothing is written"
        for field in ("email", "name", "born", "phone"):
            with pytest.raises(CommandConflictError):
                await circuits.run("ada", [("CX20_WELCOME", {**ADA, field: "x"})], execution_id="ada-1")

        await circuits.run("ada", [("CX20_WELCOME", ADA)], execution_id="ada-3")
        new = await entered(loom, "ada-3")
        assert (new["name"], new["email"]["about"]) == ({"$withheld": "mask"}, "/email")
        *_, driven = [each async for each in loom.replay.verify("circuits/ada")]
        assert (driven.command_id, driven.verdict) == ("ada-3", "same")

        await circuits.erase("ada", by="vera", reason="she asked for it")
        for each in (old, new):
            with pytest.raises(ErasedError):
                await circuits.fields.reveal(each, subject="ada")
        for each in (await circuits.view.audit(client_id="ada", days=36_500))["execution_history"]:
            assert (each["inputs"]["email"], each["inputs"]["name"]) == ("erased", "***")
    assert verify(journal).ok
