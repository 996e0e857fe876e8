"""The heads that a process writes down on its own disk, outside of the server: they give away what is gone there.

A server that was restored to an earlier point, or a standby that was promoted without all that was acknowledged, is
behind them: the journal was cut.
"""

from __future__ import annotations

from pathlib import Path

from loom.errors import JournalCorruptError, JournalReadOnlyError
from loom.journal.postgres.reader import PostgresReader
from loom.journal.postgres.url import PostgresUrl
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.heads import HeadsFile, Loss, WrittenHead

__all__ = ["Anchor"]


class Anchor:
    """The heads file of one process, compared with the server when the journal is opened."""

    def __init__(self, files: JournalFiles, url: PostgresUrl, reader: PostgresReader, *, every: int) -> None:
        self._file = HeadsFile(files.heads)
        self._path = files.heads
        self._url = url
        self._reader = reader
        self._every = every
        self._written = 0
        self._set_aside: Path | None = None
        self.loss: Loss | None = None
        """The head that is not true any more, where that was accepted."""

    async def check(self, *, accept_loss: bool) -> None:
        """Refuse a journal that was cut or rewritten before the last head that was written down here.

        With `accept_loss` the heads that are not true any more go to another file when the next one is written: who
        opens the journal has the time to journal the loss before that.
        """
        try:
            last = self._file.last()
        except OSError as error:
            raise JournalReadOnlyError(
                f"heads file [{self._path}] cannot be read [{error.strerror}]; expected a file of the owner of the "
                "journal: correct its permissions"
            ) from error
        if last is None:
            return
        found = (await self._reader.at([last.position])).get(last.position)
        if found is not None and found.entry_hash == last.entry_hash:
            self._written = last.position
            return
        tail = await self._reader.tail()
        if accept_loss:
            self.loss = Loss(last, tail)
            self._set_aside = self._path.with_name(f"{self._path.name}.before-{tail}")
            return
        what = f"CUT: it ends at [{tail}]" if found is None else "REWRITTEN"
        raise JournalCorruptError(
            f"journal [{self._url}] was {what}, and this node has written down a head at [{last.position}] "
            f"[{last.entry_hash.hex()[:12]}…] in [{self._path.name}]; expected that entry: restore the server with all "
            "that it had acknowledged, or accept the loss in a person's name: `loom run --accept-loss NAME`"
        )

    async def after(self, position: int) -> None:
        """Write a head down where one is due."""
        if position - self._written >= self._every:
            await self.write(position)

    async def write(self, position: int) -> None:
        """Write down the head at a position; the file is small, and synced."""
        if position <= self._written:
            return
        found = (await self._reader.at([position])).get(position)
        if found is not None:
            if self._set_aside is not None:
                self._path.rename(self._set_aside)
                self._set_aside = None
            self._file.append(WrittenHead(position, found.entry_hash))
            self._written = position
