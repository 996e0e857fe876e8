"""Databases in memory, in which rows are folded again to be compared: each thread has its own, and leaves none open."""

from __future__ import annotations

import gc
import threading

import pytest

from loom.actors.turns_view import TurnsProjection
from loom.projections import confirming


def test_the_databases_of_a_thread_are_closed_once_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made, closed = list[int](), list[int]()

    class Seen(confirming._InMemory):
        def close(self) -> None:
            closed.append(id(self))
            super().close()

    monkeypatch.setattr(confirming, "_InMemory", Seen)

    def fold() -> None:
        for _ in range(2):
            with confirming.folded_in_memory(TurnsProjection(), []) as view:
                made.append(id(view))

    thread = threading.Thread(target=fold)
    thread.start()
    thread.join()
    gc.collect()
    assert made[0] == made[1], "a thread makes the tables once"
    assert closed == made[:1]
