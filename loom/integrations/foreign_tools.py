"""Calls of tools that another framework makes, as steps of a turn, after an approval where one is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

from pydantic import JsonValue

from loom.actors import verbs
from loom.actors.turn import Turn
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError, EffectFailedError, LookupFailedError
from loom.identity import derived_id
from loom.integrations.pydantic_ai.runs import in_step
from loom.integrations.pydantic_ai.tools import ToolHandling, in_short

__all__ = ["ToolCall", "approval_of", "denied_words", "step_scope", "tool_step"]


class ToolCall:
    """One call of a tool. Its id comes with the model's answer, so it is the same when the turn is resumed."""

    def __init__(
        self, framework: str, name: str, call_id: str, arguments: dict[str, JsonValue], handling: ToolHandling
    ) -> None:
        self.framework = framework
        self.name = name
        self.arguments = arguments
        self.handling = handling
        self.key = f"{framework}__tool:{name}:{call_id}"
        """The name of its step."""


async def approval_of(turn: Turn, call: ToolCall, approver: str) -> ApprovalGiven:
    """Ask a person for a call, with exactly its arguments bound, and wait for the answer."""
    return await verbs.request_approval(
        turn,
        approver=approver,
        reason=f"an agent asks to call {call.name} with {in_short(call.arguments)}"[:2_000],
        timeout_s=call.handling.timeout_s,
        deadline=None,
        on_deadline="escalate" if call.handling.escalate_to else "deny",
        escalate_to=call.handling.escalate_to,
        key=f"{call.key} approval",
        action=call.name,
        arguments=call.arguments,
    )


async def tool_step(
    turn: Turn, call: ToolCall, work: Callable[[], Awaitable[JsonValue]], *, under: ApprovalGiven | None = None
) -> JsonValue:
    """Call a tool as a look-up or an effect, and return what it gave as JSON, live and resumed.

    Raises `AdmissionError` for a result that cannot be journaled, `LookupFailedError` or `EffectFailedError` where the
    tool raised, and `ApprovalMismatchError` for other arguments than those that were approved.
    """

    async def within() -> JsonValue:
        with step_scope():
            return await work()

    try:
        if call.handling.calls == "look_up":
            return await _look_up(turn, call, within)
        done: JsonValue = await verbs.perform(
            turn,
            action=call.name,
            effect=lambda _: within(),
            key=f"{call.name}/{derived_id('effect', turn.services.store.workspace, str(turn), call.key)[:16]}",
            repeatable=call.handling.calls == "repeatable",
            returns=None,
            arguments=call.arguments,
            under=under,
        )
    except (EffectFailedError, LookupFailedError) as error:
        if error.type_name == AdmissionError.__name__:
            raise AdmissionError(error.message) from error
        raise
    return done


async def _look_up(turn: Turn, call: ToolCall, work: Callable[[], Awaitable[JsonValue]]) -> JsonValue:
    found: JsonValue = await verbs.gather_context(
        turn,
        system=call.handling.system or call.framework,
        entity=call.handling.entity or call.name,
        query=in_short(call.arguments),
        fetcher=work,
        relevance=None,
        returns=None,
        timeout_s=None,
        key=call.key,
        protect=None,
        subject=None,
        retry=None,
    )
    return found


def denied_words(given: ApprovalGiven) -> str:
    """Return what the model reads of a denial."""
    why = given.comment or ("the deadline passed without an answer" if given.by is None else "no reason was given")
    return f"The call was denied by {given.by or given.approver}: {why}"


@contextmanager
def step_scope() -> Generator[None]:
    """Run code of a step: an agent that it runs is a part of that step."""
    token = in_step.set(True)
    try:
        yield
    finally:
        in_step.reset(token)
