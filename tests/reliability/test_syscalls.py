"""R2 and R3: the process dies, or is told of an error, at every single write-class system call."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import tempfile
from pathlib import Path

import pytest

from loom.clock import SystemClock
from loom.errors import JournalForeignError, JournalNotFoundError, JournalReadOnlyError
from loom.journal import Append, Receipt
from loom.journal.sqlite import JournalFiles
from loom.journal.sqlite.connection import connect_reader
from loom.journal.sqlite.staging import Outcome, Tail
from loom.journal.sqlite.writer import Writer
from tests.journal.support import note
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.journals import check_verified, query, rows_of
from tests.reliability.shim import Mode
from tests.reliability.shimmed import options

ERRORS = ("EIO", "ENOSPC")


@pytest.mark.seconds(50)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [Mode.KILL, Mode.TEAR], ids=lambda mode: mode.name.lower())
@row("R2")
def test_a_process_that_dies_at_any_system_call_has_lost_nothing_it_acknowledged(
    tally: Tally, shimmed: Zygote, mode: Mode, tmp_path: Path
) -> None:
    for at in range(1, calls(shimmed, tmp_path) + 1):
        path = tmp_path / f"{at}" / "journal.db"
        path.parent.mkdir()
        code = trial(tally, shimmed, path, mode=mode, at=at, error=0, leaves=False)
        tally.check(code == 137, f"call {at}: the process ended with [{code}]")
        check_goes_on(tally, path, f"{mode.name} at call {at}")
        shutil.rmtree(path.parent)


@pytest.mark.seconds(50)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [Mode.FAIL_ONCE, Mode.FAIL_ALWAYS], ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("error", ERRORS)
@row("R3")
def test_an_error_at_any_system_call_is_answered_for_rightly(
    tally: Tally, shimmed: Zygote, mode: Mode, error: str, tmp_path: Path
) -> None:
    """Half of the processes go on after the error, half leave at once without closing anything."""
    for at in range(1, calls(shimmed, tmp_path) + 1):
        path = tmp_path / f"{at}" / "journal.db"
        path.parent.mkdir()
        trial(tally, shimmed, path, mode=mode, at=at, error=getattr(errno, error), leaves=bool(at % 2))
        check_goes_on(tally, path, f"{mode.name} at call {at}")
        shutil.rmtree(path.parent)


@pytest.mark.seconds(40)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [Mode.FAIL_ONCE, Mode.FAIL_ALWAYS], ids=lambda mode: mode.name.lower())
@row("R3")
def test_an_answer_that_was_given_beside_a_reader_holds_after_the_process_has_left(
    tally: Tally, shimmed: Zygote, mode: Mode, tmp_path: Path
) -> None:
    """A reader keeps the log of a failed commit from being thrown away: what was said to be absent must stay so."""
    for at in range(1, calls(shimmed, tmp_path) + 1):
        path = tmp_path / f"{at}" / "journal.db"
        path.parent.mkdir()
        append_one(path)
        with contextlib.closing(connect_reader(path)) as reader:
            reader.execute("SELECT count(*) FROM entries").fetchall()
            said, _ = run(shimmed, path, mode=mode, at=at, error=errno.EIO, leaves=True)
        tally.tried()
        check_words(tally, path, said, f"{mode.name} at call {at}, beside a reader")
        check_goes_on(tally, path, f"{mode.name} at call {at}, beside a reader")
        shutil.rmtree(path.parent)


def calls(shimmed: Zygote, tmp_path: Path) -> int:
    """Return how many write-class calls the whole workload makes."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as name, shimmed.fork("count", path=f"{name}/journal.db") as child:
        said = child.rest()
    last = said[-1].split()
    assert last[0] == "seen"
    assert sum(line.startswith("ack ") for line in said) == 15
    assert int(last[1]) > 100
    return int(last[1])


def trial(tally: Tally, shimmed: Zygote, path: Path, *, mode: Mode, at: int, error: int, leaves: bool) -> int:
    """Run one child and hold every word of it against the file."""
    about = f"{mode.name} at call {at}" + (f" with {errno.errorcode[error]}" if error else "")
    said, code = run(shimmed, path, mode=mode, at=at, error=error, leaves=leaves)
    tally.tried()
    tally.check(code in (0, 137), f"{about}: the process ended with [{code}], saying {said[-1:]}")
    check_words(tally, path, said, about)
    return code


def run(shimmed: Zygote, path: Path, *, mode: Mode, at: int, error: int, leaves: bool) -> tuple[list[list[str]], int]:
    """Run one child; return what it said, and with which code it ended."""
    with shimmed.fork("struck", path=str(path), mode=mode, at=at, error=error, leaves=leaves) as child:
        said = [line.split() for line in child.rest()]
        return said, child.wait()


def check_words(tally: Tally, path: Path, said: list[list[str]], about: str) -> None:
    """See that what was acknowledged is there, what was refused is not, and what was resolved is as it was told."""
    there: dict[str, str] = {}
    if begun(path):
        check_verified(tally, path, about)
        there = {json.loads(row.body)["text"]: row.entry_hash.hex() for row in rows_of(path)}
    for word, *rest in said:
        tally.heard[word] += 1
        if word in ("ack", "resolved"):
            tally.check(there.get(rest[0]) == rest[1], f"{about}: [{word} {rest[0]}], and it is not there")
        elif word in ("refused", "absent"):
            tally.check(rest[0] not in there, f"{about}: [{' '.join((word, *rest))}], and it is there")


def check_goes_on(tally: Tally, path: Path, about: str) -> None:
    """Open the journal as the next process would, and append."""
    tail, outcome = append_one(path)
    went_on = isinstance(outcome, Receipt) and outcome.position == tail.position + 1
    tally.check(went_on, f"{about}: the next process got {outcome}")


def append_one(path: Path) -> tuple[Tail, Outcome]:
    """Open a journal, append one entry and close it; return where it stood, and what came of it."""
    writer = Writer(JournalFiles(path), workspace="default", options=options().writer, clock=SystemClock())
    tail = writer.open()
    head = writer.head("a/1")
    [outcome] = writer.commit([Append("a/1", head.sequence, [note("after")])])
    writer.close()
    return tail, outcome


def begun(path: Path) -> bool:
    """Tell whether the journal was made at all."""
    try:
        return bool(query(path, "SELECT 1 FROM meta"))
    except (JournalNotFoundError, JournalForeignError, JournalReadOnlyError):
        return False
