"""A checkpointer for LangGraph: each thread of a graph is a journal, each checkpoint an entry in its hash chain.

Needs `langgraph-checkpoint`. A checkpoint that is deleted, or pruned by the graph, is dropped by an entry, and its own
entries stay: retention prunes bodies.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote, unquote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from loom.errors import LoomClosedError
from loom.identity import journal_name
from loom.integrations.checkpoints import (
    CheckpointSavedEntry,
    CheckpointsDroppedEntry,
    Packed,
    Saved,
    ThreadJournal,
    WritesSavedEntry,
)
from loom.journal.entry import Entry
from loom.runtime import Loom

__all__ = ["LoomCheckpointer"]

T = TypeVar("T")

_TYPE = "langgraph"
_THREADS = 256
"""How many threads are kept folded in memory."""
_PAGE = 1_000


class LoomCheckpointer(BaseCheckpointSaver[Any]):
    """Saves the checkpoints of graphs in the journals of an open loom.

    Use the asynchronous methods of a graph on the event loop of the loom; the others may be called from other threads.
    """

    def __init__(self, loom: Loom, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._loom = loom
        self._event_loop = asyncio.get_running_loop()
        self._threads: OrderedDict[str, ThreadJournal] = OrderedDict()

    # --- reading --------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that a config names, or the newest one of its thread."""
        thread, namespace = _thread_of(config), _namespace_of(config)
        journal = await self._opened(thread)
        saved = journal.get(namespace, get_checkpoint_id(config))
        return None if saved is None else self._tuple(thread, journal, saved)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first in each thread."""
        threads = [_thread_of(config)] if config else await self._known()
        namespace = config["configurable"].get("checkpoint_ns") if config else None
        wanted = get_checkpoint_id(config) if config else None
        until = get_checkpoint_id(before) if before else None
        left = limit
        for thread in threads:
            journal = await self._opened(thread)
            for saved in journal.every(namespace):
                if left is not None and left <= 0:
                    return
                if (wanted and saved.checkpoint_id != wanted) or (until and saved.checkpoint_id >= until):
                    continue
                if filter and not _matches(self._metadata(saved), filter):
                    continue
                yield self._tuple(thread, journal, saved)
                left = None if left is None else left - 1

    # --- writing --------------------------------------------------------------------------------

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, durably; the same one once more is not saved again."""
        thread, namespace = _thread_of(config), _namespace_of(config)
        about = cast("dict[str, Any]", get_checkpoint_metadata(config, metadata))
        rest: dict[str, Any] = dict(checkpoint)
        values: dict[str, Any] = rest.pop("channel_values")
        entry = CheckpointSavedEntry(
            thread=thread,
            namespace=namespace,
            checkpoint_id=checkpoint["id"],
            parent_id=get_checkpoint_id(config),
            source=about.get("source"),
            graph_step=about.get("step"),
            run_id=None if about.get("run_id") is None else str(about["run_id"]),
            checkpoint=self._pack(rest),
            metadata=self._pack(about),
            values={
                channel: (version, self._pack(values[channel]) if channel in values else None)
                for channel, version in new_versions.items()
            },
        )
        journal = await self._opened(thread)

        def missing() -> Entry | None:
            known = journal.get(namespace, checkpoint["id"])
            return None if known is not None and known.entry == entry else entry

        await journal.append(missing)
        return _config(thread, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save the writes of a task, durably; those that are there stay as they are."""
        thread, namespace = _thread_of(config), _namespace_of(config)
        checkpoint_id = cast("str", get_checkpoint_id(config))
        packed = [
            (WRITES_IDX_MAP.get(channel, index), channel, self._pack(value))
            for index, (channel, value) in enumerate(writes)
        ]
        journal = await self._opened(thread)

        def missing() -> Entry | None:
            left = tuple(
                each
                for each in packed
                if each[0] < 0 or not journal.is_written(namespace, checkpoint_id, task_id, each[0])
            )
            if not left:
                return None
            return WritesSavedEntry(
                thread=thread,
                namespace=namespace,
                checkpoint_id=checkpoint_id,
                task_id=task_id,
                task_path=task_path,
                writes=left,
            )

        await journal.append(missing)

    async def adelete_thread(self, thread_id: str) -> None:
        """Drop all checkpoints of a thread."""
        await self._drop(str(thread_id), "thread deleted", ThreadJournal.every)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Drop the checkpoints that some runs have saved, in every thread."""
        gone = {str(each) for each in run_ids}
        for thread in await self._known():
            await self._drop(thread, "runs deleted", lambda journal: journal.of_runs(gone))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Save the checkpoints and writes of a thread in another one, oldest first."""
        source = await self._opened(str(source_thread_id))
        for saved in reversed(source.every()):
            found = self._tuple(str(source_thread_id), source, saved)
            parent = saved.entry.parent_id
            config = _config(str(target_thread_id), saved.namespace, parent)
            versions = {
                channel: version
                for channel, version in found.checkpoint["channel_versions"].items()
                if channel in saved.entry.values or channel in found.checkpoint["channel_values"]
            }
            await self.aput(config, found.checkpoint, found.metadata, versions)
            here = _config(str(target_thread_id), saved.namespace, saved.checkpoint_id)
            tasks: dict[tuple[str, str], list[tuple[int, str, Packed]]] = {}
            for each in source.writes(saved.namespace, saved.checkpoint_id):
                tasks.setdefault((each.task_id, each.task_path), []).append((each.place, each.channel, each.value))
            for (task_id, task_path), written in tasks.items():
                await self._copy_writes(here, tuple(written), task_id=task_id, task_path=task_path)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Drop all checkpoints of threads, or all but the newest of each namespace and what that is rebuilt from."""
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"strategy is [{strategy}]; expected [keep_latest or delete]: give one of them")
        which = (lambda journal: journal.older(self._unpack)) if strategy == "keep_latest" else ThreadJournal.every
        for thread in thread_ids:
            await self._drop(str(thread), f"pruned: {strategy}", which)

    # --- from other threads ---------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `aget_tuple`."""
        return self._wait(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """See `alist`."""

        async def every() -> Sequence[CheckpointTuple]:
            return [each async for each in self.alist(config, filter=filter, before=before, limit=limit)]

        yield from self._wait(every())

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `aput`."""
        return self._wait(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `aput_writes`."""
        self._wait(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """See `adelete_thread`."""
        self._wait(self.adelete_thread(thread_id))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._event_loop:
            work.close()
            raise LoomClosedError(
                "a checkpointer was asked on the event loop of its loom by a method that blocks; expected the "
                "asynchronous one: use ainvoke, astream and aget_state of the graph"
            )
        return asyncio.run_coroutine_threadsafe(work, self._event_loop).result()

    # --- helpers --------------------------------------------------------------------------------

    async def _opened(self, thread: str) -> ThreadJournal:
        journal = self._threads.get(thread)
        if journal is None:
            name = journal_name(_TYPE, quote(thread, safe=" :,;@+~"))
            journal = self._threads[thread] = ThreadJournal(self._loom.store, name, make_draft=self._loom.draft)
            if len(self._threads) > _THREADS:
                self._threads.popitem(last=False)
        self._threads.move_to_end(thread)
        await journal.load()
        return journal

    async def _known(self) -> Sequence[str]:
        """Return the threads that have a journal."""
        found: list[str] = []  # type: ignore[valid-type]
        after = f"{_TYPE}/"
        while page := await self._loom.store.journals(after=after, limit=_PAGE):
            for name, _ in page:
                if not name.startswith(f"{_TYPE}/"):
                    return found
                found.append(unquote(name.removeprefix(f"{_TYPE}/")))
            after = page[-1][0]
        return found

    async def _drop(self, thread: str, reason: str, which: Callable[[ThreadJournal], Sequence[Saved]]) -> None:
        journal = await self._opened(thread)

        def missing() -> Entry | None:
            dropped = tuple(each[:2] for each in which(journal))
            return CheckpointsDroppedEntry(thread=thread, reason=reason, dropped=dropped) if dropped else None

        await journal.append(missing)

    async def _copy_writes(
        self, config: RunnableConfig, writes: tuple[tuple[int, str, Packed], ...], *, task_id: str, task_path: str
    ) -> None:
        thread, namespace = _thread_of(config), _namespace_of(config)
        checkpoint_id = cast("str", get_checkpoint_id(config))
        entry = WritesSavedEntry(
            thread=thread,
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            task_id=task_id,
            task_path=task_path,
            writes=writes,
        )
        await (await self._opened(thread)).append(lambda: entry)

    def _tuple(self, thread: str, journal: ThreadJournal, saved: Saved) -> CheckpointTuple:
        namespace, checkpoint_id, entry = saved
        checkpoint = self._unpack(entry.checkpoint)
        values = {
            channel: self._unpack(packed)
            for channel, version in checkpoint["channel_versions"].items()
            if (packed := journal.value(namespace, channel, version)) is not None
        }
        return CheckpointTuple(
            config=_config(thread, namespace, checkpoint_id),
            checkpoint=cast("Checkpoint", {**checkpoint, "channel_values": values}),
            metadata=cast("CheckpointMetadata", self._metadata(saved)),
            parent_config=None if entry.parent_id is None else _config(thread, namespace, entry.parent_id),
            pending_writes=[
                (each.task_id, each.channel, self._unpack(each.value))
                for each in journal.writes(namespace, checkpoint_id)
            ],
        )

    def _metadata(self, saved: Saved) -> dict[str, Any]:
        found: dict[str, Any] = self._unpack(saved.entry.metadata)
        return found

    def _pack(self, value: Any) -> Packed:
        form, data = self.serde.dumps_typed(value)
        return Packed(form, base64.b64encode(data).decode())

    def _unpack(self, packed: Packed) -> Any:
        return self.serde.loads_typed((packed.form, base64.b64decode(packed.data)))


def _thread_of(config: RunnableConfig) -> str:
    return str(config["configurable"]["thread_id"])


def _namespace_of(config: RunnableConfig) -> str:
    return str(config["configurable"].get("checkpoint_ns", ""))


def _config(thread: str, namespace: str, checkpoint_id: str | None) -> RunnableConfig:
    about = {"thread_id": thread, "checkpoint_ns": namespace}
    return {"configurable": about if checkpoint_id is None else {**about, "checkpoint_id": checkpoint_id}}


def _matches(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(metadata.get(name) == value for name, value in wanted.items())
