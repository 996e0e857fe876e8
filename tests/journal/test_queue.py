"""The queue of appends: what it takes, what it refuses, in which order it lets callers in, and what still counts."""

from __future__ import annotations

import asyncio

import pytest

from loom.errors import AppendRefusedError, JournalBusyError
from loom.journal import Append, Draft
from loom.journal.sqlite.queue import AppendQueue, Waiting


def draft(size: int = 1) -> Draft:
    return Draft("test.noted", 1, None, None, b"s" * 16, b"x" * size, b"d" * 32)


def append(*sizes: int, journal: str = "a/1") -> Append:
    return Append(journal, 0, [draft(size) for size in sizes])


def queue(*, entries: int = 10, size: int = 100, batch: int = 4) -> AppendQueue:
    return AppendQueue(max_entries=entries, max_bytes=size, max_batch=batch, loop=asyncio.get_running_loop())


def drained(line: AppendQueue) -> list[list[int]]:
    """Take every batch, and note that it was written; return how many entries each of its appends has."""
    batches = []
    while batch := line.take():
        batches.append([len(waiting.drafts) for waiting in batch])
        line.done(batch)
    return batches


def has_room(line: AppendQueue) -> bool:
    return line.has_room


# --- room for appends ---------------------------------------------------------------------------


async def test_an_append_of_no_entry_or_of_more_than_could_ever_fit_is_refused_for_good() -> None:
    line = queue(entries=3, size=10)
    for sizes in ((), (1, 1, 1, 1), (5, 6)):
        with pytest.raises(AppendRefusedError, match=rf"\[{len(sizes)}\] entries of \[{sum(sizes)}\] bytes"):
            line.put(append(*sizes))
    assert line.take() == []
    assert line.put(append(3, 3, 4)).size == 10, "what just fits is taken"


async def test_a_queue_without_room_is_busy_and_takes_nothing() -> None:
    line = queue(entries=3, size=10)
    line.put(append(4, 4))
    for sizes in ((1, 1), (3,)):
        with pytest.raises(JournalBusyError, match=r"\[2\] entries of \[8\] bytes wait"):
            line.put(append(*sizes))
    line.put(append(2))
    with pytest.raises(JournalBusyError, match=r"\[3\] entries of \[10\] bytes wait"):
        line.put(append(0))
    assert drained(line) == [[2, 1]]


async def test_what_is_being_written_still_counts_until_it_is_done() -> None:
    line = queue(entries=2, size=10)
    line.put(append(1, 1))
    batch = line.take()
    with pytest.raises(JournalBusyError):
        line.put(append(1))
    line.done(batch)
    for _ in range(3):  # nothing of it is left behind: entries and bytes are both given back
        line.put(append(5, 5))
        line.done(line.take())
    line.put(append(5, 5))


# --- appends that grow --------------------------------------------------------------------------


async def test_an_append_grows_while_it_is_in_line_and_only_then() -> None:
    line = queue()
    waiting = line.put(append(1))
    assert isinstance(waiting, Waiting)
    assert line.extend(waiting, draft(2))
    assert ([len(each.body) for each in waiting.append.drafts], waiting.size) == ([1, 2], 3)
    (taken,) = line.take()
    assert taken is waiting
    assert taken.append.journal == "a/1"
    assert not line.extend(waiting, draft())
    line.done([waiting])
    done = line.put(append(1))
    done.set_exception(JournalBusyError("it was refused"))
    assert not line.extend(done, draft())
    assert isinstance(done.exception(), JournalBusyError)


async def test_the_drafts_of_a_caller_are_not_changed_by_what_is_added() -> None:
    line, given = queue(), append(1)
    line.extend(line.put(given), draft())
    assert len(given.drafts) == 1


async def test_an_append_grows_no_further_than_its_bounds() -> None:
    line = queue(entries=1_000, size=1_000, batch=1_000)
    waiting = line.put(append(1))
    assert [line.extend(waiting, draft()) for _ in range(64)] == [True] * 63 + [False]
    assert len(waiting.drafts) == 64

    line = queue(entries=3, size=100)
    waiting = line.put(append(1))
    assert [line.extend(waiting, draft()) for _ in range(3)] == [True, True, False]

    line = queue(entries=100, size=10)
    waiting = line.put(append(4))
    assert [line.extend(waiting, draft(3)) for _ in range(3)] == [True, True, False]
    assert line.extend(waiting, draft(0))


async def test_what_was_added_counts_as_what_was_there_at_first() -> None:
    line = queue(entries=4, size=20)
    waiting = line.put(append(5))
    assert line.extend(waiting, draft(5))
    with pytest.raises(JournalBusyError, match=r"\[2\] entries of \[10\] bytes wait"):
        line.put(append(6, 5))
    line.done(line.take())
    line.put(append(5, 5, 5, 5))


# --- batches ------------------------------------------------------------------------------------


async def test_batches_are_of_whole_appends_in_order_and_of_one_at_least() -> None:
    line = queue(entries=100, batch=4)
    for count in (2, 2, 1, 3, 1, 6, 1):
        line.put(append(*[1] * count))
    assert drained(line) == [[2, 2], [1, 3], [1], [6], [1]]
    assert line.take() == []


async def test_only_what_was_taken_is_marked_so() -> None:
    line = queue(batch=2)
    first, second = line.put(append(1, 1)), line.put(append(1))
    assert (line.take(), first.taken, second.taken) == ([first], True, False)
    assert line.extend(second, draft())


# --- room for callers ---------------------------------------------------------------------------


async def test_there_is_room_while_less_than_half_of_the_entries_and_half_of_the_bytes_wait() -> None:
    line = queue(entries=8, size=100)
    assert has_room(line)
    line.put(append(1, 1, 1))
    assert has_room(line)
    line.put(append(1))
    assert not has_room(line)
    line.done(line.take())
    line.put(append(50))
    assert has_room(line), "half of the bytes are not more than half"
    line.put(append(1))
    assert not has_room(line)


async def waits(line: AppendQueue) -> asyncio.Task[None]:
    task = asyncio.ensure_future(line.room())
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_who_finds_room_does_not_wait_and_nobody_overtakes_who_does() -> None:
    line = queue(entries=4, size=100)
    await asyncio.wait_for(line.room(), 1)
    line.put(append(1, 1))
    first, second, third = [await waits(line) for _ in range(3)]
    assert not any(each.done() for each in (first, second, third))
    line.done(line.take())
    assert not has_room(line), "those who wait come first"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (first.done(), second.done()) == (True, True)
    await asyncio.wait_for(third, 1)


async def test_callers_are_let_in_one_for_each_free_place() -> None:
    line = queue(entries=4, size=100)
    line.put(append(1, 1))
    order: list[int] = []

    async def caller(number: int) -> None:
        await line.room()
        order.append(number)
        line.put(append(1))

    callers = [asyncio.ensure_future(caller(number)) for number in range(4)]
    await waits_a_little()
    assert order == []
    line.done(line.take())
    await waits_a_little()
    assert order == [0, 1], "each filled the place that it was given"
    line.done(line.take())
    await waits_a_little()
    assert order == [0, 1, 2, 3]
    await asyncio.gather(*callers)


async def test_bytes_over_half_keep_callers_out_whatever_the_entries() -> None:
    line = queue(entries=100, size=10)
    line.put(append(6))
    waiting = await waits(line)
    assert not waiting.done()
    line.done(line.take())
    await asyncio.wait_for(waiting, 1)
    line.put(append(5))
    await asyncio.wait_for(line.room(), 1)


async def test_a_caller_who_gave_up_takes_no_place_from_the_next() -> None:
    line = queue(entries=2, size=100)
    line.put(append(1))
    first, second = await waits(line), await waits(line)
    first.cancel()
    await waits_a_little()
    line.done(line.take())
    await asyncio.wait_for(second, 1)
    assert has_room(line)
    assert first.cancelled()


async def test_a_caller_who_queues_nothing_leaves_its_place_to_the_next() -> None:
    line = queue(entries=2, size=100)
    line.put(append(1))
    callers = [await waits(line) for _ in range(5)]
    line.done(line.take())
    await asyncio.wait_for(asyncio.gather(*callers), 1)


async def test_callers_for_whom_there_is_room_are_let_in_together() -> None:
    line = queue(entries=4, size=100)
    line.put(append(1, 1))
    first, second, third = [await waits(line) for _ in range(3)]
    line.done(line.take())
    await asyncio.sleep(0)
    assert [each.done() for each in (first, second, third)] == [True, True, False]
    await asyncio.wait_for(third, 1)


async def test_callers_are_let_in_as_soon_as_half_of_the_bytes_are_left() -> None:
    line = queue(entries=100, size=10, batch=1)
    line.put(append(1))
    line.put(append(5))
    waiting = await waits(line)
    assert not waiting.done()
    line.done(line.take())
    await asyncio.wait_for(waiting, 1)


async def test_callers_stay_out_while_more_than_half_of_the_bytes_are_left() -> None:
    line = queue(entries=100, size=10, batch=1)
    line.put(append(1))
    line.put(append(6))
    waiting = await waits(line)
    line.done(line.take())
    await waits_a_little()
    assert not waiting.done()
    line.done(line.take())
    await asyncio.wait_for(waiting, 1)


async def test_a_queue_rests_while_there_is_nothing_to_do_for_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    line = queue(entries=2, size=100)
    looked: list[bool] = []
    let_in = line._let_in

    def counted() -> None:
        looked.append(line.has_room)
        let_in()

    monkeypatch.setattr(line, "_let_in", counted)
    line.put(append(1))
    first, second = await waits(line), await waits(line)
    line.done(line.take())
    line.put(append(1))  # before the second was let in
    await waits_a_little()
    assert (first.done(), second.done(), len(looked)) == (True, False, 2)
    line.done(line.take())
    await waits_a_little()
    assert (second.done(), len(looked)) == (True, 3)


async def waits_a_little() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
