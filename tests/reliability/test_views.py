"""R12: views that are kept up through crashes, in pages of any size, are those that a rebuild gives."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from loom.journal import Append, Recorded, draft
from loom.journal.chain import genesis
from loom.journal.sqlite.staging import Tail, stage
from loom.journal.store import Head
from loom.projections.writer import ViewsWriter
from tests.projections.every import every_projection
from tests.projections.histories import Happening, histories
from tests.projections.test_rebuild import Killed, fold, fold_dying, said
from tests.reliability.board import Tally, row

HISTORIES = 500


@pytest.mark.seconds(40)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("half", [0, 1])
@row("R12")
def test_views_kept_up_through_crashes_of_every_kind_are_those_of_a_rebuild(
    tally: Tally, half: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies within `apply`, right before a checkpoint moves, or right before or after the commit."""

    @seed(tally.piece.seed + half)
    @settings(max_examples=HISTORIES // 2, suppress_health_check=list(HealthCheck))
    @given(
        histories,
        st.lists(st.integers(1, 9), max_size=20),
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=3),
        st.lists(st.tuples(st.sampled_from(STRUCK), st.integers(0, 6), st.booleans()), max_size=3),
    )
    def run(
        happenings: list[Happening],
        batches: list[int],
        lives: list[tuple[int, int]],
        strikes: list[tuple[str, int, bool]],
    ) -> None:
        tally.tried()
        entries = recorded_of(happenings)
        with tempfile.TemporaryDirectory(dir=memory()) as name:
            directory = Path(name)
            fold(directory / "rebuilt", entries, batch=1_000)
            with pytest.MonkeyPatch.context() as patch:
                for strike in strikes:
                    fold_struck(directory / "kept", entries, strike, patch)
            fold_dying(directory / "kept", entries, batches=batches, lives=lives)
            assert said(directory / "kept") == said(directory / "rebuilt")

    run()


STRUCK = ("UPDATE checkpoints", "COMMIT", "INSERT", "BEGIN IMMEDIATE")


def fold_struck(
    path: Path, entries: Sequence[Recorded], strike: tuple[str, int, bool], patch: pytest.MonkeyPatch
) -> None:
    """Fold until the process dies at the nth statement that begins so, before or after it was carried out."""
    statement, left, done_first = strike

    class Dying(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            nonlocal left
            if not sql.startswith(statement):
                return super().execute(sql, *given)
            left -= 1
            if left < 0 and not done_first:
                raise Killed
            found = super().execute(sql, *given)
            if left < 0:
                raise Killed
            return found

    real = sqlite3.connect
    patch.setattr(sqlite3, "connect", lambda path, **given: real(path, factory=Dying, **given))
    writer = ViewsWriter(path, every_projection())
    try:
        position = min(checkpoint.position for checkpoint in writer.open().values())
        while position < len(entries):
            checkpoints = writer.apply(entries[position : position + 4])
            position = min(checkpoint.position for checkpoint in checkpoints.values())
    except Killed:
        pass
    finally:
        patch.setattr(sqlite3, "connect", real)
        if writer._connection is not None:  # closed as the end of a process closes it: nothing is tidied up
            sqlite3.Connection.close(writer._connection)


def recorded_of(happenings: Sequence[Happening]) -> list[Recorded]:
    """Return happenings as a journal would give them back, without one."""
    heads: dict[str, Head] = {}
    batch = []
    counts: dict[str, int] = {}
    for journal, turn, entry in happenings:
        batch.append(Append(journal, counts.get(journal, 0), [draft(entry, command_id=turn)]))
        counts[journal] = counts.get(journal, 0) + 1
    staged = stage(
        batch,
        workspace="default",
        epoch=1,
        now_us=1_770_000_000_000_000,
        tail=Tail(0, b"", 0),
        head_of=lambda journal: heads.get(journal) or Head(0, genesis("default", journal)),
    )
    return [Recorded(*found) for found in staged.rows]  # type: ignore[arg-type]


def memory() -> str | None:
    """Return a directory in memory, where there is one: nothing here is about the disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
