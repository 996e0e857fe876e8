"""What any framework's calls of tools are made of: look-ups, effects and approvals, as steps of a turn.

The work of a step runs in `step_scope`: an agent that a tool runs is a part of that step. A result that cannot be
journaled is an `AdmissionError`, live and resumed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors import verbs
from loom.actors.turn import Turn
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError, EffectFailedError, LookupFailedError
from loom.identity import derived_id
from loom.integrations.handling import ToolHandling, in_short
from loom.integrations.runs import in_step

__all__ = ["ToolCall", "approval_step", "denied_words", "effect_key", "effect_step", "look_up_step", "step_scope"]

Work = Callable[[], Awaitable[object]]


@contextmanager
def step_scope() -> Generator[None]:
    """Run code of a step: an agent that it runs is a part of that step."""
    token = in_step.set(True)
    try:
        yield
    finally:
        in_step.reset(token)


async def look_up_step(turn: Turn, key: str, work: Work, *, system: str, entity: str, query: str) -> Any:
    """Read something as a step; protected values of the turn are `[sealed]` in the query that is written.

    Raises `LookupFailedError` where the work raised.
    """
    try:
        return await verbs.gather_context(
            turn,
            system=system,
            entity=entity,
            query=turn.protected.redact(query),
            fetcher=lambda: _within(work),
            relevance=None,
            returns=None,
            timeout_s=None,
            key=key,
            protect=None,
            subject=None,
            retry=None,
        )
    except LookupFailedError as error:
        raise _refused(error) from error


async def effect_step(
    turn: Turn,
    action: str,
    key: str,
    work: Work,
    *,
    repeatable: bool,
    arguments: dict[str, JsonValue] | None,
    under: ApprovalGiven | None = None,
) -> Any:
    """Do something as a step, bound to the approval that it is `under`.

    Raises `EffectFailedError` where the work raised, and `ApprovalMismatchError` for other arguments than those that
    were approved.
    """
    try:
        return await verbs.perform(
            turn,
            action=action,
            effect=lambda _: _within(work),
            key=key,
            repeatable=repeatable,
            returns=None,
            arguments=arguments,
            under=under,
        )
    except EffectFailedError as error:
        raise _refused(error) from error


def effect_key(turn: Turn, name: str, step: str) -> str:
    """Return the key of an effect, the same when the turn is resumed; `step` tells it from others of the turn."""
    return f"{name}/{derived_id('effect', turn.services.store.workspace, str(turn), step)[:16]}"


async def approval_step(
    turn: Turn,
    asking: str,
    name: str,
    arguments: Mapping[str, JsonValue],
    handling: ToolHandling,
    *,
    approver: str,
    key: str,
) -> ApprovalGiven:
    """Have `asking`, an agent, ask a person for a call, with exactly its arguments bound, and wait for the answer."""
    return await verbs.request_approval(
        turn,
        approver=approver,
        reason=f"{asking} asks to call {name} with {in_short(arguments)}"[:2_000],
        timeout_s=handling.timeout_s,
        deadline=None,
        on_deadline="escalate" if handling.escalate_to else "deny",
        escalate_to=handling.escalate_to,
        key=key,
        action=name,
        arguments=arguments,
    )


def denied_words(given: ApprovalGiven) -> str:
    """Return what the model reads of a denial."""
    why = given.comment or ("the deadline passed without an answer" if given.by is None else "no reason was given")
    return f"The call was denied by {given.by or given.approver}: {why}"


class ToolCall(NamedTuple):
    """One call of a tool. Its id comes with the model's answer, so it is the same when the turn is resumed."""

    framework: str
    name: str
    call_id: str
    arguments: dict[str, JsonValue]
    handling: ToolHandling

    @property
    def key(self) -> str:
        """The name of its step."""
        return f"{self.framework}__tool:{self.name}:{self.call_id}"

    async def approval(self, turn: Turn, approver: str) -> ApprovalGiven:
        """Ask a person for the call, and wait for the answer."""
        asking, key = "an agent", f"{self.key} approval"
        return await approval_step(turn, asking, self.name, self.arguments, self.handling, approver=approver, key=key)

    async def step(self, turn: Turn, work: Work, *, under: ApprovalGiven | None = None) -> Any:
        """Make the call as its handling says, and return what it gave as JSON, live and resumed."""
        if self.handling.calls == "look_up":
            system, entity = self.handling.system or self.framework, self.handling.entity or self.name
            return await look_up_step(
                turn, self.key, work, system=system, entity=entity, query=in_short(self.arguments)
            )
        key, repeatable = effect_key(turn, self.name, self.key), self.handling.calls == "repeatable"
        return await effect_step(
            turn, self.name, key, work, repeatable=repeatable, arguments=self.arguments, under=under
        )


async def _within(work: Work) -> Any:
    with step_scope():
        return await work()


def _refused(error: LookupFailedError | EffectFailedError) -> Exception:
    """Return the error of a result that cannot be kept as such, live and resumed; others as they are."""
    return AdmissionError(error.message) if error.type_name == AdmissionError.__name__ else error
