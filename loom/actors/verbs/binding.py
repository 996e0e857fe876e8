"""An effect is bound to what was approved: its action and its arguments are those that the approver was shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.keeping import keyed_digest, without_texts
from loom.actors.turn import Turn
from loom.actors.verbs.shared import digest
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError, ApprovalMismatchError
from loom.identity import short
from loom.journal.admission import json_value

__all__ = ["EffectArguments", "arguments_of", "check_approved"]

_REDACTED = "[sealed]"


class EffectArguments(NamedTuple):
    """The arguments of an effect as they are written, without protected values; and a digest of the plain ones."""

    written: dict[str, JsonValue]
    digest: str


def arguments_of(turn: Turn, given: Mapping[str, object] | None) -> EffectArguments | None:
    """Return the arguments of an effect; raise `AdmissionError` for what is not a JSON object.

    A digest over protected values is keyed, so that they cannot be guessed from it.
    """
    if given is None:
        return None
    plain: Any = json_value(dict(given), limits=turn.services.limits)
    if not isinstance(plain, dict):
        raise AdmissionError(f"arguments are [{plain!r:.80}]; expected a mapping of names to values: give one")
    written = _redacted(turn, plain)
    if written == plain:
        return EffectArguments(written, digest(plain))
    keys = {subject: turn.keys[subject] for subject in turn.protected.subjects if subject in turn.keys}
    return EffectArguments(written, keyed_digest(keys, plain, about="loom arguments") if keys else digest(written))


def check_approved(
    turn: Turn, under: ApprovalGiven, *, action: str, arguments: EffectArguments | None, key: str
) -> None:
    """Refuse an effect that is not what its approval is for; raise `ApprovalMismatchError`.

    The approval must be an answer of this turn that granted, name this action and these arguments, and cover no other
    effect.
    """
    approved = turn.gathered.approved.get(under.approval_id)
    name = f"approval [{short(under.approval_id)}]"
    if turn.taken_up is not None and turn.taken_up.is_fork and under.approval_id in turn.taken_up.approvals:
        raise ApprovalMismatchError(
            f"{name} was given to the turn of which [{turn}] is a fork; expected one for an effect of its own: fork it "
            "before that request"
        )
    if approved is None:
        raise ApprovalMismatchError(
            f"{name} is no answer to turn [{turn}]; expected one that this turn has requested: request it"
        )
    if not approved.given.granted:
        raise ApprovalMismatchError(f"{name} was denied; expected one that was granted: do not perform [{action}]")
    if approved.action is not None and approved.action != action:
        raise ApprovalMismatchError(
            f"{name} is for [{approved.action}]; expected it to be for [{action}]: request an approval for it"
        )
    if approved.bound != (None if arguments is None else arguments.digest):
        raise ApprovalMismatchError(
            f"{name} is for other arguments of [{action}]; expected those that were approved: perform it with them, or "
            "request an approval for these"
        )
    if approved.key not in (None, key):
        raise ApprovalMismatchError(
            f"{name} was used for the effect with key [{approved.key}]; expected an approval for each effect: request "
            f"one for [{key}]"
        )
    approved.key = key


def _redacted(turn: Turn, value: Any) -> Any:
    """Return JSON without protected values: within texts, and numbers that are one."""
    if isinstance(value, dict):
        return {name: _redacted(turn, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_redacted(turn, each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _REDACTED if str(value) in turn.protected.texts else value
    return without_texts(turn, value)
