"""Checkpoints as an extension: a loom whose config names a key signs them while it runs, and when it closes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path

import anyio
from pydantic import BaseModel, ConfigDict, JsonValue

from loom.config import LoomConfig
from loom.errors import ConfigError, LoomError
from loom.extension import Check, Extension, Host, Named, Operation
from loom.journal.sqlite import JournalFiles
from loom.proof.anchors import anchors_of
from loom.proof.checkpoints import Checkpoints
from loom.proof.config import AnchorsConfig, CheckpointsConfig
from loom.proof.keys import FileSigner, Signer
from loom.proof.log import CheckpointLog, SignedCheckpoint
from loom.proof.notes import Note, VerifyingKey
from loom.proof.opening import anchors_in, checkpoints_in, signer_of
from loom.proof.tree import tree_opener
from loom.telemetry import get_logger

__all__ = ["extension"]

_log = get_logger("loom.proof")


class Sign(BaseModel):
    """Who asks for a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Named


class Rotate(BaseModel):
    """Which key signs from now on, who says so, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_file: str
    by: Named
    reason: str


class Cosigned(BaseModel):
    """A checkpoint with the signatures of witnesses, and keys of witnesses that the config does not name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: str
    witnesses: tuple[str, ...] = ()
    by: Named


def _signer(config: CheckpointsConfig, files: JournalFiles) -> Signer:
    found = signer_of(config, files)
    if found is None:
        raise ConfigError("there is no key to sign with; expected [checkpoints.key_file] in the config")
    return found


@contextlib.asynccontextmanager
async def _start(host: Host) -> AsyncIterator[Checkpoints]:
    config = checkpoints_in(host.config)
    log = CheckpointLog(host.store, host.store.workspace, make_draft=host.draft)
    await log.load()
    part = Checkpoints(
        host.store,
        log,
        tree_opener(host.store, host.files, host.store.workspace),
        signer=partial(_signer, config, host.files) if config.signs else None,
        anchors=anchors_of(anchors_in(host.config), host.store.workspace),
        stamps=anchors_in(host.config).timestamps,
        witnesses=tuple(map(VerifyingKey.parse, config.witnesses)),
        by=host.by,
    )
    host.closing.push_async_callback(part.close)
    if not (host.resumes and config.signs):
        yield part
        return
    part.load_key()
    if config.at_close:
        host.closing.push_async_callback(_sign_last, part)
    async with _following(host, part, config):
        yield part


async def _sign_last(part: Checkpoints) -> None:
    """Sign once the actors have ended; a loom that cannot sign closes all the same."""
    try:
        await part.sign("close")
    except LoomError as error:
        _log.error("no_checkpoint_at_close", error=str(error))


@contextlib.asynccontextmanager
async def _following(host: Host, part: Checkpoints, config: CheckpointsConfig) -> AsyncIterator[None]:
    """Sign every so many entries, and every so many seconds."""
    wake = anyio.Event()

    def committed(_: int) -> None:
        if part.pending >= config.every_entries:
            wake.set()

    async def follow() -> None:
        nonlocal wake
        while True:
            with anyio.move_on_after(config.every_s):
                await wake.wait()
            is_due, wake = wake.is_set(), anyio.Event()
            if part.pending:
                await part.sign("entries" if is_due else "time")

    host.store.on_commit(committed)
    child = host.background.keep_running(follow, name="loom-checkpoints")
    try:
        yield
    finally:
        child.cancel()


def _plain(found: SignedCheckpoint | None) -> JsonValue:
    return None if found is None else {"size": found.size, "position": found.position, "note": str(found.note)}


async def _sign(part: Checkpoints, given: Sign) -> JsonValue:
    return _plain(await part.sign("asked"))


async def _rotate(part: Checkpoints, given: Rotate) -> JsonValue:
    signer = FileSigner(Path(given.key_file))
    key = await part.rotate(signer, by=given.by, reason=given.reason)
    return {"key": str(key), "fingerprint": key.fingerprint}


async def _cosigned(part: Checkpoints, given: Cosigned) -> JsonValue:
    keys = tuple(map(VerifyingKey.parse, given.witnesses))
    taken = await part.cosigned(Note.parse(given.note), witnesses=keys)
    return [each.name for each in taken]


def _checks(config: LoomConfig) -> Iterable[Check]:
    checkpoints, anchors = checkpoints_in(config), anchors_in(config)
    names = [*map(str, anchors.directories), *anchors.endpoints]
    if not checkpoints.signs:
        if names:
            yield Check("look", "anchors", "there are some, and no key signs checkpoints", "set checkpoints.key_file")
        return
    often = f"every {checkpoints.every_entries} entries and {checkpoints.every_s:g} s"
    yield Check("ok", "checkpoints", f"signed {often}; `loom checkpoint` shows the last")
    if names:
        yield Check("ok", "anchors", f"checkpoints are written down in {', '.join(names)}")
    else:
        yield Check(
            "look",
            "anchors",
            "checkpoints are in the journal only: a cut behind one does not show",
            "name a place in anchors: that who can write the journal cannot write",
        )


extension = Extension(
    name="proof",
    sections={"checkpoints": CheckpointsConfig, "anchors": AnchorsConfig},
    operations={
        "sign": Operation(Sign, _sign),
        "rotate": Operation(Rotate, _rotate),
        "cosigned": Operation(Cosigned, _cosigned),
    },
    start=_start,
    checks=_checks,
)
