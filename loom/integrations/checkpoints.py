"""The journal of one thread of a graph: checkpoints and writes as entries, folded into what a checkpointer asks for.

It needs no framework: journals with these entries are read without LangGraph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, JsonValue

from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore

__all__ = [
    "CheckpointSavedEntry",
    "CheckpointsDroppedEntry",
    "Packed",
    "Saved",
    "ThreadJournal",
    "WritesSavedEntry",
    "Written",
]


class Packed(NamedTuple):
    """A value as its serialiser wrote it: the form, and the bytes in base 64."""

    form: str
    data: str


class CheckpointSavedEntry(Entry):
    """A graph has saved its state after a step: what changed in it, and the rest by version."""

    kind: ClassVar[str] = "graph_checkpoint_saved"

    thread: str
    namespace: str
    checkpoint_id: str
    parent_id: str | None
    source: str | None
    graph_step: int | None
    run_id: str | None
    checkpoint: Packed
    """The checkpoint without its values."""
    metadata: Packed
    values: dict[str, tuple[JsonValue, Packed | None]]
    """The channels that changed: the version and the value of each; None where it is empty."""


class WritesSavedEntry(Entry):
    """A task of a graph has written to channels, before the step of the graph was complete."""

    kind: ClassVar[str] = "graph_writes_saved"

    thread: str
    namespace: str
    checkpoint_id: str
    task_id: str
    task_path: str
    writes: tuple[tuple[int, str, Packed], ...]
    """The index, the channel and the value of each."""


class CheckpointsDroppedEntry(Entry):
    """Checkpoints and their writes are not part of the thread any more. Their entries stay until they are pruned."""

    kind: ClassVar[str] = "graph_checkpoints_dropped"

    thread: str
    reason: str
    dropped: tuple[tuple[str, str], ...] = Field(default=())
    """The namespace and the id of each."""


class Saved(NamedTuple):
    """A checkpoint of a thread."""

    namespace: str
    checkpoint_id: str
    entry: CheckpointSavedEntry


class Written(NamedTuple):
    """One write of a task."""

    task_path: str
    task_id: str
    place: int
    """Its place among the writes of its task; negative ones are special."""
    channel: str
    value: Packed


class ThreadJournal:
    """The checkpoints of one thread: folded from its journal, and appended to it."""

    def __init__(self, store: JournalStore, journal: str, *, make_draft: Callable[[Entry], Draft]) -> None:
        self._journal = SingletonJournal(store, journal, self._fold, make_draft=make_draft)
        self._saved: dict[tuple[str, str], CheckpointSavedEntry] = {}
        self._values: dict[tuple[str, str, str], Packed] = {}
        self._writes: dict[tuple[str, str], dict[tuple[str, int], Written]] = {}

    async def load(self) -> None:
        """Read what was appended since the last time."""
        await self._journal.load()

    async def append(self, make: Callable[[], Entry | None]) -> None:
        """Append an entry if one is missing; see `SingletonJournal.append_if_missing`."""
        await self._journal.append_if_missing(make)

    def every(self, namespace: str | None = None) -> Sequence[Saved]:
        """Return the checkpoints, newest first: ids of checkpoints are ordered by time."""
        found = [Saved(*key, entry) for key, entry in self._saved.items() if namespace is None or key[0] == namespace]
        return sorted(found, key=lambda each: each.checkpoint_id, reverse=True)

    def get(self, namespace: str, checkpoint_id: str | None) -> Saved | None:
        """Return a checkpoint, or the newest of a namespace."""
        if checkpoint_id is None:
            return next(iter(self.every(namespace)), None)
        entry = self._saved.get((namespace, checkpoint_id))
        return None if entry is None else Saved(namespace, checkpoint_id, entry)

    def value(self, namespace: str, channel: str, version: JsonValue) -> Packed | None:
        """Return the value that a channel has in a version; None where it is empty."""
        return self._values.get((namespace, channel, _version(version)))

    def writes(self, namespace: str, checkpoint_id: str) -> Sequence[Written]:
        """Return the writes after a checkpoint, in the order in which a graph applies them."""
        return sorted(self._writes.get((namespace, checkpoint_id), {}).values(), key=lambda each: each[:3])

    def is_written(self, namespace: str, checkpoint_id: str, task_id: str, index: int) -> bool:
        """Tell whether a task's write is there."""
        return (task_id, index) in self._writes.get((namespace, checkpoint_id), {})

    def of_runs(self, run_ids: Collection[str]) -> Sequence[Saved]:
        """Return the checkpoints that some runs have saved."""
        return [each for each in self.every() if each.entry.run_id in run_ids]

    def older(self, unpack: Callable[[Packed], Any]) -> Sequence[Saved]:
        """Return all but the newest checkpoint of each namespace, and the ancestors that channels of deltas need."""
        kept: set[tuple[str, str]] = set()
        for namespace in {each.namespace for each in self.every()}:
            saved = self.get(namespace, None)
            deltas: set[str] = set()
            if saved is not None:
                deltas = set(unpack(saved.entry.metadata).get("counters_since_delta_snapshot") or ())
            while saved is not None:
                kept.add((namespace, saved.checkpoint_id))
                versions = unpack(saved.entry.checkpoint)["channel_versions"]
                deltas = {each for each in deltas if self.value(namespace, each, versions.get(each)) is None}
                parent = saved.entry.parent_id
                saved = self.get(namespace, parent) if deltas and parent is not None else None
        return [each for each in self.every() if each[:2] not in kept]

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, CheckpointSavedEntry):
            self._saved[entry.namespace, entry.checkpoint_id] = entry
            for channel, (version, value) in entry.values.items():
                key = (entry.namespace, channel, _version(version))
                if value is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = value
        elif isinstance(entry, WritesSavedEntry):
            known = self._writes.setdefault((entry.namespace, entry.checkpoint_id), {})
            for index, channel, packed in entry.writes:
                known[entry.task_id, index] = Written(entry.task_path, entry.task_id, index, channel, packed)
        elif isinstance(entry, CheckpointsDroppedEntry):
            for dropped in entry.dropped:
                self._saved.pop(dropped, None)
                self._writes.pop(dropped, None)
            if not self._saved:
                self._values.clear()
                self._writes.clear()


def _version(version: JsonValue) -> str:
    return f"{type(version).__name__}:{version}"
