"""Delivers notices to one endpoint: each at least once, those of one subject in order.

The journal is the queue. What is read of it at once is bounded, and an endpoint that is down holds up no other: each
has a place of its own. A notice counts as delivered once the entry that says so is durable; a process that dies between
the answer and that entry sends it again, with the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Callable

from loom.errors import LoomError
from loom.journal.store import JournalStore
from loom.notices.config import EndpointConfig, NoticesConfig
from loom.notices.entries import NoticeDeadEntry, NoticeDeliveredEntry, NoticeRetriedEntry
from loom.notices.notice import Notice, Notices
from loom.notices.posting import Refused, post
from loom.notices.register import NoticesRegister
from loom.notices.signing import signed
from loom.telemetry import get_logger

__all__ = ["Delivery"]

_PAGE = 500
_MOST_PENDING = 1_000
_AT_ONCE = 8
_NOTE_EVERY = 1_000
_WORTH_NOTING = 50
_NOT_COUNTED = 2**62

_log = get_logger("loom.notices")


class Delivery:
    """Follows the journal for one endpoint: `run` it, again after a failure; `wake` it when there are new entries."""

    def __init__(
        self,
        name: str,
        endpoint: EndpointConfig,
        config: NoticesConfig,
        *,
        store: JournalStore,
        register: NoticesRegister,
        notices: Notices,
        now_s: Callable[[], int],
    ) -> None:
        self.name = name
        self.wake = asyncio.Event()
        self._endpoint = endpoint
        self._config = config
        self._store = store
        self._register = register
        self._notices = notices
        self._now_s = now_s
        self._tls = ssl.create_default_context() if endpoint.url.startswith("https:") else None
        self._read = 0
        self._pending: dict[str, int] = {}
        self._queues: dict[str, deque[Notice]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._moved = asyncio.Condition()

    @property
    def position(self) -> int:
        """The position up to which everything is settled."""
        return min(self._read, min(self._pending.values(), default=self._read + 1) - 1)

    async def begin(self) -> None:
        """Note where a new endpoint begins: with what comes from now on."""
        if self._register.position(self.name) is None:
            await self._register.reached(self.name, self._store.acknowledged)
        self._read = self._register.position(self.name) or 0

    async def run(self) -> None:
        """Deliver until it is cancelled; what was read and not settled is read again by the next call."""
        self._read = self._register.position(self.name) or 0
        self._pending, self._queues = {}, {}
        async with asyncio.TaskGroup() as group:
            await self._retry(group)
            while True:
                self.wake.clear()
                while self._read < self._store.acknowledged and len(self._pending) < _MOST_PENDING:
                    await self._page(group)
                await self.note()
                await self.wake.wait()

    async def note(self, *, at_least: int = _NOTE_EVERY) -> None:
        """Journal how far it is, where that is so many positions further than what is journaled."""
        if self.position - (self._register.position(self.name) or 0) >= at_least:
            await self._register.reached(self.name, self.position)

    async def close(self) -> None:
        """Journal how far it is, as far as that can be written; a later start reads on from there."""
        with contextlib.suppress(LoomError):
            await self.note(at_least=_WORTH_NOTING)

    async def settled(self, position: int) -> None:
        """Wait until everything up to a position is delivered or given up."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.position >= position)

    # --- reading --------------------------------------------------------------------------------

    async def _page(self, group: asyncio.TaskGroup) -> None:
        until = min(self._store.acknowledged, self._read + _PAGE)
        retries = False
        async for recorded in self._store.read_all(after=self._read, until=until):
            retries = retries or recorded.kind == NoticeRetriedEntry.kind
            notice = self._notices.of(recorded)
            if notice is None or not self._endpoint.wants(notice.notice_type):
                continue
            if not self._register.is_settled(self.name, notice.notice_id):
                self._enqueue(group, notice)
        self._read = until
        if retries:
            await self._retry(group)
        await self._notify()

    async def _retry(self, group: asyncio.TaskGroup) -> None:
        """Send again what a person asked for; it comes after what its subject has in the queue."""
        await self._register.load()
        letters = [each for each in self._register.to_retry(self.name) if each.notice_id not in self._pending]
        entries = await self._store.at([each.position for each in letters])
        for letter in letters:
            recorded = entries.get(letter.position)
            notice = None if recorded is None else self._notices.of(recorded)
            if notice is None:
                _log.warning("notice_gone", endpoint=self.name, notice=letter.notice_id)
            else:
                self._enqueue(group, notice, is_retry=True)

    def _enqueue(self, group: asyncio.TaskGroup, notice: Notice, *, is_retry: bool = False) -> None:
        # One that is sent again does not hold back the place in the journal: the dead letter is kept until it is there.
        self._pending[notice.notice_id] = _NOT_COUNTED if is_retry else notice.position
        queue = self._queues.get(notice.subject)
        if queue is not None:
            queue.append(notice)
            return
        self._queues[notice.subject] = deque([notice])
        group.create_task(self._in_order(notice.subject))

    async def _in_order(self, subject: str) -> None:
        queue = self._queues[subject]
        while queue:
            await self._deliver(queue[0])
            del self._pending[queue.popleft().notice_id]
            self.wake.set()
            await self._notify()
        del self._queues[subject]

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    # --- sending --------------------------------------------------------------------------------

    async def _deliver(self, notice: Notice) -> None:
        """Try until it is delivered, or given up after the last try; journal which."""
        body = notice.body(workspace=self._store.workspace, base_url=self._config.base_url)
        problem = ""
        for attempt in range(1, self._config.attempts + 1):
            about = {
                "endpoint": self.name,
                "notice_id": notice.notice_id,
                "notice_type": notice.notice_type,
                "subject": notice.subject,
                "position": notice.position,
                "attempts": attempt,
            }
            try:
                async with self._room:
                    headers = signed(self._endpoint.keys, notice_id=notice.notice_id, at_s=self._now_s(), body=body)
                    status = await post(
                        self._endpoint.url, body, headers, timeout_s=self._config.timeout_s, tls=self._tls
                    )
            except Refused as refused:
                problem = refused.problem
                _log.warning("notice_refused", **about, problem=problem)
                if refused.is_final or attempt == self._config.attempts:
                    await self._register.settle(NoticeDeadEntry.model_validate({**about, "problem": problem}))
                    return
            else:
                await self._register.settle(NoticeDeliveredEntry.model_validate({**about, "status": status}))
                return
            await asyncio.sleep(self._pause_s(attempt))

    def _pause_s(self, attempt: int) -> float:
        """Return how long to wait after a try: twice as long each time, and half of that by chance."""
        longest = min(self._config.longest_pause_s, self._config.first_pause_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only spreads tries
