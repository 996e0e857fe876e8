"""Circuits that protect fields: what is written of them, what is shown, and what an erasure leaves."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loom import Loom, LoomConfig
from loom.actors.waking import Waker
from loom.circuits import Circuit, CircuitActor, CircuitDefinition, Circuits, Result, circuit, extension
from loom.circuits.chain import RunChain
from loom.circuits.entries import CircuitEnteredEntry, CircuitFailedEntry, CircuitSucceededEntry
from loom.errors import ActorFailedError, AdmissionError, CommandConflictError, ConfigError, ErasedError, StandingError
from loom.extension import Extension
from loom.journal.sqlite.verify import verify
from loom.operations import Operations
from loom.replay import Selection
from loom.sealing import MASTER_KEY, SealingConfig, is_sealed

EMAIL, NAME, BORN, PHONE = "ada@example.org", "Ada Lovelace", "1815-12-10", "+44 20 7946"
GIVEN = {"email": EMAIL, "name": NAME, "born": BORN, "phone": PHONE, "plan": "pro"}
SECRETS = [each.encode() for each in (EMAIL, NAME, BORN, PHONE, "Dear Ada")]

seen: list[Mapping[str, Any]] = []


@circuit(
    "CX20_WELCOME",
    category="test",
    inputs=("email", "name", "born", "phone", "plan"),
    outputs=("letter", "to"),
    failure_mode="escalate_to_admin",
    success_metric="opened",
    fields={"email": "seal", "name": "mask", "born": "hash", "phone": "drop", "letter": "seal", "to": "mask"},
)
def welcome(inputs: Mapping[str, Any]) -> Result:
    """Write a letter."""
    seen.append(inputs)
    if inputs["plan"] == "broken":
        raise RuntimeError(f"no plan for {inputs['email']}")
    return Result(outputs={"letter": f"Dear Ada of {inputs['email']}", "to": inputs["name"]})


@circuit(
    "CX21_SEND",
    category="test",
    inputs=("letter", "to"),
    outputs=("sent",),
    failure_mode="escalate_to_admin",
    success_metric="opened",
    fields={"letter": "seal", "to": "mask"},
)
def send(inputs: Mapping[str, Any]) -> Result:
    """Send it."""
    seen.append(inputs)
    return Result(outputs={"sent": len(inputs["letter"])})


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def sealing(path: Path, *circuits: Circuit) -> AsyncIterator[Loom]:
    own = Extension(
        name="circuits",
        projections=extension.projections,
        sections=extension.sections,
        operations=extension.operations,
        start=lambda loom: Circuits.open(loom, circuits=circuits or (welcome, send)),
    )
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="mira", extensions=[own]) as loom:
        yield loom


async def entries(loom: Loom, kind: type[Any]) -> list[Any]:
    return [each.entry async for each in loom.store.read("circuits/ada") if isinstance(each.entry, kind)]


def written(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


async def test_a_chain_works_on_what_was_given_and_nothing_of_it_is_on_the_disk(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN), ("CX21_SEND", {})])
        assert seen == [GIVEN, {"letter": f"Dear Ada of {EMAIL}", "to": NAME}], "circuits see it as it is"
        assert reply.results[0].data == {"letter": f"Dear Ada of {EMAIL}", "to": "***"}
        assert not [each for each in SECRETS if each in written(tmp_path)], "while it is open"
        first, second = await entries(loom, CircuitEnteredEntry)
        assert first.protected == {"email": "seal", "name": "mask", "born": "hash", "phone": "drop"}
        assert second.protected == {"letter": "seal", "to": "mask"}
        assert first.provenance == dict.fromkeys(GIVEN, "explicit")
        assert first.inputs["name"] == {"$withheld": "mask"}, "as an actor writes it"
        assert first.inputs["phone"] == {"$withheld": "drop"}
        assert first.inputs["born"] == {"$withheld": "hash", "digest": first.inputs["born"]["digest"]}
        assert first.inputs["email"]["about"] == "/email"
        assert second.inputs["letter"]["about"] == "/letter", "the next step carries it as it was sealed"
        bodies = [each.body or b"" async for each in loom.store.read("circuits/ada")]
        assert not [each for each in bodies if b"***" in each]
        [done, _] = await entries(loom, CircuitSucceededEntry)
        assert done.protected == {"letter": "seal", "to": "mask"}
        audit = await Circuits.of(loom).view.audit()
        shown = audit["execution_history"][-1]
        hashed = first.inputs["born"]["digest"]
        assert shown["inputs"] == {"email": "sealed", "name": "***", "born": hashed, "plan": "pro"}
        assert shown["outputs"] == {"letter": "sealed", "to": "***"}
    assert not [each for each in SECRETS if each in written(tmp_path)], "and closed"


async def test_a_failure_does_not_tell_what_was_to_be_kept_secret(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOME", {**GIVEN, "plan": "broken"})])
        assert reply.results[0].error == "RuntimeError (what it says is not kept, as there are protected fields)"
        assert not reply.success
        [failed] = await entries(loom, CircuitFailedEntry)
        assert failed.reason == reply.results[0].error
    assert EMAIL.encode() not in written(tmp_path)


async def test_nor_do_alternates_that_fail(tmp_path: Path) -> None:
    def tells(inputs: Mapping[str, Any]) -> Result:
        raise RuntimeError(f"no plan for {inputs['email']}")

    definition = welcome.definition.model_copy(update={"failure_mode": "rotate_to_alternate"})
    async with sealing(tmp_path, Circuit(definition, tells, alternates=(tells, tells))) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)])
        assert not reply.success
    assert EMAIL.encode() not in written(tmp_path)


async def test_one_execution_id_for_two_clients_at_once_mixes_nothing_up(tmp_path: Path) -> None:
    both = asyncio.Barrier(2)

    @circuit(
        "CX25_WAIT",
        category="test",
        inputs=("word",),
        outputs=("heard",),
        failure_mode="escalate_to_admin",
        success_metric="n",
        fields={"word": "mask"},
    )
    async def wait(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for the other."""
        await both.wait()
        return {"heard": inputs["word"]}

    async with sealing(tmp_path, wait) as loom:
        found = await asyncio.gather(
            *(
                Circuits.of(loom).run(client, [("CX25_WAIT", {"word": f"of {client}"})], execution_id="e-1")
                for client in ("ada", "bob")
            )
        )
        assert [each.final_output["heard"] for each in found] == ["of ada", "of bob"]


async def test_a_caller_who_goes_away_takes_nothing_with_them(tmp_path: Path) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @circuit(
        "CX26_SLOW",
        category="test",
        inputs=("word",),
        outputs=("heard",),
        failure_mode="escalate_to_admin",
        success_metric="n",
        fields={"word": "mask"},
    )
    async def slow(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Take a while."""
        begun.set()
        await goes_on.wait()
        return {"heard": inputs["word"]}

    async with sealing(tmp_path, slow) as loom:
        circuits = Circuits.of(loom)
        steps = [("CX26_SLOW", {"word": "one"}), ("CX26_SLOW", {"word": "two"})]
        asked = asyncio.create_task(circuits.run("ada", steps, execution_id="e-1"))
        await begun.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        goes_on.set()
        while len((await circuits.view.audit())["execution_history"]) < 2:
            await loom.reached()
        assert (await circuits.run("ada", steps, execution_id="e-1")).final_output == {"heard": "two"}
        assert circuits._raw == {}


async def test_the_same_id_with_another_masked_value_or_from_somebody_else_is_told_apart(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1", by="vera")
        for field in ("name", "born", "phone", "email"):
            other = {**GIVEN, field: "another"}
            with pytest.raises(CommandConflictError):
                await circuits.run("ada", [("CX20_WELCOME", other)], execution_id="e-1", by="vera")
        with pytest.raises(CommandConflictError, match="another caller's"):
            await circuits.run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1", by="mallory")
        again = await circuits.run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1", by="vera")
        assert again.final_output["letter"] == f"Dear Ada of {EMAIL}"


async def test_two_callers_with_one_id_at_once_are_told_apart(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        found = await asyncio.gather(
            *(
                Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1", by=by)
                for by in ("vera", "mallory")
            ),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in found) == ["ChainReply", "CommandConflictError"]
        assert Circuits.of(loom)._callers == {}


async def test_the_error_of_a_later_step_does_not_tell_what_an_earlier_one_has_sealed(tmp_path: Path) -> None:
    @circuit(
        "CX28_NUMBER",
        category="test",
        inputs=("letter",),
        outputs=("number",),
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    def number(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Read it as a number."""
        return {"number": float(inputs["letter"])}

    async with sealing(tmp_path, welcome, number) as loom:
        circuits = Circuits.of(loom)
        reply = await circuits.run("ada", [("CX20_WELCOME", GIVEN), ("CX28_NUMBER", {})])
        assert reply.results[1].error == "ValueError (what it says is not kept, as there are protected fields)"
        assert EMAIL not in str(circuits.escalations.open())
    assert not [each for each in SECRETS if each in written(tmp_path)]


async def test_a_chain_that_was_not_made_by_run_is_not_run(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("ada", [("CX20_WELCOME", GIVEN)])
        [entered] = await entries(loom, CircuitEnteredEntry)
        seen.clear()
        plain = {"circuit_id": "CX20_WELCOME", "inputs": GIVEN}
        copied = {
            "circuit_id": "CX21_SEND",
            "inputs": {"letter": entered.inputs["email"], "to": {"$withheld": "mask"}},
            "unwritten": ["to"],
        }
        masked = {**copied, "inputs": {"to": "***"}}
        kept = {**copied, "inputs": {"to": {"$withheld": "mask"}}, "unwritten": []}
        gone = {**copied, "inputs": {}}
        of_bob = {**copied, "inputs": {"letter": {**entered.inputs["email"], "about": "/letter", "subject": "bob"}}}
        for step in (plain, copied, masked, kept, gone, {**of_bob, "unwritten": []}):
            payload = {"execution_id": "e-9", "client_id": "ada", "steps": [step]}
            sent: Any = {"journal": "circuits/ada", "command_type": "RunChain", "payload": payload, "by": "mallory"}
            with pytest.raises(AdmissionError, match="not sent by hand"):
                await Operations(loom).call("actors.send", sent)
            with pytest.raises(ActorFailedError, match="was not protected"):
                await loom.actor(CircuitActor, "ada").ask(RunChain.model_validate(payload))
        with pytest.raises(ActorFailedError, match="not the one of this journal"):
            await loom.actor(CircuitActor, "bob").ask(RunChain.model_validate(payload))
        assert seen == []


async def test_what_no_journal_could_hold_is_refused_though_it_is_masked(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        for field in ("email", "name", "born", "phone"):
            with pytest.raises(AdmissionError):
                await Circuits.of(loom).run("ada", [("CX20_WELCOME", {**GIVEN, field: "\ud800"})])


async def test_of_a_circuit_that_nobody_knows_no_input_is_written(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOMEE", GIVEN)])
        assert reply.results[0].code == "unknown_circuit"
    assert not [each for each in SECRETS if each in written(tmp_path)]


async def test_what_no_circuit_declares_is_not_written_where_fields_are_protected(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOME", {**GIVEN, "e_mail": "typo@example.org"})])
        assert reply.success
    assert b"typo@example.org" not in written(tmp_path)
    with pytest.raises(ValidationError, match=r"fields \[emial\] are neither"):
        CircuitDefinition.model_validate(welcome.definition.model_dump() | {"fields": {"emial": "seal"}})


async def test_falling_back_opens_what_was_sealed(tmp_path: Path) -> None:
    said = {"letter": "seal", "email": "seal", "name": "mask", "born": "hash", "phone": "drop"}
    changed = {"failure_mode": "fallback_to_last_successful", "fields": said}
    definition = CircuitDefinition.model_validate(welcome.definition.model_dump() | changed)

    @circuit(
        "CX27_LENGTH",
        category="test",
        inputs=("letter",),
        outputs=("length",),
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    def length(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Measure it."""
        return {"length": len(inputs["letter"])}

    async with sealing(tmp_path, Circuit(definition, welcome.run), length) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("ada", [("CX20_WELCOME", GIVEN)])
        fallen = await circuits.run("ada", [("CX20_WELCOME", {**GIVEN, "plan": "broken"})])
        assert fallen.results[0].substituted
        assert fallen.final_output["letter"] == "sealed", "it came out of another execution, of whomever"
        chain = await circuits.run("ada", [("CX20_WELCOME", {**GIVEN, "plan": "broken"}), ("CX27_LENGTH", {})])
        assert chain.final_output["length"] == len(f"Dear Ada of {EMAIL}"), "the steps after it see it as it is"


def test_nothing_falls_back_to_what_was_not_kept() -> None:
    with pytest.raises(ValidationError, match=r"outputs \[to\] are not kept"):
        CircuitDefinition.model_validate(
            welcome.definition.model_dump() | {"failure_mode": "fallback_to_last_successful"}
        )


async def test_the_same_request_sent_again_is_the_same_and_another_is_told_apart(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        first = await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1")
        assert await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1") == first
    async with sealing(tmp_path) as loom:
        assert await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1") == first
        with pytest.raises(CommandConflictError):
            await Circuits.of(loom).run("ada", [("CX20_WELCOME", {**GIVEN, "email": "x"})], execution_id="e-1")
        assert len(seen) == 1


async def test_an_explicit_input_that_is_dropped_still_wins_over_an_earlier_output(tmp_path: Path) -> None:
    @circuit(
        "CX22_SAY", category="test", inputs=(), outputs=("word",), failure_mode="mark_as_neutral", success_metric="n"
    )
    def say(_: Mapping[str, Any]) -> dict[str, Any]:
        """Say a word."""
        return {"word": "earlier"}

    @circuit(
        "CX23_HEAR",
        category="test",
        inputs=("word",),
        outputs=("heard",),
        failure_mode="mark_as_neutral",
        success_metric="n",
        fields={"word": "drop"},
    )
    def hear(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Hear a word."""
        return {"heard": len(inputs["word"])}

    async with sealing(tmp_path, say, hear) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX22_SAY", {}), ("CX23_HEAR", {"word": "a"})])
        assert reply.final_output["heard"] == 1
        assert reply.results[1].provenance == {"word": "explicit"}


async def test_after_an_erasure_reads_say_erased_the_chain_verifies_and_a_replay_says_so(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        circuits = Circuits.of(loom)
        reply = await circuits.run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1")
        await circuits.run("bob", [("CX20_WELCOME", GIVEN)])
        said = {"client": "ada", "by": "vera", "reason": "she asked for it"}
        for before in (False, True):
            done = await Operations(loom).call("circuits.erase", said)
            assert done == {"client": "ada", "erased": True, "before": before}
        with pytest.raises(StandingError, match="nothing was erased"):
            await circuits.erase("adaa", by="vera", reason="spelled wrong")
        audit = await circuits.view.audit(client_id="ada")
        assert audit["execution_history"][0]["inputs"]["email"] == "erased"
        assert (await circuits.view.audit(client_id="bob"))["execution_history"][0]["inputs"]["email"] == "sealed"
        with pytest.raises(ErasedError):
            await circuits.run("ada", [("CX20_WELCOME", GIVEN)])
        with pytest.raises(ErasedError):
            await circuits.run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1")
        [found] = [each for each in await loom.traces.find() if each.journal == "circuits/ada"]
        version = (await loom.traces.get(found.decision_id)).decision.under.version
        ran = await loom.replay.run(Selection(ids=(found.decision_id,)), under=version)
        assert [(each.verdict, each.reason) for each in ran.cases] == [("not_replayable", "erased")]
        [turn] = [each async for each in loom.replay.verify("circuits/ada")]
        assert (turn.verdict, turn.reason) == ("not_replayable", "erased")
        [turn] = [each async for each in loom.replay.verify("circuits/bob")]
        assert turn.verdict == "same", turn
        assert reply.success
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_a_sealed_value_that_somebody_has_a_copy_of_is_not_opened_for_them(tmp_path: Path) -> None:
    @circuit(
        "CX24_ECHO",
        category="test",
        inputs=("word",),
        outputs=("word",),
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    def echo(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Say it again."""
        return {"word": inputs["word"]}

    async with sealing(tmp_path, welcome, echo) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("ada", [("CX20_WELCOME", GIVEN)])
        [entered] = await entries(loom, CircuitEnteredEntry)
        copied = entered.inputs["email"]
        assert is_sealed(copied)
        for client in ("ada", "bob"):
            with pytest.raises(AdmissionError, match="looks like a protected value"):
                await circuits.run(client, [("CX24_ECHO", {"word": copied})])
        nested = await circuits.run("bob", [("CX24_ECHO", {"word": [copied]})])
        assert nested.final_output == {"word": [copied]}, "what is inside another value is opened for nobody"


async def test_a_circuit_that_seals_or_hashes_needs_a_vault(tmp_path: Path) -> None:
    @circuit(
        "CX29_HASH",
        category="test",
        inputs=("word",),
        outputs=("n",),
        failure_mode="escalate_to_admin",
        success_metric="n",
        fields={"word": "hash"},
    )
    def hashes(inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Count letters."""
        return {"n": len(inputs["word"])}

    for each in (send, hashes):
        own = Extension(name="circuits", start=partial(Circuits.open, circuits=(each,)))
        with pytest.raises(ConfigError, match="seals or hashes fields, and there is no vault"):
            async with Loom.open(LoomConfig(data=tmp_path), by="mira", extensions=[own]):
                pass


async def test_a_protected_value_that_is_the_name_of_its_client_or_execution_is_refused(tmp_path: Path) -> None:
    async with sealing(tmp_path) as loom:
        for field in ("email", "name", "born", "phone"):
            for name in ("ada", "e-1"):
                with pytest.raises(AdmissionError, match="is the name of its subject, journal or command"):
                    await Circuits.of(loom).run("ada", [("CX20_WELCOME", {**GIVEN, field: name})], execution_id="e-1")
        assert (await Circuits.of(loom).run("ada", [("CX20_WELCOME", {**GIVEN, "plan": "ada"})])).success


async def test_what_is_null_stays_null_and_is_given_again_to_a_turn_that_is_resumed(tmp_path: Path) -> None:
    nothing = dict.fromkeys(GIVEN)
    async with sealing(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOME", nothing), ("CX21_SEND", {})])
        assert reply.results[0].data == {"letter": "Dear Ada of None", "to": None}
        assert seen[0] == nothing
        assert seen[1]["to"] is None
        [first, _] = await entries(loom, CircuitEnteredEntry)
        assert first.inputs == nothing


KILLED = """
import asyncio, os, sys
from pathlib import Path
from tests.circuits.test_sealed import GIVEN, sealing
from loom.circuits import Circuits, circuit

@circuit("CX20_WELCOME", category="test", inputs=("email", "name", "born", "phone", "plan"), outputs=("letter", "to"),
         failure_mode="escalate_to_admin", success_metric="opened",
         fields={"email": "seal", "name": "mask", "born": "hash", "phone": "drop", "letter": "seal", "to": "mask"})
async def dies(inputs):
    "Die, once what led here is durable."
    while looms[0].store.acknowledged < looms[1] + 2:
        await asyncio.sleep(0.005)
    os._exit(9)

looms = []

async def main():
    async with sealing(Path(sys.argv[1]), dies) as loom:
        looms.extend((loom, loom.store.acknowledged))
        await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1")

asyncio.run(main())
"""


async def killed_within(path: Path) -> None:
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2], check=False
    )
    assert process.returncode == 9


async def test_a_turn_that_is_resumed_without_what_was_not_kept_fails_and_says_so(tmp_path: Path) -> None:
    await killed_within(tmp_path)
    async with sealing(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.run("ada", [("CX21_SEND", {"letter": "Dear Ada", "to": NAME})])  # wakes what was left
        assert len(seen) == 1, "nobody runs it on asterisks"
        [_, left] = sorted(
            (await circuits.view.audit())["execution_history"], key=lambda each: each["execution_id"] == "e-1"
        )
        assert (left["execution_id"], left["success"]) == ("e-1", False)
        assert left["error"] == "ValueError (what it says is not kept, as there are protected fields)"
    assert not [each for each in SECRETS if each in written(tmp_path)]


async def test_a_turn_that_was_cut_off_is_made_whole_by_the_same_request_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def later(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Waker, "wake_all", later)  # else it may be resumed first, without what was not kept
    await killed_within(tmp_path)
    async with sealing(tmp_path) as loom:
        reply = await Circuits.of(loom).run("ada", [("CX20_WELCOME", GIVEN)], execution_id="e-1")
        assert reply.success
        assert seen == [GIVEN]
