"""An agent that handles secrets in every way that a turn has, in declared fields; and one that declares none."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, field_validator
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from loom import Actor, Command, Entry, Evaluation, Facts, Params, policy, telemetry
from loom.sealing import Dropped, Erased, Hashed, Masked, Sealed, Withheld

__all__ = ["Blurt", "Careless", "Clerk", "Fold", "Keep", "Keeper", "Say", "Waiting", "asked_of_models", "logged"]

SecretOfUser = Annotated[str, Sealed()]

asked_of_models: list[str] = []
"""Every message that left for a model."""


class Account(BaseModel):
    name: SecretOfUser
    plan: str


class Letter(BaseModel):
    text: SecretOfUser


class Case(Facts):
    value: SecretOfUser
    percent: int = 5


@policy("keeping", Params(), examples=[Case(value="x")])
def keeping(params: Params, facts: Case) -> Evaluation:
    """Allow everything."""
    return Evaluation(effect="allow", rule="any", why=f"{facts.value} it is", details={"value": facts.value})


class KeptEntry(Entry):
    kind: ClassVar[str] = "test.reliability.kept"

    sealed: Annotated[str | Erased, Sealed()]
    hashed: Annotated[str | Withheld, Hashed()]
    masked: Annotated[str | Withheld, Masked()]
    dropped: Annotated[str | Withheld, Dropped()]


class FoldedEntry(Entry):
    kind: ClassVar[str] = "test.reliability.folded"

    value: Annotated[str | Erased, Sealed()]


class Keep(Command[Letter]):
    """What a customer sends: the same secret in a field of each way to declare it."""

    subject_field = "customer"

    customer: str
    sealed: SecretOfUser
    hashed: Annotated[str, Hashed()]
    masked: Annotated[str, Masked()]
    dropped: Annotated[str, Dropped()]
    how: str = "well"

    @field_validator("sealed")
    @classmethod
    def _is_fit(cls, given: str) -> str:
        if given.startswith("unfit "):
            raise ValueError(f"[{given}] is not fit to be kept")
        return given


class Say(Command[Letter]):
    subject_field = "customer"

    customer: str
    value: SecretOfUser


class Fold(Command[str]):
    subject_field = "customer"

    customer: str
    value: SecretOfUser


class Waiting(Command[bool]):
    """Waits for a person, so that its request is delivered, listed and shown."""

    subject_field = "customer"

    customer: str
    value: SecretOfUser


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    asked_of_models.append(f"{messages!r}")
    words = "; ".join(str(part.content) for each in messages for part in each.parts if hasattr(part, "content"))
    return ModelResponse(parts=[TextPart(f"echo {words}")], usage=RequestUsage(input_tokens=9, output_tokens=9))


class Clerk(Actor[None]):
    """Is asked by the keeper, and gives a sealed reply."""

    actor_type: ClassVar[str] = "clerk"

    async def execute(self, command: Say) -> Letter:
        return Letter(text=f"heard {command.value}")


class Keeper(Actor[list[Any]]):
    """Uses every verb with a secret, and fails in every place with it in its words."""

    actor_type: ClassVar[str] = "keeper"
    policy = keeping

    async def execute(self, command: Keep | Fold | Waiting) -> Letter | str | bool:
        if isinstance(command, Fold):
            await self.record(FoldedEntry(value=command.value))
            return "folded"
        if isinstance(command, Waiting):
            self.evaluate(Case(value=command.value))
            answer = await self.request_approval(approver="boss", reason=f"{command.value} asks for it")
            return answer.granted
        secret = command.sealed
        if command.how == "raises":
            raise RuntimeError(f"cannot keep {secret}")
        if command.how == "look-up raises":
            await self._looked_up(secret, fails=True)
        if command.how == "effect raises":
            await self.perform(action="store", effect=_failing(secret), key="store")
        return await self._kept(command)

    async def _kept(self, command: Keep) -> Letter:
        secret = command.sealed
        account = await self._looked_up(secret)
        await self.record(
            KeptEntry(sealed=secret, hashed=command.hashed, masked=command.masked, dropped=command.dropped)
        )
        said = self.evaluate(Case(value=secret))
        await self.find_precedents(text=f"like {secret}", facets={"percent": 5})
        letter = await self.ask(Clerk, "one", Say(customer=command.customer, value=secret))
        model = FunctionModel(_answer, model_name="echo")
        await self.call_model(model=model, prompt=f"what of {secret}?", instructions=f"know {account.name}")
        await self.perform(action=f"store {secret}", effect=lambda key: "stored", key="store")
        await self.record_decision(
            rationale=f"{letter.text}, and {said.why}",
            reasoning=[f"1. {secret}"],
            is_exception=True,
            exception_reason=f"as {account.name} is so",
            alternatives=[{"option": "deny", "rejected_because": f"of {secret}"}],
            outcome={"value": secret, "kept": True},
            protect={"value": "seal"},
        )
        return Letter(text=f"kept {secret}")

    async def _looked_up(self, secret: str, *, fails: bool = False) -> Account:
        def fetch() -> dict[str, Any]:
            if fails:
                raise ConnectionError(f"no account of {secret}")
            return {"name": secret, "plan": "pro"}

        return await self.gather_context(
            system="crm",
            entity="account",
            query=f"by {secret}",
            relevance=f"of {secret}",
            returns=Account,
            fetcher=fetch,
            protect={"$query": "seal"},
        )

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, KeptEntry):
            self.state.append(entry.sealed)
        elif isinstance(entry, FoldedEntry):
            self._refuse(entry.value)

    def _refuse(self, value: str | Erased) -> None:
        raise LookupError(f"cannot fold {value}")


def _failing(secret: str) -> Any:
    def effect(key: str) -> None:
        raise OSError(f"{key}: no room for {secret}")

    return effect


# --- the control: nothing is declared -------------------------------------------------------------


class BareCase(Facts):
    value: str


@policy("blurting", Params(), examples=[BareCase(value="x")])
def blurting(params: Params, facts: BareCase) -> Evaluation:
    """Allow everything."""
    return Evaluation(effect="allow", rule="any", why=f"{facts.value} it is", details={"value": facts.value})


class Blurt(Command[str]):
    value: str
    raises: bool = False


class Careless(Actor[None]):
    """Does with a field that nothing declares what the keeper does with those that are."""

    actor_type: ClassVar[str] = "careless"
    policy = blurting

    async def execute(self, command: Blurt) -> str:
        if command.raises:
            raise RuntimeError(f"cannot keep {command.value}")
        await self.gather_context(system="crm", entity="a", query=command.value, fetcher=lambda: {"is": command.value})
        model = FunctionModel(_answer, model_name="echo")
        await self.call_model(model=model, prompt=f"what of {command.value}?")
        self.evaluate(BareCase(value=command.value))
        await self.record_decision(rationale=f"{command.value} it is", outcome={"value": command.value})
        return command.value


@contextmanager
def logged() -> Iterator[Mapping[str, io.StringIO]]:
    """Have all that loom logs, at every level, written as JSON and as for a terminal; yield both texts."""
    streams = {"log of JSON": io.StringIO(), "log of a terminal": io.StringIO()}
    handlers = [logging.StreamHandler(each) for each in streams.values()]
    handlers[0].setFormatter(telemetry._formatter(telemetry._JSON))
    handlers[1].setFormatter(telemetry._formatter(telemetry._console(colors=False)))
    root, ours = logging.getLogger(), logging.getLogger("loom")
    before = root.level, ours.level
    for each in handlers:
        root.addHandler(each)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    try:
        yield streams
    finally:
        root.setLevel(before[0])
        ours.setLevel(before[1])
        for each in handlers:
            root.removeHandler(each)
