"""What every journal store promises: subclass `JournalStoreContract`, bring the fixture `place`, and pytest runs it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Protocol

import pytest

from loom.clock import Clock
from loom.errors import (
    AdmissionError,
    AppendRefusedError,
    AppendUnknownError,
    DuplicateCommandError,
    DuplicateOwnIdError,
    JournalBusyError,
    JournalClosedError,
    JournalForeignError,
    LoomError,
    SequenceConflictError,
    WriterFencedError,
)
from loom.journal import Append, Draft, Head, JournalStore, Receipt, draft
from loom.journal.chain import genesis
from loom.journal.entry import Part
from loom.journal.kinds import ENDINGS, MARKS
from tests.journal.support import (
    START_US,
    NotedEntry,
    SetClock,
    assert_chained,
    collected,
    fill,
    mark,
    note,
    notes,
    received,
)


class Place(Protocol):
    """Where a store keeps its journals: opening it again finds what was written; the fixture closes what is open."""

    async def open(
        self,
        *,
        workspace: str = "default",
        clock: Clock | None = None,
        max_pending_entries: int = 10_000,
        page: int = 1_000,
    ) -> JournalStore: ...


class JournalStoreContract:
    """The promises, one test each."""

    # --- appending ----------------------------------------------------------------------------

    async def test_an_entry_is_read_back_as_it_was_written(self, place: Place) -> None:
        clock = SetClock()
        store = await place.open(workspace="acme", clock=clock)
        policy = bytes(range(32))
        written = Draft("test.noted", 1, "c-1", policy, b"s" * 16, b'{"step":null,"text":"x"}', b"d" * 32)
        receipt = await store.append(Append("a/1", 0, [written]))
        (entry,) = await collected(store.read("a/1"))
        assert (entry.journal, entry.sequence, entry.position, entry.kind, entry.schema_version) == (
            "a/1",
            1,
            1,
            "test.noted",
            1,
        )
        assert (entry.command_id, entry.policy_hash, entry.policy) == ("c-1", policy, policy.hex())
        assert (entry.salt, entry.body, entry.body_digest) == (b"s" * 16, written.body, b"d" * 32)
        assert (entry.recorded_at_us, entry.clock_back_us, entry.workspace) == (START_US, 0, "acme")
        assert receipt == Receipt("a/1", 1, 1, entry.entry_hash, START_US)

    async def test_entries_of_both_body_schemes_are_in_one_chain(self, place: Place) -> None:
        store = await place.open()
        redactable = draft(NotedEntry(text="fields"), redactable=("test.noted",))
        await store.append(Append("a/1", 0, [note("whole"), redactable, note("again")]))
        found = await collected(store.read("a/1"))
        assert [each.body_scheme for each in found] == [1, 2, 1]
        assert [each.body_digest for each in found][1] == redactable.body_digest
        assert found[1].entry == NotedEntry(text="fields")
        assert_chained(found, workspace="default")

    async def test_append_with_a_stale_sequence_is_refused_and_writes_nothing(self, place: Place) -> None:
        store = await place.open()
        await store.append(notes("a/1", 0))
        for expected in (0, 2, -1):
            with pytest.raises(SequenceConflictError) as refused:
                await store.append(notes("a/1", expected))
            assert (refused.value.at, refused.value.expected) == (1, expected)
        assert len(await collected(store.read_all())) == 1

    async def test_several_entries_are_appended_all_or_none(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [received("c-1")]))
        with pytest.raises(DuplicateCommandError):
            await store.append(Append("a/1", 1, [note("x"), received("c-1"), note("y")]))
        receipt = await store.append(Append("a/1", 1, [note("x"), received("c-2"), note("y")]))
        assert (receipt.sequence, receipt.position) == (4, 4)
        assert [entry.kind for entry in await collected(store.read("a/1"))] == [
            "command_received",
            "test.noted",
            "command_received",
            "test.noted",
        ]

    async def test_appends_can_be_pipelined_without_waiting_for_each(self, place: Place) -> None:
        store = await place.open()
        futures = [store.submit(notes("a/1", sequence)) for sequence in range(500)]
        receipts = await asyncio.gather(*futures)
        assert [receipt.sequence for receipt in receipts] == list(range(1, 501))
        assert_chained(await collected(store.read_all()))

    async def test_an_append_takes_further_entries_while_it_is_in_line(self, place: Place) -> None:
        store = await place.open()
        first, other = store.submit(notes("a/1", 0)), store.submit(notes("a/2", 0))
        assert store.extend(first, note("second"))
        assert store.extend(first, note("third"))
        after = store.submit(notes("a/1", 3))
        receipt = await first
        assert (receipt.sequence, receipt.position) == (3, 3)
        assert ((await other).position, (await after).sequence) == (4, 4)
        assert not store.extend(first, note("too late"))
        assert not store.extend(after, note("too late"))
        assert_chained(await collected(store.read_all()))

    async def test_an_append_that_has_grown_is_written_whole_or_not_at_all(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [received("c-1")]))
        first = store.submit(notes("a/1", 1))
        assert store.extend(first, received("c-1"))
        with pytest.raises(DuplicateCommandError):
            await first
        assert [entry.kind for entry in await collected(store.read("a/1"))] == ["command_received"]

    async def test_an_append_grows_no_further_than_the_queue_has_room(self, place: Place) -> None:
        store = await place.open(max_pending_entries=3)
        first = store.submit(notes("a/1", 0))
        assert [store.extend(first, note(str(number))) for number in range(4)] == [True, True, False, False]
        assert (await first).sequence == 3
        assert (await store.append(notes("a/1", 3))).position == 4

    async def test_what_follows_a_refused_append_in_line_is_refused_too(self, place: Place) -> None:
        store = await place.open()
        first, stale, follows = (store.submit(notes("a/1", sequence)) for sequence in (0, 5, 6))
        assert (await first).sequence == 1
        for refused in (stale, follows):
            with pytest.raises(SequenceConflictError):
                await refused
        assert len(await collected(store.read("a/1"))) == 1

    async def test_one_bad_append_harms_nobody_else_in_its_batch(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/0", 0, [received("c-1")]))
        garbage = note()._replace(kind=None)  # type: ignore[arg-type]
        futures = [
            store.submit(notes("a/1", 0)),
            store.submit(Append("a/0", 1, [received("c-1")])),
            store.submit(Append("a/2", 0, [garbage])),
            store.submit(notes("a/1", 1)),
            store.submit(notes("a/3", 7)),
            store.submit(notes("a/4", 0)),
        ]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [
            Receipt,
            DuplicateCommandError,
            AppendRefusedError,
            Receipt,
            SequenceConflictError,
            Receipt,
        ]
        assert_chained(await collected(store.read_all()))
        assert await store.journals() == [("a/0", 1), ("a/1", 2), ("a/4", 1)]

    async def test_a_command_id_is_received_once_in_a_journal(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [received("c-1"), note("of the same turn", command_id="c-1")]))
        await store.append(Append("a/2", 0, [received("c-1")]))
        with pytest.raises(DuplicateCommandError) as refused:
            await store.append(Append("a/1", 2, [received("c-1")]))
        assert (refused.value.journal, refused.value.command_id) == ("a/1", "c-1")

    async def test_a_command_id_twice_in_one_batch_is_received_once(self, place: Place) -> None:
        store = await place.open()
        first = store.submit(Append("a/1", 0, [received("c-1")]))
        second = store.submit(Append("a/1", 1, [received("c-1")]))
        assert (await first).sequence == 1
        with pytest.raises(DuplicateCommandError):
            await second

    @pytest.mark.parametrize("journal", ["", "a/\x00", "a/\ud800", "a/\n", "x" * 513])
    async def test_a_journal_whose_name_cannot_be_kept_is_refused_before_it_is_in_line(
        self, place: Place, journal: str
    ) -> None:
        store = await place.open()
        with pytest.raises(AdmissionError):
            store.submit(notes(journal, 0))
        assert (await store.append(notes("a/1", 0))).position == 1

    async def test_an_append_without_entries_is_refused(self, place: Place) -> None:
        store = await place.open()
        with pytest.raises(AppendRefusedError):
            await store.append(Append("a/1", 0, []))

    # --- order, time, chain -------------------------------------------------------------------

    async def test_positions_are_gapless_over_all_journals_and_sequences_in_each(self, place: Place) -> None:
        store = await place.open()
        await fill(store, {"a/1": 5, "b/1": 3, "a/2": 1})
        entries = await collected(store.read_all())
        assert [entry.position for entry in entries] == list(range(1, 10))
        assert [entry.sequence for entry in entries if entry.journal == "b/1"] == [1, 2, 3]
        assert_chained(entries)

    async def test_time_does_not_go_back_when_the_clock_does_and_the_step_back_is_recorded(self, place: Place) -> None:
        clock = SetClock()
        store = await place.open(clock=clock)
        await store.append(notes("a/1", 0))
        clock.us -= 5_000
        await store.append(notes("a/1", 1))
        clock.us += 9_000
        await store.append(notes("a/1", 2))
        entries = await collected(store.read_all())
        assert [entry.recorded_at_us - START_US for entry in entries] == [0, 0, 4_000]
        assert [entry.clock_back_us for entry in entries] == [0, 5_000, 0]
        assert store.recorded_at_us == START_US + 4_000

    async def test_a_store_that_is_opened_again_goes_on_where_it_stood(self, place: Place) -> None:
        store = await place.open(clock=SetClock())
        receipts = await fill(store, {"a/1": 2, "a/2": 1})
        await store.close()
        again = await place.open(clock=SetClock(START_US - 1))
        assert (again.acknowledged, again.recorded_at_us) == (3, START_US)
        assert await again.head("a/1") == Head(2, receipts[-1].entry_hash)
        await again.append(notes("a/1", 2))
        entries = await collected(again.read_all())
        assert_chained(entries)
        assert entries[-1].epoch > entries[0].epoch

    async def test_a_journal_of_another_workspace_is_refused(self, place: Place) -> None:
        store = await place.open(workspace="one")
        await store.close()
        with pytest.raises(JournalForeignError, match="one"):
            await place.open(workspace="two")

    # --- waiting ------------------------------------------------------------------------------

    async def test_cancelling_the_wait_does_not_touch_the_append(self, place: Place) -> None:
        store = await place.open()
        waiting = asyncio.create_task(store.append(notes("a/1", 0)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await store.append(notes("a/1", 1))).sequence == 2

    async def test_cancelling_the_future_of_a_submit_does_not_touch_the_append_either(self, place: Place) -> None:
        store = await place.open()
        future = store.submit(notes("a/1", 0))
        future.cancel()
        assert (await store.append(notes("a/1", 1))).sequence == 2

    async def test_a_full_queue_refuses_and_what_was_refused_is_not_written(self, place: Place) -> None:
        store = await place.open(max_pending_entries=10)
        futures = [store.submit(notes("a/1", sequence)) for sequence in range(10)]
        with pytest.raises(JournalBusyError):
            store.submit(notes("a/1", 10))
        await asyncio.gather(*futures)
        assert (await store.append(notes("a/1", 10))).position == 11

    async def test_an_append_that_can_never_fit_is_refused_for_good(self, place: Place) -> None:
        store = await place.open(max_pending_entries=10)
        with pytest.raises(AppendRefusedError):
            store.submit(notes("a/1", 0, 11))

    async def test_room_slows_a_crowd_of_producers_down_so_that_none_is_refused(self, place: Place) -> None:
        store = await place.open(max_pending_entries=20)
        journals = [f"a/{number}" for number in range(200)]

        async def produce(journal: str) -> None:
            for sequence in range(3):
                await store.room()
                store.submit(notes(journal, sequence))

        await asyncio.gather(*(produce(journal) for journal in journals))
        await store.close()
        again = await place.open()
        assert await again.journals() == sorted((journal, 3) for journal in journals)

    async def test_room_is_given_to_the_next_when_those_before_leave_it_unused(self, place: Place) -> None:
        store = await place.open(max_pending_entries=4)
        waiting_long = [store.submit(notes("a/1", sequence)) for sequence in range(4)]
        idle = [asyncio.create_task(store.room()) for _ in range(50)]
        await asyncio.sleep(0)
        idle[0].cancel()
        outcomes = await asyncio.gather(*idle, return_exceptions=True)
        assert outcomes[1:] == [None] * 49
        await asyncio.gather(*waiting_long)

    # --- what is known ------------------------------------------------------------------------

    async def test_listeners_hear_of_rising_positions_before_anybody_who_waits_goes_on(self, place: Place) -> None:
        store = await place.open()
        heard: list[int] = []
        store.on_commit(heard.append)

        async def append(journal: str) -> None:
            for sequence in range(20):
                receipt = await store.append(notes(journal, sequence))
                assert heard[-1] >= receipt.position
                assert store.acknowledged >= receipt.position

        await asyncio.gather(*(append(f"a/{number}") for number in range(10)))
        assert heard == sorted(set(heard))
        assert heard[-1] == store.acknowledged == 200

    async def test_a_listener_that_fails_harms_neither_the_append_nor_the_others(self, place: Place) -> None:
        store = await place.open()
        heard: list[int] = []

        def fail(position: int) -> None:
            raise RuntimeError(position)

        store.on_commit(fail)
        store.on_commit(heard.append)
        assert (await store.append(notes("a/1", 0))).position == 1
        assert heard == [1]

    async def test_the_head_of_an_unknown_journal_is_its_beginning(self, place: Place) -> None:
        store = await place.open()
        assert await store.head("nobody/1") == Head(0, genesis("default", "nobody/1"))
        receipt = await store.append(notes("nobody/1", 0, 3))
        assert await store.head("nobody/1") == Head(3, receipt.entry_hash)

    # --- who writes ------------------------------------------------------------------------------

    async def test_a_journal_is_acquired_at_its_head_and_written_from_there(self, place: Place) -> None:
        store = await place.open()
        assert await store.acquire("a/1") == Head(0, genesis("default", "a/1"))
        receipt = await store.append(notes("a/1", 0, 2))
        assert await store.acquire("a/1") == Head(2, receipt.entry_hash)
        after = await store.append(notes("a/1", 2))
        entries = await collected(store.read("a/1"))
        assert [each.epoch for each in entries] == sorted(each.epoch for each in entries)
        assert await store.refresh() == store.acknowledged == after.position

    async def test_each_process_is_a_writer_of_its_own_number(self, place: Place) -> None:
        first = await place.open()
        number = first.writer
        await first.close()
        assert 0 < number < (await place.open()).writer

    async def test_a_process_that_is_fenced_says_so_once_and_writes_nothing_more(self, place: Place) -> None:
        store, heard = await place.open(), list[LoomError]()
        await store.append(notes("a/1", 0))
        store.on_fenced(heard.append)
        store.on_fenced(lambda error: heard.append(error))
        await store.fence(store.writer)
        await store.fence(store.writer)
        assert [type(each) for each in heard] == [WriterFencedError, WriterFencedError]
        with pytest.raises(WriterFencedError):
            await store.append(notes("a/1", 1))
        store.on_fenced(heard.append)
        assert len(heard) == 3
        assert len(await collected(store.read_all())) == 1

    async def test_a_writer_that_has_ended_may_be_fenced_and_one_that_never_was_may_not(self, place: Place) -> None:
        first = await place.open()
        ended = first.writer
        await first.close()
        store = await place.open()
        await store.fence(ended)
        with pytest.raises(AppendRefusedError, match="expected"):
            await store.fence(store.writer + 1_000)
        await store.append(notes("a/1", 0))

    # --- finding ---------------------------------------------------------------------------------

    async def test_a_command_is_found_by_its_id(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [note(command_id="c-2"), received("c-1"), note(command_id="c-1")]))
        found = await store.find_command("a/1", "c-1")
        assert found is not None
        assert (found.sequence, found.kind) == (2, "command_received")
        assert await store.find_command("a/1", "c-2") is None
        assert await store.find_command("a/2", "c-1") is None

    async def test_an_own_id_of_a_source_is_taken_once_in_the_workspace(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [mark("decision_observed", "bank:1"), note(command_id="bank:2")]))
        with pytest.raises(DuplicateOwnIdError, match="bank:1"):
            await store.append(Append("a/2", 0, [mark("decision_observed", "bank:1")]))
        assert await store.own_ids(["bank:1", "bank:2"]) == {"bank:1": 1}
        assert await store.own_ids([]) == {}

    async def test_entries_are_found_by_their_positions_and_those_that_are_not_there_are_left_out(
        self, place: Place
    ) -> None:
        store = await place.open(page=2)
        receipts = await fill(store, {"a/1": 700, "a/2": 1})
        found = await store.at([receipts[0].position, 700, 3, 3, 0, -1, 702])
        assert list(found) == [1, 3, 700]
        assert [found[at].entry_hash for at in (1, 3)] == [receipts[0].entry_hash, receipts[2].entry_hash]
        assert len(await store.at(range(1, 1_000))) == 701
        assert await store.at([]) == {}

    async def test_parts_of_entries_are_those_of_their_bodies(self, place: Place) -> None:
        store = await place.open(page=2)
        numbers = [1, 2.50, -0.0, 1e300, 9007199254740991]
        values: list[Any] = [
            {"a": {"b": numbers}, "c": 'é\u2028"\\n'},
            {"a": 7, "c": None},
            {"a": {"b": {}}},
            "no object",
            [{"a": 1}],
            None,
            True,
            {"c": {"": "empty", "a.b": 1}},
        ]
        drafts = [received(f"c-{number}", payload) for number, payload in enumerate(values)]
        await store.append(Append("a/1", 0, drafts))
        paths = ("payload.a.b", "payload.c", "payload", "nothing.there", "correlation_id")
        positions = range(0, 20)
        read = await store.parts(positions, paths)
        whole = await store.at(positions)
        assert read == {at: Part.of(entry, paths) for at, entry in whole.items()}
        assert [json.dumps(part.values) for part in read.values()] == [
            json.dumps(Part.of(entry, paths).values) for entry in whole.values()
        ]
        assert len(read) == len(values)
        with pytest.raises(ValueError, match="two or more"):
            await store.parts([1], ["payload"])

    async def test_parts_of_commands_are_found_by_their_turns(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [received("c-1", {"a": 1}), note(command_id="c-1"), received("c-2")]))
        await store.append(Append("a/2", 0, [received("c-1", {"a": 2})]))
        turns = [("a/1", "c-1"), ("a/2", "c-1"), ("a/2", "c-2"), ("a/3", "c-1"), ("a/1", "c-1")]
        found = await store.commands(turns, ("payload.a", "correlation_id"))
        assert {turn: part.values for turn, part in found.items()} == {
            ("a/1", "c-1"): (1, "c-1"),
            ("a/2", "c-1"): (2, "c-1"),
        }
        assert found["a/2", "c-1"].position == 4
        assert await store.commands([], ("payload", "by")) == {}

    async def test_steps_are_found_by_their_sequence(self, place: Place) -> None:
        store = await place.open()
        await store.append(Append("a/1", 0, [received("c-1"), note(command_id="c-1"), received("c-2")]))
        await store.append(Append("a/2", 0, [received("c-1")]))
        found = await store.steps({("a/1", 2), ("a/2", 1), ("a/2", 2), ("a/3", 1)})
        assert {place: each.position for place, each in found.items()} == {("a/1", 2): 2, ("a/2", 1): 4}
        assert all((each.journal, each.sequence) == place and each.body for place, each in found.items())
        assert await store.steps(set()) == {}

    async def test_the_marks_of_turns_are_found_by_the_turn(self, place: Place) -> None:
        store = await place.open()
        for kind in sorted(MARKS):
            await store.append(Append(f"a/{kind}", 0, [received("c-1"), mark(kind, "c-1"), note(command_id="c-1")]))
        await store.append(Append("a/1", 0, [received("c-1"), mark("turn_failed", "c-2"), mark("turn_failed", None)]))
        for kind in sorted(MARKS):
            (found,) = await store.marks([(f"a/{kind}", "c-1"), (f"a/{kind}", "c-2")])
            assert (found.journal, found.kind, found.command_id, found.sequence) == (f"a/{kind}", kind, "c-1", 2)
        everything = await store.marks([("a/1", "c-2"), *((f"a/{kind}", "c-1") for kind in MARKS), ("a/9", "c-1")])
        assert [entry.position for entry in everything] == [2, 5, 8, 11, 14, 17, 20]
        assert await store.marks([]) == []
        assert len(await store.marks([("a/1", f"c-{number}") for number in range(1_200)])) == 1

    async def test_turns_without_an_end_are_found_and_those_with_one_are_not(self, place: Place) -> None:
        store = await place.open()
        for number, kind in enumerate(sorted(MARKS - ENDINGS), start=1):
            await store.append(Append(f"a/{number}", 0, [received("c-1"), mark(kind, "c-1")]))
        for number, kind in enumerate(sorted(ENDINGS)):
            turns = [received("c-1"), received("c-2"), mark(kind, f"c-{1 + number % 2}"), note(command_id="c-1")]
            await store.append(Append(f"b/{number}", 0, turns))
        found = await collected(store.unfinished())
        assert [(entry.journal, entry.command_id) for entry in found] == [
            ("a/1", "c-1"),
            ("a/2", "c-1"),
            ("a/3", "c-1"),
            ("b/0", "c-2"),
            ("b/1", "c-1"),
            ("b/2", "c-2"),
        ]
        assert {entry.kind for entry in found} == {"command_received"}
        (asked,) = await collected(store.unfinished(asked=True))
        assert asked.entry_hash == found[sorted(MARKS - ENDINGS).index("approval_requested")].entry_hash
        assert [entry.position for entry in found] == sorted(entry.position for entry in found)
        await store.append(Append("c/1", 0, [received(f"c-{number}") for number in range(120)]))
        assert len(await collected(store.unfinished())) == 126

    async def test_resolve_tells_what_was_appended_from_what_was_not(self, place: Place) -> None:
        store = await place.open()
        receipt = await store.append(notes("a/1", 0, 2))

        def unknown(sequence: int, entry_hash: bytes) -> AppendUnknownError:
            return AppendUnknownError("?", journal="a/1", sequence=sequence, entry_hash=entry_hash)

        assert await store.resolve(unknown(2, receipt.entry_hash)) == receipt
        assert await store.resolve(unknown(2, b"x" * 32)) is None
        assert await store.resolve(unknown(3, receipt.entry_hash)) is None

    # --- reading ------------------------------------------------------------------------------

    @pytest.mark.parametrize("page", [1, 2, 7, 100])
    async def test_reading_goes_page_by_page_and_neither_skips_nor_repeats(self, place: Place, page: int) -> None:
        store = await place.open(page=page)
        await fill(store, {"a/1": 14, "a/2": 6})
        assert [entry.position for entry in await collected(store.read_all())] == list(range(1, 21))
        assert [entry.sequence for entry in await collected(store.read("a/1"))] == list(range(1, 15))

    async def test_reading_takes_what_is_after_and_until(self, place: Place) -> None:
        store = await place.open(page=3)
        await fill(store, {"a/1": 10, "a/2": 10})
        assert [e.sequence for e in await collected(store.read("a/1", after=2, until=6))] == [3, 4, 5, 6]
        assert [e.position for e in await collected(store.read_all(after=18))] == [19, 20]
        assert [e.position for e in await collected(store.read_all(after=5, until=5))] == []
        assert await collected(store.read("a/1", after=10)) == []
        assert await collected(store.read("nobody/1")) == []

    async def test_a_reader_that_stops_halfway_leaves_the_store_working(self, place: Place) -> None:
        store = await place.open(page=2)
        await fill(store, {"a/1": 6})
        async for entry in store.read_all():
            if entry.position == 3:
                break
        reading = asyncio.create_task(collected(store.read_all()))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await store.append(notes("a/1", 6))).position == 7
        assert len(await collected(store.read_all())) == 7

    async def test_journals_are_listed_by_name_in_pages(self, place: Place) -> None:
        store = await place.open()
        await fill(store, {"b/1": 2, "a/1": 1, "a/2": 3, "é/1": 1})
        assert await store.journals() == [("a/1", 1), ("a/2", 3), ("b/1", 2), ("é/1", 1)]
        assert await store.journals(limit=2) == [("a/1", 1), ("a/2", 3)]
        assert await store.journals(after="a/2", limit=1) == [("b/1", 2)]
        assert await store.journals(after="é/1") == []

    # --- the end ------------------------------------------------------------------------------

    async def test_close_writes_what_is_in_line_and_closing_again_is_harmless(self, place: Place) -> None:
        store = await place.open()
        futures = [store.submit(notes("a/1", sequence)) for sequence in range(2_500)]
        await asyncio.gather(store.close(), store.close())
        await store.close()
        assert [future.result().sequence for future in futures] == list(range(1, 2_501))

    async def test_a_close_that_is_cancelled_goes_on_to_its_end(self, place: Place) -> None:
        store = await place.open()
        future = store.submit(notes("a/1", 0))
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await store.close()
        assert future.result().sequence == 1
        again = await place.open()
        assert again.acknowledged == 1

    async def test_a_closed_store_says_so_whatever_it_is_asked(self, place: Place) -> None:
        store = await place.open()
        await store.close()
        with pytest.raises(JournalClosedError):
            store.submit(notes("a/1", 0))
        with pytest.raises(JournalClosedError):
            await store.head("a/1")
        with pytest.raises(JournalClosedError):
            await store.room()
        with pytest.raises(JournalClosedError):
            await store.find_command("a/1", "c-1")
        with pytest.raises(JournalClosedError):
            await collected(store.read("a/1"))
        with pytest.raises(JournalClosedError):
            await store.journals()
        with pytest.raises(JournalClosedError):
            await store.at([1])
        with pytest.raises(JournalClosedError):
            await store.marks([("a/1", "c-1")])
        with pytest.raises(JournalClosedError):
            await collected(store.unfinished())
        with pytest.raises(JournalClosedError):
            await store.resolve(AppendUnknownError("?", journal="a/1", sequence=1, entry_hash=b""))
