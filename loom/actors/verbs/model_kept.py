"""What is kept of a call of a model in a turn that has handled protected values, and how it is read again.

The messages repeat such values, and so may the answer. Kept messages have `[sealed]` in their place. The answer is
sealed as a whole, for all subjects of the turn: a resumed turn opens it, and an erasure of one of them is enough.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from loom.actors.keeping import hold_keys, keyed_digest, keys_at_hand, lost, without_texts
from loom.actors.turn import Turn
from loom.actors.verbs.shared import digest
from loom.decisions.model_calls import ModelCalledEntry
from loom.errors import ErasedError
from loom.identity import parse_journal_name
from loom.sealing import open_for_all, seal_for_all

__all__ = ["digest_of", "hides", "kept_messages", "kept_output", "output_of", "sent_text", "sent_value"]

_ABOUT = "model output"


async def digest_of(turn: Turn, messages: Sequence[Any]) -> str | None:
    """Return a digest of messages; keyed where they may repeat sealed values, None where there is no key for it."""
    if not turn.protected.texts:
        return digest(list(messages))
    subjects = turn.protected.subjects
    if not subjects:
        return None
    await hold_keys(turn, sorted(subjects))
    return keyed_digest(keys_at_hand(turn, sorted(subjects)), list(messages), about="model messages")


def hides(turn: Turn) -> bool:
    """Tell whether a model gets values of this turn as `[sealed]`."""
    actor_type = parse_journal_name(turn.host.journal).actor_type
    return bool(turn.protected.texts) and turn.services.models.hides_from(actor_type)


def sent_value(turn: Turn, value: JsonValue) -> JsonValue:
    """Return JSON as a model gets it: the protected values of the turn are `[sealed]`, unless the config shows them."""
    if not hides(turn):
        return value
    sent: JsonValue = without_texts(turn, value)
    return sent


def sent_text(turn: Turn, text: str) -> str:
    """Return text as a model gets it."""
    return str(sent_value(turn, text))


def kept_messages(turn: Turn, messages: Sequence[Any]) -> JsonValue:
    """Return messages as the config has them kept: without the protected values of the turn, or not at all."""
    if turn.services.models.keep_of(parse_journal_name(turn.host.journal).actor_type) != "full":
        return None
    return [without_texts(turn, each) for each in messages]


async def kept_output(turn: Turn, said: JsonValue) -> tuple[JsonValue, bool]:
    """Return an answer as it may be written, and whether it is sealed."""
    vault, protected = turn.services.vault, turn.protected
    if said is None or not protected.texts:
        return said, False
    if vault is None or not protected.subjects:  # masked or dropped values: their turn cannot be resumed in any case
        return without_texts(turn, said), False
    return await seal_for_all(vault, protected.subjects, to_json(said), _ABOUT), True


async def output_of(turn: Turn, entry: ModelCalledEntry) -> JsonValue:
    """Return the recorded answer, opened; stop a turn that cannot have it again."""
    if not entry.sealed:
        return entry.output
    vault = turn.services.vault
    if vault is None:
        raise lost(turn, "sealed")
    try:
        opened: JsonValue = json.loads(await open_for_all(vault, entry.output, _ABOUT))
    except ErasedError as error:
        raise lost(turn, "erased") from error
    return opened
