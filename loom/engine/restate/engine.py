"""`RestateEngine`: an actor lives where Restate has called it last, and commands go there straight away.

Restate places an actor that lives nowhere, or whose node does not answer. The journal says who holds it; that is the
proof of ownership, and what is kept here is a cache of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from loom.actors.ownership import Ownership
from loom.background import awaiting
from loom.clock import us_from_datetime
from loom.engine.config import RestateConfig, cluster_of
from loom.engine.nodes.link import Link
from loom.engine.port import Delivery, Node, Reply
from loom.engine.restate.ingress import Ingress
from loom.engine.restate.service import application
from loom.engine.restate.watching import Watch
from loom.engine.restate.worker import Worker
from loom.engine.surroundings import Surroundings
from loom.errors import (
    AdmissionError,
    ConfigError,
    LoomClosedError,
    LoomError,
    NodeRefusedError,
    NodeUnreachableError,
    NotOwnerError,
    WriterFencedError,
)
from loom.journal.holders import Holder, knows_holders
from loom.telemetry import get_logger

__all__ = ["RestateEngine"]

_MOST_ROUNDS = 10_000
_POLL_S = 0.02

_log = get_logger("loom.engine")


class RestateEngine:
    """Deliveries by Restate; experimental. It needs a journal that several processes write."""

    def __init__(self, given: Surroundings) -> None:
        store = given.store
        if not knows_holders(store):
            raise ConfigError(
                "engine [restate] needs a journal that says who holds it; expected one on PostgreSQL: change [engine] "
                "or the journal"
            )
        settings = given.config.sections.get("restate")
        self._cluster = cluster_of(given.config)
        self._settings = settings if isinstance(settings, RestateConfig) else RestateConfig()
        self._store = store
        self._writer = given.store.writer
        self._clock = given.clock
        self._background = given.background
        self._link = Link(self._cluster, clock=given.clock, background=given.background)
        self._ingress = Ingress(self._settings, self._link.signer, self._link.node)
        app = application(
            self._handle,
            node=self._link.node,
            identity_key=self._settings.identity_key,
            longest_turn_s=self._settings.longest_turn_s,
        )
        self._worker = Worker(app, self._settings.worker, background=given.background)
        self._watch = Watch(
            self,
            given.store,
            self._link,
            background=given.background,
            claim_after_s=self._settings.claim_after_s,
        )
        self._node: Node | None = None
        self._here: set[str] = set()
        self._where: dict[str, str] = {}
        """The node of actors that live elsewhere, as far as is known: those that were asked for last."""
        self._rounds: dict[str, int] = {}
        """How often a delivery was handed over in vain: Restate keeps the answer to an id."""
        self._scheduled: dict[str, str] = {}
        given.store.on_fenced(lambda _: self._here.clear())

    # --- ownership ------------------------------------------------------------------------------

    @property
    def ownership(self) -> Ownership:
        """Says which actors live here: those that came here, and that no other process has acquired since."""
        return self

    def mine(self, journal: str) -> bool:
        """Tell whether an actor lives here."""
        return journal in self._here

    def address(self, journal: str) -> str | None:
        """Return where an actor lives, as far as is known."""
        if journal in self._here:
            return self._link.address
        return self._link.nodes.get(self._where.get(journal, ""))

    async def owner(self, journal: str) -> str | None:
        """Return the address of the process that holds a journal, if it is a node of this cluster."""
        holder = (await self.holders([journal])).get(journal)
        if holder is not None and not self.holds(holder):
            self.give_up([journal])
        return None if holder is None or holder.fenced or self._node_of(holder) is None else holder.address

    async def holders(self, journals: Collection[str]) -> dict[str, Holder]:
        """Return journal → holder, by the journal itself."""
        return dict(await self._store.holders(journals))

    def holds(self, holder: Holder | None) -> bool:
        """Tell whether a holder is this process."""
        return holder is not None and holder.writer == self._writer

    def give_up(self, journals: Collection[str]) -> None:
        """Note that actors live elsewhere now."""
        if self._here.intersection(journals):
            self._here.difference_update(journals)
            if self._node is not None:
                self._node.ownership_changed()

    # --- a life ---------------------------------------------------------------------------------

    async def serve(self, node: Node) -> None:
        """Take deliveries of the other nodes and of Restate."""
        await self._link.start(node)
        self._node = node
        self._worker.start()
        self._background.start(self._register(), name="loom-restate-register")
        self._watch.start(node)

    async def close(self) -> None:
        """Take no more deliveries."""
        if self._node is None:
            return
        self._node = None
        self._watch.close()
        await self._worker.close()
        await self._link.close()
        await self._ingress.close()

    async def _register(self) -> None:
        known = await self._ingress.register()
        while not known:  # Restate looks at the worker, which may not listen yet
            await asyncio.sleep(self._settings.register_every_s)
            known = await self._ingress.register()

    # --- deliveries -----------------------------------------------------------------------------

    async def deliver(self, delivery: Delivery) -> Reply:
        """Bring a delivery to where its actor lives, or have Restate find a place for it."""
        node = self._node
        if node is None:
            raise LoomClosedError("the engine is closed; expected an open one: open the loom")
        journal = delivery.journal
        if self.mine(journal):
            return await self._here_with(node, delivery)
        try:
            address = self.address(journal) or await self.owner(journal)
            if address is not None and address != self._link.address:
                reply = await self._link.deliver(address, delivery)
                self._note(journal, self._link.peers.node_at(address))
                return reply
        except (NotOwnerError, NodeUnreachableError, LoomClosedError, NodeRefusedError) as error:
            if isinstance(error, NodeRefusedError) and error.kind != "refused":
                raise
            self._where.pop(journal, None)
            _log.info("node_passed_over", journal=journal, error=str(error))
        if delivery.sealed:  # Restate would keep what an erased person's data may be in
            return await self._claimed(node, delivery)
        try:
            return await self._placed(delivery)
        except NodeUnreachableError as error:
            if await self._lives_elsewhere(journal):  # its turn takes long: it is asked there
                raise
            _log.warning("engine_passed_over", journal=journal, error=str(error))
            return await self._claimed(node, delivery)

    async def schedule(self, delivery: Delivery, *, at: datetime) -> None:
        """Have Restate deliver at a time; the same id is scheduled once."""
        delay_s = (us_from_datetime(at) - self._clock.now_us()) / 1_000_000
        self._scheduled[delivery.id] = await self._ingress.send(delivery, key=delivery.id, delay_s=delay_s)

    async def cancel(self, id: str) -> None:
        """Forget what this process has scheduled under an id; what another has scheduled comes, and finds no work."""
        if (invocation := self._scheduled.pop(id, None)) is not None:
            await self._ingress.cancel(invocation)

    async def wake(self, journal: str, *, holder: Holder | None) -> None:
        """Have Restate bring an actor to life whose node is gone; every node may ask for it, and it is done once."""
        key = f"resume/{journal}/{0 if holder is None else holder.writer}"
        await self._ingress.send(Delivery("resume", journal, key), key=key)

    async def claim(self, journal: str) -> None:
        """Bring an actor to life here: no node holds it, and Restate has not found a place for it."""
        if self._node is not None and not self.mine(journal) and not await self._lives_elsewhere(journal):
            await self._claimed(self._node, Delivery("resume", journal, f"claim/{journal}"))

    async def _claimed(self, node: Node, delivery: Delivery) -> Reply:
        """Do something here without Restate: the journal sees to it that one process does it at a time."""
        self._here.add(delivery.journal)
        self._where.pop(delivery.journal, None)
        return await self._here_with(node, delivery)

    async def _lives_elsewhere(self, journal: str) -> bool:
        holder = (await self.holders([journal])).get(journal)
        other = None if holder is None or holder.fenced else self._node_of(holder)
        return other is not None and other != self._link.node and await self._link.peers.answers(other)

    async def _placed(self, delivery: Delivery) -> Reply:
        journal, about = delivery.journal, f"{delivery.journal}/{delivery.id}"
        tried = self._rounds.get(about, 0)
        reply, name = await self._ingress.call(delivery, key=delivery.id if not tried else f"{delivery.id}/{tried}")
        if "reply" in reply:
            self._rounds.pop(about, None)
        else:  # if that node does not answer, this answer of Restate's must not come again
            self._rounds[about] = tried + 1
            while len(self._rounds) > _MOST_ROUNDS:
                self._rounds.pop(next(iter(self._rounds)))
        self._note(journal, name)
        return reply

    def _note(self, journal: str, node: str) -> None:
        if node in self._link.nodes and node != self._link.node:
            self._where[journal] = node
            while len(self._where) > _MOST_ROUNDS:
                self._where.pop(next(iter(self._where)))

    async def _here_with(self, node: Node, delivery: Delivery) -> Reply:
        try:
            reply = await node.receive(delivery)
        except WriterFencedError:
            self.give_up([delivery.journal])
            raise
        if "reply" not in reply:  # it may wait for what another process gets
            holder = (await self.holders([delivery.journal])).get(delivery.journal)
            if not self.holds(holder):
                self.give_up([delivery.journal])
                raise NotOwnerError(journal=delivery.journal, address=None if holder is None else holder.address)
        return reply

    # --- what Restate calls ---------------------------------------------------------------------

    async def _handle(self, journal: str, sealed: Any) -> dict[str, JsonValue]:
        """Do what Restate brings: here, unless another node that lives holds the actor."""
        delivery = self._unsealed(journal, sealed)
        node = self._node
        if node is None:
            raise LoomClosedError("the loom of this node is not open; expected an open one: call again")
        if not self.mine(journal):
            holder = (await self.holders([journal])).get(journal)
            other = None if holder is None or holder.fenced else self._node_of(holder)
            if other is not None and other != self._link.node and await self._link.peers.answers(other):
                try:
                    return {"ok": await self._link.peers.deliver(other, delivery)}
                except (NotOwnerError, NodeUnreachableError, LoomClosedError):
                    _log.info("node_passed_over", journal=journal, node=other)
            self._here.add(journal)
            self._where.pop(journal, None)
        return {"ok": await self._driven(node, delivery)}

    async def _driven(self, node: Node, delivery: Delivery) -> Reply:
        """Do something until its turn ends or waits: nothing else reaches the actor by Restate meanwhile."""
        while True:
            async with awaiting(self._here_with(node, delivery)) as driving:  # what is cancelled is the wait
                while not driving.done():
                    await asyncio.wait([driving], timeout=_POLL_S)
                    if not driving.done() and node.parked(delivery.journal, delivery.id):
                        return {"waiting": True}
            reply = driving.result()
            if "reply" in reply or delivery.verb != "ask":
                return reply

    def _unsealed(self, journal: str, sealed: Any) -> Delivery:
        match sealed:
            case {"node": str(sender), "delivery": str(body), "signature": str(signature), **rest} if not rest:
                self._link.signer.unseal(sender, body, signature)
            case _:
                raise NodeRefusedError("request came past the nodes; expected what one of them has signed: look who")
        try:
            delivery = Delivery.of_json(json.loads(body))
        except ValueError as error:
            raise AdmissionError("delivery is no JSON; expected what a node sends: compare the versions") from error
        if delivery.journal != journal:
            raise NodeRefusedError(
                f"delivery is for [{delivery.journal:.80}], and came to [{journal:.80}]; expected one journal: look who"
            )
        if delivery.by is None or sender == self._link.node:
            return delivery
        return Delivery(**{**_fields(delivery), "by": delivery.by.forwarded(by=sender)})

    def _node_of(self, holder: Holder) -> str | None:
        """Return the node that holds a journal; None for an address that is none of this cluster."""
        try:
            return self._link.peers.node_at(holder.address or "")
        except LoomError as error:
            if holder.address:
                _log.warning("address_of_no_node", address=holder.address, error=str(error))
            return None


def _fields(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in Delivery.__slots__}
