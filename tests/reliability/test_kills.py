"""R1 and R17: writers that are killed, and writers that are stopped while another takes over."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from loom.errors import JournalBusyError, JournalForeignError, JournalNotFoundError, JournalReadOnlyError
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterLock, WriterOptions
from tests.journal.support import notes
from tests.reliability.board import Tally, row
from tests.reliability.forks import Forked, Zygote
from tests.reliability.journals import check_verified, query, rows_of

KILLS = 150
LIVES = 15
"""How often one journal is killed before the next one is begun."""

JOURNALS = ("a/1", "a/2", "b/1")


class Workspace:
    """A journal whose writers are killed, and what they had acknowledged before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.acknowledged: dict[int, tuple[str, int, str]] = {}
        self.commands: dict[str, int] = dict.fromkeys(JOURNALS, 0)

    def begin(self, zygote: Zygote, *, pipelined: int) -> Forked:
        first = {journal: last + 1 for journal, last in self.commands.items()}
        return zygote.fork("append_until_killed", path=str(self.path), first=first, pipelined=pipelined)

    def hear(self, line: str) -> None:
        words = line.split()
        if words[0] == "known":
            self._received(words[1], words[2])
        else:
            _, command_id, position, journal, sequence, digest = words
            self._received(journal, command_id)
            self.acknowledged[int(position)] = journal, int(sequence), digest

    def _received(self, journal: str, command_id: str) -> None:
        self.commands[journal] = max(self.commands[journal], int(command_id[1:]))

    def begun(self) -> bool:
        """Tell whether the journal was made: a writer killed before that leaves nothing, or an empty database."""
        with contextlib.suppress(JournalNotFoundError, JournalForeignError, JournalReadOnlyError):
            return bool(query(self.path, "SELECT 1 FROM meta"))
        return False

    def check(self, tally: Tally) -> None:
        check_verified(tally, self.path, self.path.name)
        rows = rows_of(self.path)
        found = {row.position: (row.journal, row.sequence, row.entry_hash.hex()) for row in rows}
        lost = [position for position, said in self.acknowledged.items() if found.get(position) != said]
        tally.check(not lost, f"lost {lost[:5]} of {len(self.acknowledged)} acknowledged")
        received = [(row.journal, row.command_id) for row in rows if row.kind == "command_received"]
        tally.check(len(set(received)) == len(received), "a command is there twice")
        for journal in JOURNALS:
            numbers = [int(str(command)[1:]) for name, command in received if name == journal]
            tally.check(numbers == list(range(1, len(numbers) + 1)), f"{journal} has a gap among its commands")
        tally.check(len(rows) == 2 * len(received), "half of an append is there")


@pytest.mark.seconds(40)
@pytest.mark.parametrize("writers", [1, 3])
@row("R1")
def test_a_writer_that_is_killed_at_any_moment_has_lost_nothing_it_acknowledged(
    tmp_path: Path, tally: Tally, zygote: Zygote, writers: int
) -> None:
    """Three writers own three workspaces, as one process writes a journal; each is killed and begun anew."""
    done = 0
    while done < KILLS:
        workspaces = [Workspace(tmp_path / f"{done}-{number}.db") for number in range(writers)]
        for _ in range(LIVES):
            kill_all(workspaces, tally, zygote)
            done += writers
        assert all(workspace.acknowledged for workspace in workspaces)


def kill_all(workspaces: Sequence[Workspace], tally: Tally, zygote: Zygote) -> None:
    """Let one writer a workspace run, kill each at a moment of its own, and look at what is left."""
    dice = tally.dice
    running = [(each, each.begin(zygote, pipelined=dice.choice((1, 4)))) for each in workspaces]
    for workspace, child in running:
        with child:
            if dice.random() < 0.25:  # while it opens, recovers or begins
                pause(dice.random() * 0.03)
            else:
                for _ in range(dice.randrange(1, 60)):
                    workspace.hear(child.line())
                pause(dice.random() * 0.002)
            code = child.kill()
            tally.check(code == -signal.SIGKILL, f"the writer ended by itself [{code}]")
            for line in child.rest():
                workspace.hear(line)
        tally.tried()
        if workspace.acknowledged or workspace.begun():
            workspace.check(tally)


def pause(seconds: float) -> None:
    """Let a moment pass that is shorter than what sleeping can do: it is part of what is random here."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


# --- zombies -------------------------------------------------------------------------------------


@row("R17")
async def test_a_writer_that_was_overtaken_while_it_was_stopped_writes_nothing_more(
    tmp_path: Path, tally: Tally, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WriterLock, "_try_acquire", lambda self: True)
    for number in range(10):
        path = tmp_path / f"{number}.db"
        with zygote.fork("append_until_fenced", path=str(path), journal="a/1", checks_epoch=True) as zombie:
            epoch, fence = await overtake(path, zombie, tally, appends=number % 2 * 5)
            said = [line.split() for line in zombie.rest()]
            tally.check(zombie.wait() == 0, "the zombie did not end by itself")
        tally.tried()
        tally.check(said and said[-1][:2] == ["refused", "WriterFencedError"], f"the zombie ended with {said[-1:]}")
        after = query(path, "SELECT position FROM entries WHERE epoch = ? AND position > ?", epoch, fence)
        tally.check(not after, f"{len(after)} entries of the zombie after the fence")
        check_verified(tally, path, path.name)


@row("R17")
async def test_a_writer_that_did_not_check_its_epoch_would_write_on_as_a_zombie(
    tmp_path: Path, tally: Tally, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WriterLock, "_try_acquire", lambda self: True)
    found = 0
    for number in range(3):
        path = tmp_path / f"{number}.db"
        with zygote.fork("append_until_fenced", path=str(path), journal="a/1", checks_epoch=False) as zombie:
            epoch, fence = await overtake(path, zombie, tally, appends=0)
            for _ in range(20):
                zombie.line()
        after = query(path, "SELECT position FROM entries WHERE epoch = ? AND position > ?", epoch, fence)
        found += bool(after)
    tally.control(trials=3, found=found)


async def overtake(path: Path, zombie: Forked, tally: Tally, *, appends: int) -> tuple[int, int]:
    """Stop a writer, take its journal over past its lock, let it go on; return its epoch, and where the fence is."""
    epoch = int(zombie.line().split()[1])
    for _ in range(tally.dice.randrange(5, 50)):
        zombie.line()
    while True:
        zombie.signal(signal.SIGSTOP)
        try:
            options = SqliteOptions(writer=WriterOptions(busy_timeout_s=0.2, min_free_bytes=0))
            store = await SqliteStore.open(path, options=options)
            break
        except JournalBusyError:  # it was stopped in the middle of a transaction
            zombie.signal(signal.SIGCONT)
    assert store._writer._connection.epoch == epoch + 1
    for at in range(appends):
        await store.append(notes("b/1", at))
    fence = store.acknowledged
    await store.close()
    zombie.signal(signal.SIGCONT)
    return epoch, fence
