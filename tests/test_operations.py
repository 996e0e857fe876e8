"""The operations of a running loom, by name, in plain JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loom import Loom
from loom.errors import ControlError, LoomError
from loom.operations import Operations
from tests.cli.agents import NoteAgent


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
                "journal": "note-agent/a", "command_type": "Note", "payload": {"text": "heavy", "weight": 20},
                "by": "robin", "id": "one",
            },
        )  # fmt: skip
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


async def test_a_command_that_fails_comes_back_with_its_error(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent], by="robin") as loom:
        failed = await Operations(loom).call(
            "actors.send", {"journal": "note-agent/a", "command_type": "Fail", "payload": {"text": "no ink"}}
        )
        assert isinstance(failed, dict)
        assert failed["status"] == "failed"
        assert "no ink" in str(failed["error"])


async def test_a_person_has_to_be_named(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[NoteAgent]) as loom:
        with pytest.raises(LoomError, match="nobody"):
            await Operations(loom).call("approvals.grant", {"id": "x", "by": ""})
