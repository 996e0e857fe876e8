"""The operations of a running loom, by name, in plain JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from loom import Loom
from loom.circuits.entries import StrategyRegisteredEntry
from loom.errors import AdmissionError, ControlError, LoomError
from loom.extension import installed
from loom.identity import Edge, Identity
from loom.operations import Operations
from loom.operations.arguments import Grant
from loom.runtime import _asked
from tests.cli.agents import Fail, Note, NoteAgent


async def test_what_is_not_offered_is_refused_by_name(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent]) as loom:
        with pytest.raises(ControlError, match=r"actors\.send"):
            await Operations(loom).call("actors.delete", {})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("approvals.grant", {"id": "x"}),
        ("approvals.deny", {"id": "x", "by": "dana"}),
        ("status", {"more": 1}),
        ("turns.list", {"limit": 0}),
        ("actors.send", {"journal": "note-agent/a", "command_type": "Note", "payload": []}),
    ],
)
async def test_arguments_that_are_missing_or_unknown_are_named(
    tmp_path: Path, name: str, arguments: dict[str, object]
) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent]) as loom:
        with pytest.raises(ControlError, match="expected other arguments"):
            await Operations(loom).call(name, arguments)  # type: ignore[arg-type]


async def test_everything_that_comes_back_is_plain_json(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent], by="robin") as loom:
        operations = Operations(loom)
        sent = await operations.call(
            "actors.send",
            {
                "journal": "note-agent/a",
                "command_type": "Note",
                "payload": {"text": "heavy", "weight": 20},
                "by": "robin",
                "id": "one",
            },
        )
        assert isinstance(sent, dict)
        assert sent["status"] == "parked"
        [asked] = await loom.approvals.pending()
        said = [
            sent,
            await operations.call("turns.list", {}),
            await operations.call("approvals.grant", {"id": asked.approval_id, "by": "dana"}),
            await operations.call("turns.list", {"unfinished": False}),
            await operations.call("status", {}),
        ]
        assert json.loads(json.dumps(said)) == said


async def test_a_status_is_looked_for_before_the_limit_cuts(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent], by="robin") as loom:
        with pytest.raises(LoomError, match="no ink"):
            await loom.actor(NoteAgent, "b").ask(Fail(text="no ink"))
        for number in range(3):
            await loom.actor(NoteAgent, "a").ask(Note(text=f"note {number}"))

        wanted: dict[str, JsonValue] = {"unfinished": False, "status": "failed", "limit": 1}
        found: Any = await Operations(loom).call("turns.list", wanted)

        assert [each["status"] for each in found] == ["failed"]


async def test_a_command_that_fails_comes_back_with_its_error(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent], by="robin") as loom:
        failed = await Operations(loom).call(
            "actors.send", {"journal": "note-agent/a", "command_type": "Fail", "payload": {"text": "no ink"}}
        )
        assert isinstance(failed, dict)
        assert failed["status"] == "failed"
        assert "no ink" in str(failed["error"])


async def test_every_operation_takes_its_person_as_what_the_edge_establishes(tmp_path: Path) -> None:
    brought = [each for each in installed().values() if each.operations and each.name != "web"]
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", extensions=brought, by="robin") as loom:
        models = {name: each.arguments for name, each in Operations(loom)._table.items()}
        for extension in installed().values():
            models |= {f"{extension.name}.{word}": each.arguments for word, each in extension.operations.items()}
    named = {name: model.model_fields["by"] for name, model in models.items() if "by" in model.model_fields}
    assert len(named) > 20
    plain = [name for name, field in named.items() if "loom.identity.Identity" not in repr(field.annotation)]
    assert plain == []


@pytest.mark.parametrize("edge", [None, Edge("socket"), Edge("socket", 54_321), Edge("shell")])
async def test_no_argument_says_where_a_name_comes_from(edge: Edge | None) -> None:
    context = None if edge is None else {"edge": edge}
    given = Grant.model_validate({"id": "x", "by": "dana"}, context=context)
    assert given.by == Identity("dana", "claimed", "python" if edge is None else edge.via)
    forged: list[object] = [{"name": "dana", "source": "api_key:7"}, Identity("dana", "api_key:7"), ["dana"], 7, None]
    for by in forged:
        with pytest.raises(ValidationError):
            Grant.model_validate({"id": "x", "by": by}, context=context)


async def test_an_account_counts_only_on_a_socket_that_is_open_to_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="dana"))
    seen: list[Edge] = []

    class Seen:
        async def call(self, name: str, arguments: object, *, edge: Edge) -> None:
            seen.append(edge)

    for group in (None, "loom-approvers"):
        await _asked(Seen(), group, "approvals.grant", {}, 54_321)  # type: ignore[arg-type]
    assert [str(edge.identity("dana")) for edge in seen] == [
        "dana (claimed, via socket)",
        "dana (os_user:54321, via socket)",
    ]


async def test_a_command_that_is_sent_with_a_name_in_it_does_not_say_where_that_comes_from(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", extensions=[installed()["circuits"]], by="robin") as loom:
        payload: dict[str, JsonValue] = {"strategy_id": "s", "success_rate": 0.5, "by": "the boss"}
        sent: dict[str, JsonValue] = {
            "journal": "strategy/c:s",
            "command_type": "RegisterStrategy",
            "payload": payload,
            "by": "dana",
        }
        said = await Operations(loom).call("actors.send", sent, edge=Edge("socket"))
        assert isinstance(said, dict)
        assert said["status"] == "completed"
        forged: dict[str, JsonValue] = {**sent, "payload": {**payload, "identity_source": "api_key:7"}}
        with pytest.raises(AdmissionError, match="identity_source"):
            await Operations(loom).call("actors.send", forged)
        [entry] = [
            each.entry
            async for each in loom.store.read("strategy/c:s")
            if isinstance(each.entry, StrategyRegisteredEntry)
        ]
        assert str(entry.identity) == "the boss (claimed, via command)"


async def test_a_person_has_to_be_named(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent]) as loom:
        with pytest.raises(LoomError, match="is empty"):
            await Operations(loom).call("approvals.grant", {"id": "x", "by": ""})
