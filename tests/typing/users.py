"""What a type checker says of a user's code. Never run: `test_users_code.py` has mypy check it.

A line that mypy refuses ends in `# error: [code]`; a type that it reveals is the comment of the line.
"""

from __future__ import annotations

from pydantic import BaseModel

from loom import Actor, ActorRef, Command, Loom


class Account(BaseModel):
    """What a look-up returns."""

    industry: str


class Count(BaseModel):
    """A state."""

    so_far: int = 0


class Ask(Command[bool]):
    """A command with a reply."""

    percent: int


class Note(Command[None]):
    """A command without one."""

    text: str


class Foreign(Command[int]):
    """A command of another actor."""


class Plain(Actor):
    """An actor without a state."""

    async def execute(self, command: Ask) -> bool:
        """Use the verbs."""
        reveal_type(self.state)  # None
        account = await self.gather_context(
            system="crm", entity="account", query="acme", fetcher=lambda: {}, returns=Account
        )
        reveal_type(account)  # users.Account
        raw = await self.gather_context(system="crm", entity="account", query="raw", fetcher=lambda: {})
        reveal_type(raw)  # Any
        reveal_type(await self.perform(action="mail", effect=lambda key: 1, key="k", returns=int))  # int
        reveal_type(await self.ask(Both, "b", Note(text="n")))  # None
        await self.ask(Both, "b", Foreign())  # error: [misc]
        return True


class Both(Actor[Count]):
    """An actor with a state, of two commands."""

    async def execute(self, command: Ask | Note) -> bool | None:
        """Answer."""
        reveal_type(self.state)  # users.Count
        return None


class Client:
    """What an actor is made with."""


class Made(Actor):
    """An actor that takes something."""

    def __init__(self, http: Client, *, retries: int = 3) -> None:
        self.http = http

    async def execute(self, command: Ask) -> bool:
        """Answer."""
        return True


def script() -> None:
    """Use a loom without `await`."""
    with Loom.open_sync("sqlite://", actors=[Made.using(http=Client())]) as loom:
        reveal_type(loom.actor(Made, "m").ask(Ask(percent=8)))  # bool
        loom.actor(Made, "m").ask(Note(text="n"))  # error: [arg-type]
        reveal_type(loom.run(lambda inner: inner.actor(Made, "m").ask(Ask(percent=8))))  # bool
    Made.using(https=Client())  # error: [call-arg]
    Made.using(http="client")  # error: [arg-type]
    Loom.open_sync("sqlite://", actor=[Made])  # error: [call-arg]


async def by_hand() -> None:
    """Open and close without `async with`."""
    loom = await Loom.open("sqlite://")
    reveal_type(loom)  # loom.runtime.Loom
    await loom.close()


def widened(command: Ask) -> Command[bool | None]:
    """Return a command where one with a wider reply is expected."""
    return command


async def main(loom: Loom) -> None:
    """Send commands from outside."""
    both = loom.actor(Both, "b")
    reveal_type(both)  # loom.actors.reference.ActorRef[users.Both]
    reveal_type(await both.ask(Ask(percent=8)))  # bool
    await both.ask(Note(text="n"), by="robin")
    await both.ask(Foreign())  # error: [arg-type]
    await loom.actor(Plain, "p").tell(Note(text="n"))  # error: [arg-type]
    anyone: ActorRef = both
    await anyone.tell(Foreign())
