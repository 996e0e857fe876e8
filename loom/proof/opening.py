"""The anchors compared when a loom is opened: one that would go on from a journal that was cut is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from loom.config import LoomConfig
from loom.errors import ConfigError
from loom.identity import By, Identity, new_id
from loom.journal.entry import Entry
from loom.journal.sqlite import JournalFiles
from loom.journal.sqlite.heads import Loss
from loom.journal.store import Draft, JournalStore
from loom.proof.anchors import Anchor, Anchored, anchors_of
from loom.proof.config import AnchorsConfig, CheckpointsConfig
from loom.proof.entries import LossAcceptedEntry
from loom.proof.errors import AnchorError, CutError
from loom.proof.keys import CommandSigner, FileSigner, Signer, public_key_of
from loom.proof.log import CheckpointLog, Judgement
from loom.proof.tree import ProofTree, tree_opener
from loom.telemetry import get_logger

__all__ = ["anchors_in", "checkpoints_in", "compare_anchors", "journal_lost_heads", "signer_of", "trusted_in"]

_MOST_TRIED = 100

_log = get_logger("loom.proof")


async def compare_anchors(
    store: JournalStore,
    files: JournalFiles,
    config: LoomConfig,
    *,
    accept_loss: By | None,
    make_draft: Callable[[Entry], Draft],
) -> None:
    """Compare a journal that was just opened with the anchors of its config; raise `CutError` if one has seen more.

    With `accept_loss`, the loss is journaled in the name of that person instead, and the log gets another name: it
    never signs two checkpoints that contradict each other. An anchor that does not answer is logged.
    """
    anchors = anchors_of(anchors_in(config), store.workspace)
    if not anchors:
        return
    log = CheckpointLog(store, store.workspace, make_draft=make_draft)
    await log.load()
    trusted = await asyncio.to_thread(trusted_in, config, files)
    for anchor in anchors:
        opens = tree_opener(store, files, store.workspace)
        found = await asyncio.to_thread(_compared, anchor, log, opens, trusted)
        if found is None:
            continue
        anchored, judged = found
        if accept_loss is None:
            raise CutError(
                f"{judged.answer}: anchor [{anchor.name}] has a checkpoint of [{anchored.checkpoint.size}] entries: "
                f"{judged.words}; expected a journal that has them: restore it, or open it with --accept-loss in the "
                "name of the person who accepts that they are gone"
            )
        entry = LossAcceptedEntry(
            **Identity.of(accept_loss).written(),
            anchor=anchor.name,
            note=str(anchored.note),
            found=store.acknowledged if judged.answer == "CUT" else 0,
            instance=new_id(),
        )
        _log.warning("loss_accepted", anchor=anchor.name, by=entry.by, size=anchored.checkpoint.size)
        await log.journal.append_if_missing(lambda accepted=entry: accepted)  # type: ignore[misc]


async def journal_lost_heads(
    store: JournalStore, *, accept_loss: By | None, make_draft: Callable[[Entry], Draft]
) -> None:
    """Journal, in the name of who accepted it, that a store on a server is behind the heads that this node had.

    It is another log from here on, as where an anchor has seen more.
    """
    loss = getattr(store, "loss", None)
    if not isinstance(loss, Loss) or accept_loss is None:
        return
    log = CheckpointLog(store, store.workspace, make_draft=make_draft)
    await log.load()
    entry = LossAcceptedEntry(
        **Identity.of(accept_loss).written(),
        anchor="heads of this node",
        note=f"{loss.head.position} {loss.head.entry_hash.hex()}",
        found=loss.found,
        instance=new_id(),
    )
    _log.warning("loss_accepted", anchor=entry.anchor, by=entry.by, size=loss.head.position)
    await log.journal.append_if_missing(lambda: entry)


def _compared(
    anchor: Anchor, log: CheckpointLog, opens: Callable[[], ProofTree], trusted: tuple[bytes, ...]
) -> tuple[Anchored, Judgement] | None:
    """Return what an anchor has that the journal has not, with the judgement; None where there is nothing."""
    try:
        newest = anchor.newest()
    except AnchorError as error:
        _log.error("anchor_not_compared", anchor=anchor.name, error=str(error))
        return None
    tree = opens()
    try:
        return _first_known(newest, log, tree, trusted)
    finally:
        tree.close()


def _first_known(
    newest: Iterable[Anchored], log: CheckpointLog, tree: ProofTree, trusted: tuple[bytes, ...]
) -> tuple[Anchored, Judgement] | None:
    tail = tree.extend()
    for tried, each in enumerate(newest):
        if tried == _MOST_TRIED:
            break
        judged = log.judge(each.note, tree.root, tail, trusted=trusted)
        if judged.answer in ("UNKNOWN_KEY", "KEY_RETIRED"):
            _log.warning("anchored_checkpoint_of_no_known_key", anchor=each.anchor, found=judged.words)
        elif judged.holds:
            return None
        else:
            return each, judged
    return None


def checkpoints_in(config: LoomConfig) -> CheckpointsConfig:
    """Return the section `checkpoints` of a config."""
    section = config.sections.get("checkpoints")
    return section if isinstance(section, CheckpointsConfig) else CheckpointsConfig()


def anchors_in(config: LoomConfig) -> AnchorsConfig:
    """Return the section `anchors` of a config."""
    section = config.sections.get("anchors")
    return section if isinstance(section, AnchorsConfig) else AnchorsConfig()


def signer_of(config: CheckpointsConfig, files: JournalFiles) -> Signer | None:
    """Return what signs, None where the config names nothing; raise `ConfigError` for a key that cannot be used."""
    if config.command and config.public_key is not None:
        return CommandSigner(config.command, public_key_of(config.public_key))
    if config.key_file is None:
        return None
    path = config.key_file.expanduser().resolve()
    if path.is_relative_to(files.directory):
        raise ConfigError(
            f"signing key [{path}] is in the directory of the workspace; expected another place, as a copy of the data "
            "would be a copy of the key: move it"
        )
    return FileSigner(path)


def trusted_in(config: LoomConfig, files: JournalFiles) -> tuple[bytes, ...]:
    """Return the public keys that a config is certain of; none where its key cannot be read here."""
    try:
        signer = signer_of(checkpoints_in(config), files)
    except ConfigError as error:
        _log.warning("signing_key_not_read", error=str(error))
        return ()
    return () if signer is None else (signer.public,)
