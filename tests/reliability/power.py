"""What a disk may hold after the power was cut: everything that was synced, and any part of what was not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.shim import Operation

__all__ = ["Disk", "acknowledged_before"]

SECTOR = 512


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)
    is_named: bool = False
    """Whether its name would be found again: the directory was synced since it was made."""


class Disk:
    """Takes recorded calls in order; `cut` writes down a state that may be found when the power comes back."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._files: dict[str, _File] = {}
        self._before: list[dict[str, _File]] = []
        """Which files had which names before each renaming that no sync has made last."""

    def take(self, operation: Operation) -> None:
        """Follow one recorded call."""
        if operation.path.endswith("-shm") or operation.op == "A":
            return  # shared memory is made anew by whoever opens the database first
        if operation.path == self._directory:
            self._before.clear()
            for file in self._files.values():
                file.is_named = True
            return
        if operation.op in "RL":
            self._rename(operation.data.decode(), operation.path, keeps=operation.op == "L")
            return
        file = self._files.setdefault(operation.path, _File())
        if operation.op == "U":
            del self._files[operation.path]
        elif operation.op == "S":
            for pending in file.pending:
                _apply(file.synced, pending)
            file.pending.clear()
        else:
            file.pending.append(operation)

    def cut(self, into: Path, dice: random.Random) -> None:
        """Write every file as it may be: unsynced calls kept, dropped or torn, in any order."""
        for path, file in dice.choice([*self._before, self._files]).items():
            if not file.is_named and dice.random() < 0.3:
                continue
            content = bytearray(file.synced)
            pending = list(file.pending)
            if dice.random() < 0.7:
                dice.shuffle(pending)
            keep = dice.random()
            for operation in pending:
                _apply_perhaps(content, operation, keep, dice)
            (into / Path(path).name).write_bytes(content)

    def _rename(self, path: str, to: str, *, keeps: bool) -> None:
        self._before.append(dict(self._files))
        file = self._files.get(path) or _File()  # one that was made and never written
        replaced = self._files.get(to)
        file.is_named = file.is_named or (replaced is not None and replaced.is_named)  # one of the two will be found
        self._files[to] = file
        if not keeps:
            self._files.pop(path, None)


def acknowledged_before(operations: Sequence[Operation], end: int) -> dict[int, str]:
    """Return position → hash of everything that was acknowledged before a call."""
    said = (operation.data.decode().split() for operation in operations[:end] if operation.op == "A")
    return {int(position): digest for position, digest in said}


def _apply_perhaps(content: bytearray, operation: Operation, keep: float, dice: random.Random) -> None:
    fate = dice.random()
    if operation.op == "T" or fate < 0.5:
        if dice.random() < keep:
            _apply(content, operation)
        return
    for start in range(0, len(operation.data), SECTOR):
        if dice.random() < keep:
            sector = operation.data[start : start + SECTOR]
            _apply(content, operation._replace(offset=operation.offset + start, data=sector))


def _apply(content: bytearray, operation: Operation) -> None:
    if operation.op == "T":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    if len(content) < operation.offset:
        content.extend(bytes(operation.offset - len(content)))
    content[operation.offset : operation.offset + len(operation.data)] = operation.data
