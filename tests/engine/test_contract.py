"""Engines that need no server keep the contract: the local one, and leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from loom.background import Background
from loom.engine import ClusterConfig, Engine, LocalEngine
from tests.contracts.engine import Cluster, EngineContract, NotingNode
from tests.engine.leases import LeaseEngine
from tests.engine.ports import free_ports

KEY = "k" * 40


class _Local:
    several = False

    def __init__(self) -> None:
        self.background = Background()
        self.started: list[Engine] = []

    async def start(self) -> tuple[Engine, NotingNode]:
        engine, node = LocalEngine(background=self.background), NotingNode("here")
        await engine.serve(node)
        self.started.append(engine)
        return engine, node

    async def kill(self, engine: Engine) -> None:
        await engine.close()

    async def close(self) -> None:
        for each in self.started:
            await each.close()
        await self.background.close()


class _Leases:
    several = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._nodes = {f"n{at}": f"http://127.0.0.1:{port}" for at, port in enumerate(free_ports(3))}
        self.started: dict[LeaseEngine, Background] = {}

    async def start(self) -> tuple[Engine, NotingNode]:
        name = f"n{len(self.started)}"
        background = Background()
        config = ClusterConfig(node=name, nodes=self._nodes, key=SecretStr(KEY), wait_s=1)
        engine = LeaseEngine(self._path, config, background=background, lease_s=0.6, beat_s=0.05, grace_s=0.3)
        node = NotingNode(name)
        await engine.serve(node)
        self.started[engine] = background
        return engine, node

    async def kill(self, engine: Engine) -> None:
        assert isinstance(engine, LeaseEngine)
        engine.stop()
        await engine.link.close()

    async def close(self) -> None:
        for each, background in self.started.items():
            await each.close()
            await background.close()


class TestLocalEngine(EngineContract):
    @pytest.fixture
    async def cluster(self) -> AsyncIterator[Cluster]:
        local = _Local()
        yield local
        await local.close()


class TestLeases(EngineContract):
    @pytest.fixture
    async def cluster(self, tmp_path: Path) -> AsyncIterator[Cluster]:
        leases = _Leases(tmp_path / "leases.db")
        yield leases
        await leases.close()
