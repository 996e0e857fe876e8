"""Which engine a loom has, and what it changes in the loom: nothing, where all actors live in its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from loom.actors.system import ActorSystem
from loom.config import LoomConfig
from loom.engine.config import cluster_of
from loom.engine.dispatching import RoutedDispatcher, Sender
from loom.engine.local import LocalEngine
from loom.engine.port import Engine
from loom.engine.surroundings import Surroundings
from loom.errors import ConfigError

__all__ = ["MakeEngine", "Surroundings", "engine_of", "sender_of"]


MakeEngine: TypeAlias = Callable[[Surroundings], Engine]
"""Makes an engine of one's own."""


def engine_of(given: Surroundings, make: MakeEngine | None = None) -> Engine:
    """Return the engine that the config names, or that `make` makes; raise `ConfigError` where it cannot be used."""
    if make is not None:
        return make(given)
    if given.config.engine == "local":
        return LocalEngine(clock=given.clock, background=given.background)
    if not given.store.shared:
        raise ConfigError(
            "engine [restate] is for several processes, and this journal is written by one; expected a journal on "
            "PostgreSQL, or [engine: local]: change one of them"
        )
    try:
        from loom.engine.restate import RestateEngine
    except ImportError as error:
        raise ConfigError(
            f"engine [restate] needs a package that is not there [{error.name}]; expected the extra [restate]: "
            "pip install 'loom-journal[restate]'"
        ) from error
    return RestateEngine(given)


def sender_of(system: ActorSystem, engine: Engine, config: LoomConfig) -> Sender | None:
    """Have commands of actors that live elsewhere delivered by an engine; None where all of them live here."""
    if isinstance(engine, LocalEngine):
        return None
    sender = Sender(system, engine, patience_s=cluster_of(config).patience_s)
    system.messenger = RoutedDispatcher(system, sender)
    return sender
