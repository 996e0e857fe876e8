"""Commands: requests to an actor. A command is imperative and may be refused; its class names its reply type."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from loom.errors import AdmissionError, EntryUnreadableError, UnknownActorError
from loom.journal.admission import Limits, Written, written

__all__ = [
    "COMMANDS",
    "Command",
    "CommandRegistry",
    "Handles",
    "Message",
    "Reply",
    "Sent",
    "decode_reply",
    "encode_reply",
    "present_payload",
    "present_reply",
    "reply_type",
]

Reply = TypeVar("Reply", covariant=True)
Sent_co = TypeVar("Sent_co", covariant=True)
Reply_co = TypeVar("Reply_co", covariant=True)
Taken_contra = TypeVar("Taken_contra", contravariant=True)


class Command(BaseModel, Generic[Reply]):
    """A request to an actor: `class RequestDiscount(Command[Granted])` is answered with a `Granted`.

    It is journaled under its `command_type`, by default the name of its class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    command_type: ClassVar[str] = ""
    by_hand: ClassVar[bool] = True
    """Whether it may be sent from the shell; one that something else has to prepare may not."""

    is_message: ClassVar[bool] = False
    """Whether a turn waits for it, in place of a turn of its own: see `Message`."""

    subject_field: ClassVar[str | None] = None
    """The field with the subject of the declared fields, as of `Annotated[str, Sealed()]`: see loom.sealing."""

    schema_version: ClassVar[int] = 1
    """Raise it when the shape of the command changes, and add a step to `upcast`: the journal has older ones."""

    reply_version: ClassVar[int] = 1
    """The same for the shape of its reply, and `upcast_reply`."""

    if TYPE_CHECKING:  # what makes a command a `Sent`; nothing calls it

        def _sent(self) -> Self: ...
        def _replied(self) -> Reply: ...

    @classmethod
    def upcast(cls, version: int, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of `schema_version` `version` in the shape of `version + 1`; override when they change."""
        raise _no_step(f"command [{cls.command_type}]", version, cls.schema_version, f"{cls.__name__}.upcast")

    @classmethod
    def upcast_reply(cls, version: int, reply: Any) -> Any:
        """Return the JSON of a reply of `reply_version` `version` in the shape of `version + 1`; override as needed."""
        what = f"reply to [{cls.command_type}]"
        raise _no_step(what, version, cls.reply_version, f"{cls.__name__}.upcast_reply")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "[" in cls.__name__ or cls.__module__ == __name__:  # Command[Granted] itself, or a base: not a command
            return
        if "command_type" not in cls.__dict__:
            cls.command_type = cls.__name__
        COMMANDS.register(cls)


class Message(Command[None]):
    """A message to a turn that waits for it: `class Paid(Message)`, `ref.send(Paid(…))`, `await self.wait_for(Paid)`.

    It is no command: `execute` never gets it, and it has no reply.
    """

    is_message: ClassVar[bool] = True


class Sent(Protocol[Sent_co, Reply_co]):
    """A command as a type checker sees it: which command it is, and the type of its reply.

    With `Handles` it lets `ActorRef.ask` infer the reply and refuse a command of another actor in one signature.
    """

    def _sent(self) -> Sent_co: ...
    def _replied(self) -> Reply_co: ...


class Handles(Protocol[Taken_contra]):
    """An actor as a type checker sees it: which commands its `execute` takes."""

    async def execute(self, command: Taken_contra) -> Any:
        """Handle one command and return its reply."""


class CommandRegistry:
    """The registry of command classes by command type; as explicit as the registry of entry kinds."""

    def __init__(self) -> None:
        self._classes: dict[str, list[type[Command[Any]]]] = {}

    def register(self, cls: type[Command[Any]]) -> None:
        """Make a class known under its command type; one that is defined again replaces its former self."""
        known = self._classes.setdefault(cls.command_type, [])
        name = (cls.__module__, cls.__qualname__)
        known[:] = [other for other in known if (other.__module__, other.__qualname__) != name] + [cls]

    def decode(
        self, command_type: str, payload: JsonValue, *, among: tuple[type[Command[Any]], ...] = ()
    ) -> Command[Any]:
        """Return the command of a recorded payload, looking first `among` the commands that an actor declares."""
        return self.class_of(command_type, among=among).model_validate_json(json.dumps(payload))

    def classes_of(self, command_type: str) -> tuple[type[Command[Any]], ...]:
        """Return every class of a command type that this process knows."""
        return tuple(self._classes.get(command_type, ()))

    def class_of(self, command_type: str, *, among: tuple[type[Command[Any]], ...] = ()) -> type[Command[Any]]:
        """Return the class of a command type, looking first `among` the commands that an actor declares."""
        declared = [cls for cls in among if cls.command_type == command_type]
        classes = declared or self._classes.get(command_type, [])
        if len(classes) != 1:
            raise UnknownActorError(
                f"command type [{command_type}] is known [{len(classes)}] times; expected once: import the module that "
                "defines it, or give equal names different command_type"
            )
        return classes[0]


def present_payload(cls: type[Command[Any]], payload: JsonValue, *, version: int) -> JsonValue:
    """Return the recorded fields of a command in its present shape; raise `EntryUnreadableError` without a step."""
    if version > cls.schema_version:
        raise _no_step(f"command [{cls.command_type}]", version, cls.schema_version, "a newer version of its code")
    while version < cls.schema_version and isinstance(payload, dict):
        payload, version = cls.upcast(version, payload), version + 1
    return payload


def present_reply(cls: type[Command[Any]], reply: JsonValue, *, version: int) -> JsonValue:
    """Return a recorded reply in its present shape; raise `EntryUnreadableError` without a step."""
    if version > cls.reply_version:
        raise _no_step(f"reply to [{cls.command_type}]", version, cls.reply_version, "a newer version of its code")
    while version < cls.reply_version and reply is not None:
        reply, version = cls.upcast_reply(version, reply), version + 1
    return reply


def _no_step(what: str, version: int, present: int, cure: str) -> EntryUnreadableError:
    return EntryUnreadableError(
        f"{what} has no step from version [{version}] to [{present}]; expected a step for each version: bring {cure}"
    )


COMMANDS = CommandRegistry()
"""The registry that `Command` subclasses enter by being defined."""


@cache
def reply_type(cls: type[Command[Any]]) -> Any:
    """Return the type that replies to a command have; `Any` where the command does not say."""
    for base in cls.__mro__:
        metadata = getattr(base, "__pydantic_generic_metadata__", None)
        if metadata and metadata["origin"] is Command and metadata["args"]:
            return metadata["args"][0]
    return Any


@cache
def _adapter(cls: type[Command[Any]]) -> TypeAdapter[Any]:
    return TypeAdapter(reply_type(cls))


def encode_reply(command: Command[Any], reply: object, *, limits: Limits) -> Written:
    """Return a reply as plain JSON with its text; raise `AdmissionError` if it is not of the command's reply type."""
    encoded = written(reply, limits=limits)
    try:
        _adapter(type(command)).validate_json(encoded.text)
    except ValidationError as error:
        raise AdmissionError(
            f"reply to [{command.command_type}] is a [{type(reply).__name__}]; expected [{reply_type(type(command))}] "
            f"[{error.errors()[0]['msg']}]: return that from execute"
        ) from error
    return encoded


def decode_reply(cls: type[Command[Any]], plain: JsonValue) -> Any:
    """Return the typed reply of a recorded one."""
    return _adapter(cls).validate_json(to_json(plain, inf_nan_mode="constants"))
