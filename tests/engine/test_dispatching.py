"""Commands of actors that live here cost no question to the journal; what is tried again is looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from loom.config import JournalConfig, LoomConfig
from loom.engine import ClusterConfig
from loom.errors import NotOwnerError
from loom.runtime import Loom
from tests.contracts.engine import until
from tests.engine.leases import leases_at
from tests.engine.ports import free_ports
from tests.engine.worker import Decide, Desk
from tests.postgres_server import Place, Server


async def test_a_new_command_of_an_actor_here_is_not_looked_up_and_one_that_is_tried_again_is(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(postgres, tmp_path)
    nodes = {"n0": f"http://127.0.0.1:{free_ports(1)[0]}"}
    sections = {"cluster": ClusterConfig(node="n0", nodes=nodes, key=SecretStr("k" * 40))}
    config = LoomConfig(data=tmp_path / "n0", journal=JournalConfig(url=SecretStr(place.text)), sections=sections)
    async with Loom.open(config, actors=[Desk], by="mira", engine=leases_at(tmp_path / "leases.db")) as loom:
        await until(lambda: loom.engine.ownership.mine("desk/k"))
        looked_up: list[str] = []
        find, send = loom.store.find_command, loom.actors.messenger._send

        async def found(journal: str, command_id: str) -> Any:
            looked_up.append(command_id)
            return await find(journal, command_id)

        monkeypatch.setattr(loom.store, "find_command", found)
        await loom.actor(Desk, "k").ask(Decide(percent=5))
        assert looked_up == []
        await loom.actor(Desk, "k").ask(Decide(percent=5), id="c-1")
        assert looked_up == ["c-1"]

        failed: list[str] = []

        async def lost(*args: Any, **more: Any) -> Any:
            """Send it, and lose what is said about the first."""
            sent = await send(*args, **more)
            if not failed:
                failed.append(str(args[-1]))
                await sent.accepted
                raise NotOwnerError(journal="desk/k", address=None)
            return sent

        monkeypatch.setattr(loom.actors.messenger, "_send", lost)
        await loom.actor(Desk, "k").ask(Decide(percent=5))
        assert looked_up in (["c-1"], ["c-1", *failed])
        kinds = [each.kind async for each in loom.store.read("desk/k")]
        assert kinds.count("command_received") == kinds.count("turn_completed") == 3
    await place.close()
