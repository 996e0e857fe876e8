"""Motions as their actor decides them, and as the board, the API and a report show them."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import uvicorn
from consensus import Board, Motion, MotionClosedError, NotAVoterError, extension
from consensus.motion import Close, MotionProposedEntry, VoteCastEntry

from loom import Loom
from loom.errors import LoomError
from loom.testing import Scenario

PROPOSED = MotionProposedEntry(motion="one", title="More tea", voters=("ada", "bo", "cy"))


def voted(**votes: str) -> list[VoteCastEntry]:
    return [VoteCastEntry(motion="one", voter=voter, choice=choice) for voter, choice in votes.items()]  # type: ignore[arg-type]


def story(**votes: str) -> Scenario[Motion]:
    scenario = Scenario(Motion, make=lambda: Motion("mira"), answers={"mira": True}, always_resume=True)
    return scenario.given(PROPOSED, *voted(**votes))


@pytest.mark.parametrize(
    ("votes", "carried", "rule"),
    [
        ({"ada": "for", "bo": "for", "cy": "against"}, True, "carried"),
        ({"ada": "against", "bo": "against"}, False, "lost"),
        ({"ada": "for"}, False, "no-quorum"),
        ({"ada": "for", "bo": "against"}, True, "tie"),
    ],
)
async def test_the_rule_decides_and_a_tie_goes_to_the_chair(votes: dict[str, str], carried: bool, rule: str) -> None:  # noqa: FBT001
    happened = (await story(**votes).when(Close())).then(decisions=1)
    assert happened.reply.carried is carried
    evaluation = happened.decisions[0].evaluation
    assert evaluation is not None
    assert evaluation.rule == rule
    asked = [kind for kind in happened.kinds if kind == "approval_requested"]
    assert bool(asked) == (rule == "tie")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(f"sqlite:///{path}", by="mira", extensions=[extension]) as loom:
        yield loom


async def test_a_motion_is_voted_on_and_shown(tmp_path: Path) -> None:
    async with opened(tmp_path / "journal.db") as loom:
        board = loom.part(Board)
        await board.propose("tea", "More tea", ["ada", "bo"], by="mira")
        with pytest.raises(NotAVoterError):
            await board.vote("tea", "for", voter="eve", by="eve")
        await board.vote("tea", "against", voter="ada", by="ada")
        await board.vote("tea", "for", voter="ada", by="ada")
        assert (await board.close("tea", by="mira")).carried is True
        with pytest.raises(MotionClosedError):
            await board.vote("tea", "for", voter="bo", by="bo")
        [motion] = await board.motions()
        assert (motion["votes_for"], motion["votes_against"], motion["carried"]) == (1, 0, True)


async def test_the_api_answers_a_vote_on_a_closed_motion_with_its_own_status(tmp_path: Path) -> None:
    from loom.web.app import create_app
    from loom.web.extension import extension as web
    from loom.web.keys import keys_of

    url = f"sqlite:///{tmp_path / 'journal.db'}"
    opening = Loom.open(url, workspace="house", by="mira", extensions=[extension, web])
    app = create_app({"house": lambda: opening}, extensions=[extension])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        while not server.started:
            await anyio.sleep(0.01)
        board = opening.part(Board)
        key = await keys_of(opening).issue("ada", "approver", by="mira")
        await board.propose("tea", "More tea", ["ada"], by="mira")

        def call(path: str, body: object = None) -> tuple[int, object]:
            request = urllib.request.Request(
                f"http://127.0.0.1:{listener.getsockname()[1]}/api/consensus{path}?workspaceId=house",
                data=None if body is None else json.dumps(body).encode(),
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, json.loads(answer.read())
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read())

        status, _ = await anyio.to_thread.run_sync(call, "/motions/tea/votes", {"choice": "for"})
        assert status == 200
        await board.close("tea", by="mira")
        status, said = await anyio.to_thread.run_sync(call, "/motions/tea/votes", {"choice": "against"})
        assert (status, said["error"]["code"]) == (423, "motion_closed")  # type: ignore[index]
        status, listed = await anyio.to_thread.run_sync(call, "/motions")
        assert listed["items"][0]["carried"] is True  # type: ignore[index]
        server.should_exit = True


def test_its_errors_are_of_a_kind_that_the_shell_knows() -> None:
    assert issubclass(MotionClosedError, LoomError)
    assert MotionClosedError.kind == "conflict"
