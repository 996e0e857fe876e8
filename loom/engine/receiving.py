"""What a node does with deliveries: commands go to their actors, answers and retries to their turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from pydantic import JsonValue, ValidationError

from loom.actors import ActorSystem, Approvals, Turns
from loom.actors.actor import commands_of
from loom.actors.command import COMMANDS, Command
from loom.actors.dispatch import Origin
from loom.actors.listing import restart_actor
from loom.actors.protected import is_protected
from loom.decisions.approvals import Approval
from loom.decisions.shown import Shown
from loom.engine.port import Delivery, Reply
from loom.errors import AdmissionError, AskTimeoutError, LoomClosedError, NotOwnerError
from loom.identity import Identity, journal_name, parse_journal_name
from loom.sealing.wording import problems, without_words

__all__ = ["Receiver"]

T = TypeVar("T")


class Hosted(Protocol):
    """The parts of an open loom that deliveries are for."""

    actors: ActorSystem
    approvals: Approvals
    turns: Turns


class Receiver:
    """Takes deliveries for the actors of one loom; those of actors that live elsewhere are a `NotOwnerError`."""

    def __init__(self, loom: Hosted, *, wait_s: float = 10.0) -> None:
        self._loom = loom
        self._system = loom.actors
        self._wait_s = wait_s
        self.is_whole = False
        """Whether all parts of the loom have begun: until then some types of actors may not be known yet."""
        self._verbs: Mapping[str, Callable[[Delivery], Awaitable[Reply]]] = {
            "ask": self._ask,
            "tell": self._tell,
            "resume": self._resume,
            "restart": self._restart,
            "approvals.grant": self._grant,
            "approvals.deny": self._deny,
            "approvals.send_back": self._send_back,
            "approvals.inform": self._inform,
            "turns.retry": self._retry,
            "turns.abandon": self._abandon,
            "turns.fork": self._fork,
        }

    async def receive(self, delivery: Delivery) -> Reply:
        """Do what is delivered; raise the `LoomError` with which it is refused."""
        verb = self._verbs.get(delivery.verb)
        if verb is None:
            raise AdmissionError(
                f"delivery [{delivery.verb:.40}] is not known; expected one of [{', '.join(self._verbs)}]: compare the "
                "versions of the nodes"
            )
        actor_type, _ = parse_journal_name(delivery.journal)
        if not self.is_whole and not self._system.knows(actor_type):
            raise LoomClosedError(
                f"the loom of this node is opening, and has no code of [{actor_type}] yet; expected an open one: "
                "deliver it again"
            )
        if not self._system.services.ownership.mine(delivery.journal):
            address = self._system.services.ownership.address(delivery.journal)
            raise NotOwnerError(journal=delivery.journal, address=address)
        try:
            return await verb(delivery)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, AdmissionError | ValidationError):
                raise
            raise AdmissionError(
                f"delivery [{delivery.verb}] cannot be done with what came [{error!r:.200}]; expected the arguments "
                "of a node of this version: compare the versions"
            ) from error

    def parked(self, journal: str, id: str) -> bool:
        """Tell whether the turn of a command waits for a person, a time or another actor."""
        turn = self._system.running(journal, id)
        return turn is not None and turn.parked

    def awake(self) -> Collection[str]:
        """Return the actors that are awake here."""
        return tuple(each.journal for each in self._system.cells())

    def ownership_changed(self) -> None:
        """Give up actors that live elsewhere now, and resume the turns of those that have come here."""
        self._system.ownership_changed()

    # --- commands -------------------------------------------------------------------------------

    async def _ask(self, given: Delivery) -> Reply:
        cls, command, key = self._command(given)
        try:
            reply = await self._system.messenger.ask(
                cls,
                key,
                command,
                command_id=given.id,
                by=given.by,
                timeout_s=self._wait_s,
                origin=_origin(given),
            )
        except AskTimeoutError:
            return {"waiting": True}
        return {"reply": reply}

    async def _tell(self, given: Delivery) -> Reply:
        cls, command, key = self._command(given)
        at = given.arguments.get("at")
        receipt = await self._system.messenger.tell(
            cls,
            key,
            command,
            command_id=given.id,
            by=given.by,
            at=None if at is None else datetime.fromisoformat(str(at)),
            origin=_origin(given),
        )
        return {"reply": receipt._asdict()}

    def _command(self, given: Delivery) -> tuple[Any, Command[Any], str]:
        actor_type, key = parse_journal_name(given.journal)
        cls = self._system.classes.get(actor_type)
        of = COMMANDS.class_of(str(given.arguments["command_type"]), among=commands_of(cls))
        try:
            return cls, of.model_validate_json(str(given.arguments["payload"])), key
        except ValidationError as error:
            hides = is_protected(of)
            raise AdmissionError(
                f"command [{of.command_type}] does not take what another node sent [{problems(error, hides=hides)}]; "
                "expected its fields: run the same code on all nodes"
            ) from (without_words(error) if hides else error)

    async def _resume(self, given: Delivery) -> Reply:
        await self._system.cell(given.journal)
        return {"reply": None}

    # --- people ---------------------------------------------------------------------------------

    async def _restart(self, given: Delivery) -> Reply:
        found = await restart_actor(self._system, given.journal, by=_person(given).name)
        return {"reply": found.model_dump(mode="json")}

    async def _grant(self, given: Delivery) -> Reply:
        words, approvals = given.arguments, self._loom.approvals
        approval = await approvals.grant(
            _text(words, "approval_id"),
            by=_person(given),
            comment=_text_or_none(words, "comment"),
            changes=_mapping_or_none(words, "changes"),
            shown=_shown(words),
            distinguished=_text_or_none(words, "distinguished"),
        )
        return _answered(approval)

    async def _deny(self, given: Delivery) -> Reply:
        words = given.arguments
        approval = await self._loom.approvals.deny(
            _text(words, "approval_id"),
            by=_person(given),
            comment=_text(words, "comment"),
            shown=_shown(words),
            distinguished=_text_or_none(words, "distinguished"),
        )
        return _answered(approval)

    async def _send_back(self, given: Delivery) -> Reply:
        words = given.arguments
        return _answered(
            await self._loom.approvals.send_back(
                _text(words, "approval_id"), by=_person(given), question=_text(words, "question"), shown=_shown(words)
            )
        )

    async def _inform(self, given: Delivery) -> Reply:
        words = given.arguments
        return _answered(
            await self._loom.approvals.inform(
                _text(words, "approval_id"), by=_person(given), information=_text(words, "information")
            )
        )

    async def _retry(self, given: Delivery) -> Reply:
        words = given.arguments
        listing = await self._loom.turns.retry(
            _text(words, "command_id"),
            by=_person(given),
            reason=_text_or_none(words, "reason"),
            perform=words["perform"] is True,
        )
        return {"reply": listing.model_dump(mode="json")}

    async def _abandon(self, given: Delivery) -> Reply:
        words = given.arguments
        listing = await self._loom.turns.abandon(
            _text(words, "command_id"), by=_person(given), reason=_text(words, "reason")
        )
        return {"reply": listing.model_dump(mode="json")}

    async def _fork(self, given: Delivery) -> Reply:
        words = given.arguments
        at = words["at"]
        listing = await self._loom.turns.fork(
            _text(words, "command_id"),
            at=at if isinstance(at, int) else str(at),
            by=_person(given),
            changed=_mapping_or_none(words, "changed"),
            perform=words["perform"] is True,
            reason=_text_or_none(words, "reason"),
            id=given.id,
        )
        return {"reply": listing.model_dump(mode="json")}


def _origin(given: Delivery) -> Origin:
    words = given.arguments
    waiting = words.get("waiting") or []
    if not isinstance(waiting, list):
        raise TypeError("waiting")
    return Origin(
        _text(words, "correlation_id"),
        _text_or_none(words, "causation_id"),
        _text_or_none(words, "run_id"),
        tuple(journal_name(*parse_journal_name(str(each))) for each in waiting),
    )


def _person(given: Delivery) -> Identity:
    if given.by is None:
        raise AdmissionError(f"delivery [{given.verb}] names no person; expected who does it: send the identity")
    return given.by


def _shown(words: Mapping[str, JsonValue]) -> Shown | None:
    found = words.get("shown")
    return None if found is None else Shown.model_validate(found)


def _answered(approval: Approval) -> Reply:
    return {"reply": approval.model_dump(mode="json")}


def _text(words: Mapping[str, JsonValue], name: str) -> str:
    value = words[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _text_or_none(words: Mapping[str, JsonValue], name: str) -> str | None:
    return None if words.get(name) is None else _text(words, name)


def _mapping_or_none(words: Mapping[str, JsonValue], name: str) -> dict[str, JsonValue] | None:
    value = words.get(name)
    if value is not None and not isinstance(value, dict):
        raise TypeError(name)
    return value
