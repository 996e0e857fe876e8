"""Check whether `loom run` would start: build everything that it builds, once, in a temporary workspace.

The real journal is not touched. Extensions of other packages are loaded but not started: they may use the network.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from loom.actors import Sources
from loom.config import LoomConfig
from loom.enrichment.config import DecisionTracesConfig
from loom.errors import LoomError
from loom.extension import Check, Extension, extensions_of
from loom.identity import check_person
from loom.journal.control import check_group
from loom.journal.places import NodeFiles
from loom.journal.sqlite import JournalFiles
from loom.runtime import Loom
from loom.sealing import SealingConfig, check_keys
from loom.text import one_line
from loom.workspace import Workspace, actors_of, critic_of

__all__ = ["check_opening"]

_OWN = "loom."


async def check_opening(place: Workspace) -> AsyncIterator[Check]:
    """Build the parts of a loom of this config: modules, policies, critic, extensions, and all of them together."""
    config = place.config
    try:
        types = sorted(cls.actor_type for cls in actors_of(config.modules))
    except Exception as error:  # code of a user may raise anything when it is imported
        yield Check("bad", "modules", _type_and_message(error), "correct it; reading works without it")
        return
    if config.modules:
        yield Check("ok", "modules", f"{', '.join(config.modules)}: {', '.join(types) or 'no actors in it'}")
    try:
        critic, extensions = critic_of(config), extensions_of(config)
    except Exception as error:
        yield Check("bad", "config", _type_and_message(error), "`loom run` does not start with it")
        return
    traces = config.sections.get("decision_traces")
    if critic is None and isinstance(traces, DecisionTracesConfig) and traces.llm_enrichment.mode != "never":
        yield Check(
            "look",
            "enrichment",
            f"its mode is {traces.llm_enrichment.mode}, and no model is named: nothing is enriched",
            "fill in critic_llm, or say mode: never",
        )
    foreign = sorted(each.name for each in extensions if not _is_own(each))
    if foreign:
        yield Check("look", "extensions", f"not started here: {', '.join(foreign)}", "`loom run` starts them")
    yield await _opened(place)
    group = config.operations.socket_group
    if group is not None:
        yield await _given(place.files.socket, group)


async def _opened(place: Workspace) -> Check:
    """Open a loom with this config in a directory of its own, as `loom run` does with the real one, and close it."""
    directory = Path(tempfile.mkdtemp(prefix="loom-doctor-"))
    try:
        files = JournalFiles(directory / "journal.db")
        await _check_keys(place)
        trial = Workspace(files, place.name, _for_trial(place.config), throw_away=directory)
        async with Loom(
            trial, actors=(), extensions=(), by=check_person("doctor"), sources=Sources(), approver=None, resume=True
        ) as loom:
            names = ", ".join(sorted(loom.parts)) or "none"
    except Exception as error:  # code of a user may also raise when its actor or policy is registered
        return Check("bad", "starting", _type_and_message(error), "`loom run` does not start with this config")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Check("ok", "starting", f"a loom of this config opens; parts started: {names}")


async def _check_keys(place: Workspace) -> None:
    """Raise if the master key does not open the existing file of keys; nothing is written."""
    sealing = place.config.sections.get("sealing")
    if isinstance(sealing, SealingConfig) and sealing.enabled:
        journal = place.files.url if isinstance(place.files, NodeFiles) else None
        await check_keys(sealing, place.files.keys, workspace=place.name, journal=journal)


async def _given(socket: Path, group: str) -> Check:
    """Give a control socket to the group that is named, as `loom run` does with the real one."""
    try:
        await check_group(socket, group)
    except LoomError as error:
        return Check("bad", "socket", _type_and_message(error), "`loom run` does not start with this config")
    return Check("ok", "socket", f"members of {group} can be let in")


def _for_trial(config: LoomConfig) -> LoomConfig:
    """Return the config without foreign extensions, and without settings that reach beyond a directory of its own."""
    trial = config.journal.model_copy(update={"min_free_bytes": 0, "allow_unsupported_filesystem": True})
    foreign = [each for each in extensions_of(config) if not _is_own(each)]
    brought = {name for each in foreign for name in each.sections}
    sealing: dict[str, object] = {"keys_url": None}
    if isinstance(given := config.sections.get("sealing"), SealingConfig) and given.key_store is not None:
        sealing = {"key_store": None, "enabled": False}  # what is of a user is looked at alone, and has no master key
    apart: dict[str, dict[str, object]] = {"sealing": sealing, "publish": {"views": ()}}
    return config.model_copy(
        update={
            "journal": trial,
            "extensions": tuple(name for name in config.extensions if name not in {each.name for each in foreign}),
            "sections": {
                name: section.model_copy(update=apart.get(name, {}))
                for name, section in config.sections.items()
                if name not in brought
            },
        }
    )


def _is_own(extension: Extension) -> bool:
    return extension.start is None or (extension.start.__module__ or "").startswith(_OWN)


def _type_and_message(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 1_000)
