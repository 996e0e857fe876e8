"""Notices as an extension: what starts with a loom whose config names endpoints, and what can be asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

import anyio
from pydantic import BaseModel, ConfigDict, JsonValue

from loom.config import LoomConfig
from loom.errors import NoticeLagError
from loom.extension import Check, Extension, Host, Named, Operation, installed
from loom.identity import By
from loom.notices.config import NoticesConfig
from loom.notices.delivery import Delivery
from loom.notices.notice import Notices
from loom.notices.register import DeadLetter, NoticesRegister
from loom.notices.watching import Watch

__all__ = ["NoticeSender", "extension"]


class NoticeSender:
    """Sends notices as long as the loom is open: the part that `loom.part(NoticeSender)` returns."""

    def __init__(self, host: Host, config: NoticesConfig) -> None:
        self.register = NoticesRegister(host.store, make_draft=host.draft)
        self.watch = Watch(host, config, self.register)
        self._host = host
        self._config = config
        self._deliveries: Sequence[Delivery] = ()

    async def retry(self, notice_id: str | None, *, by: By) -> tuple[DeadLetter, ...]:
        """Have a dead letter sent again, or all of them, in the name of a person."""
        return await self.register.retry(notice_id, by=by)

    async def settled(self, position: int | None = None, *, timeout_s: float = 30.0) -> None:
        """Wait until all up to a position is delivered or given up, by default the last acknowledged one.

        Raises `NoticeLagError` where that takes too long.
        """
        wanted = self._host.store.acknowledged if position is None else position
        for delivery in self._deliveries:
            with anyio.move_on_after(timeout_s):
                await delivery.settled(wanted)
            if delivery.position < wanted:
                raise NoticeLagError(
                    f"endpoint [{delivery.name}] is at [{delivery.position}]; expected [{wanted}] within "
                    f"[{timeout_s:g}] s: see `loom notices`"
                )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[NoticeSender]:
        """Deliver and watch meanwhile; a loom that does not resume turns only answers questions."""
        await self.register.load()
        if not self._host.resumes or not self._config.endpoints:
            yield self
            return
        more = {kind: what for each in installed().values() for kind, what in each.notices.items()}
        notices = Notices(self._host.store.workspace, more=more)
        self._deliveries = tuple(
            Delivery(
                name,
                endpoint,
                self._config,
                store=self._host.store,
                register=self.register,
                notices=notices,
                now_s=lambda: int(self._host.now().timestamp()),
            )
            for name, endpoint in self._config.endpoints.items()
        )
        for delivery in self._deliveries:
            await delivery.begin()
        self._host.store.on_commit(self._wake)
        children = [
            self._host.background.keep_running(each.run, name=f"loom-notices {each.name}") for each in self._deliveries
        ]
        children.append(self._host.background.keep_running(self.watch.run, name="loom-notices-watch"))
        if self._config.verify_every_s:
            children.append(self._host.background.keep_running(self.watch.run_verify, name="loom-notices-verify"))
        try:
            yield self
        finally:
            for child in children:
                child.cancel()
            for delivery in self._deliveries:
                await delivery.close()

    def _wake(self, _: int) -> None:
        for delivery in self._deliveries:
            delivery.wake.set()


class RetryNotice(BaseModel):
    """Which dead letter is sent again, or all of them where there is no id; and who says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None = None
    by: Named


async def _retry(sender: NoticeSender, given: RetryNotice) -> JsonValue:
    return [each.notice_id for each in await sender.retry(given.id, by=given.by)]


@contextlib.asynccontextmanager
async def _start(host: Host) -> AsyncIterator[NoticeSender]:
    section = host.config.sections.get("notices")
    config = section if isinstance(section, NoticesConfig) else NoticesConfig()
    async with NoticeSender(host, config).running() as sender:
        yield sender


def _checks(config: LoomConfig) -> Iterable[Check]:
    section = config.sections.get("notices")
    if not isinstance(section, NoticesConfig) or not section.endpoints:
        return
    names = ", ".join(section.endpoints)
    yield Check("ok", "notices", f"go to {names}: signed; `loom notices` says how far each is")
    if section.base_url is None:
        yield Check(
            "look", "notices", "they have no links", "set base_url in notices: to where `loom serve` is reached"
        )


extension = Extension(
    name="notices",
    sections={"notices": NoticesConfig},
    operations={"retry": Operation(RetryNotice, _retry)},
    start=_start,
    checks=_checks,
)
