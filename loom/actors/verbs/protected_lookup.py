"""The protection of one look-up: its query and result, before they are journaled; and their opening on resumption."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from loom.actors.keeping import (
    hold_keys,
    keyed_digest,
    keys_at_hand,
    lost,
    names_of,
    plain_result,
    subject_of_turn,
    why_lost,
)
from loom.actors.turn import Turn
from loom.actors.verbs.shared import Came
from loom.decisions.entries import ContextGatheredEntry
from loom.errors import AdmissionError, ConfigError, ErasedError
from loom.journal.admission import Written
from loom.journal.entry import Step
from loom.journal.serialisation import json_text
from loom.sealing import (
    Handling,
    Leaf,
    Node,
    Parts,
    SealedValue,
    declared_by,
    declared_in,
    declared_paths,
    leaves_of,
    merged,
    paths_in,
    protect_with,
    subjects_in,
    texts_in,
)
from loom.sealing.markers import placeholder_of
from loom.sealing.pointers import replaced, value_at

__all__ = ["QUERY", "RESULT", "LookupProtection", "opened_result", "protection_of", "stop_if_lost"]

QUERY = "$query"
"""The path by which `protect` declares the text of the query."""

RESULT = "$result"
"""The path by which `protect` declares the whole result."""

_SAID: Mapping[Handling, str] = {"seal": "[sealed]", "hash": "[hashed]", "mask": "[masked]", "drop": "[dropped]"}
_WHERE = "result"


class LookupProtection:
    """The declarations and the subject of one look-up."""

    def __init__(
        self, turn: Turn, *, result: Node | None, query: Handling | None, subject: str | None, asked: str
    ) -> None:
        self._turn = turn
        self._result = None if result is None else Parts({_WHERE: result})
        self._query = None if query is None else Parts({"query": Leaf(query)})
        self._subject = subject
        self._asked = asked

    async def begin(self) -> None:
        """Refuse what could not be journaled, before the fetcher runs; the turn holds the keys afterwards."""
        keyed = [each for node in (self._result, self._query) for each in leaves_of(node) if each.takes_key]
        if keyed and self._subject is None and any(leaf.subject is None for leaf in keyed):
            raise AdmissionError(
                f"look-up of turn [{self._turn}] is sealed or hashed for a subject, and none is named; expected one: "
                "give subject=, or set subject_field on the command"
            )
        if self._subject is not None and (keyed or (self._query is not None and self._turn.services.vault is not None)):
            await hold_keys(self._turn, [self._subject])
        elif keyed:
            await hold_keys(self._turn, [])
        if self._query is not None:
            self._protected_query()
            self._turn.protected.add(() if self._subject is None else (self._subject,), [self._asked])
        else:
            self._turn.protected.add((), ())

    @property
    def query(self) -> str:
        """The query as it is in the key of the step: in plain, or as a keyed digest that cannot be guessed."""
        if self._query is None:
            return self._asked
        if self._subject is None or self._subject not in self._turn.keys:
            return self._placeholder
        keys = keys_at_hand(self._turn, [self._subject])
        return keyed_digest(keys, self._asked, about="gather_context query")

    def asked(self) -> dict[str, bytes]:
        """Return the query as field → JSON text of its entry."""
        if self._query is None:
            return {"query": json_text(self._asked)}
        return {"query": json_text(self._placeholder), "protected_query": to_json(self._protected_query())}

    def made(self, raw: Any) -> Any:
        """Return a fetcher's result in a form that can be made plain JSON, after noting what its models declare."""
        own = declared_in(raw)
        if own is not None:
            given = None if self._result is None else self._result.fields[_WHERE]
            self._result = Parts({_WHERE: merged(given, own) or own})
        return plain_result(raw)

    async def protected(self, step: Step, came: Came) -> tuple[Came, dict[str, bytes]]:
        """Return the result as it may be written, and the places of protected values in it."""
        if came.failure is not None or self._result is None:
            return came, {}
        turn, plain = self._turn, {_WHERE: came.result.value}
        subjects = subjects_in(plain, self._result, subject=self._subject)
        await hold_keys(turn, subjects)
        once = f"{turn.command_id} {step}"
        hidden: Any = protect_with(
            keys_at_hand(turn, subjects), plain, self._result, subject=self._subject, once=once, names=names_of(turn)
        )
        turn.protected.add(subjects, texts_in(plain, self._result, subject=self._subject))
        places = paths_in(plain, self._result, subject=self._subject)
        value = hidden[_WHERE]
        written = Came(Written(value, to_json(value)))
        return written, {"protected": to_json([each.removeprefix(f"/{_WHERE}") for each in places])}

    def _protected_query(self) -> JsonValue:
        keys = {} if self._subject is None or self._subject not in self._turn.keys else self._turn.keys
        assert self._query is not None  # noqa: S101 - asked for where it is declared
        hidden: Any = protect_with(
            keys,
            {"query": self._asked},
            self._query,
            subject=self._subject,
            once=f"{self._turn.command_id} gather_context",
            names=names_of(self._turn),
        )
        found: JsonValue = hidden["query"]
        return found

    @property
    def _placeholder(self) -> str:
        leaf = None if self._query is None else self._query.fields["query"]
        return _SAID[leaf.handling] if isinstance(leaf, Leaf) else ""


async def protection_of(
    turn: Turn, *, protect: Mapping[str, str] | None, returns: Any, subject: str | None, query: str
) -> LookupProtection | None:
    """Return the protection of a look-up, or None; refuse before the look-up all that can be refused then."""
    if protect is None:
        if returns is None:
            return None
        result, handling = declared_by(returns), None
    else:
        result, handling = _declared(tuple(protect.items()), returns)
    if result is None and handling is None:
        return None
    whose = subject if subject is not None else subject_of_turn(turn)
    protection = LookupProtection(turn, result=result, query=handling, subject=whose, asked=query)
    await protection.begin()
    return protection


async def opened_result(turn: Turn, entry: ContextGatheredEntry) -> JsonValue:
    """Return the recorded result of a look-up as the code got it; stop a turn that cannot have it again."""
    opened: dict[str, JsonValue] = {}
    for place in entry.protected:
        stands = value_at(entry.result, place)
        why = why_lost(stands, turn.services.subjects)
        if why is not None:
            raise lost(turn, why)
        sealed = placeholder_of(stands)
        vault = turn.services.vault
        if vault is None or not isinstance(sealed, SealedValue) or sealed.about != f"/{_WHERE}{place}":
            raise lost(turn, "sealed")
        try:
            value = await vault.open(stands, subject=sealed.subject)
        except ErasedError as error:
            raise lost(turn, "sealed") from error
        opened[place] = value
        turn.protected.add([sealed.subject], texts_in(value, Leaf("seal")))
    return replaced(entry.result, opened)


def stop_if_lost(turn: Turn, entry: ContextGatheredEntry, *, replayed: bool) -> None:
    """Stop a turn that cannot get the value of a recorded look-up, before anything of it runs."""
    for place in entry.protected:
        why = why_lost(value_at(entry.result, place), turn.services.subjects)
        if why is not None:
            lost(turn, why, replayed=replayed)


@lru_cache(maxsize=1_024)
def _declared(protect: tuple[tuple[str, str], ...], returns: Any) -> tuple[Node | None, Handling | None]:
    """Return what is declared of a result, and of its query."""
    paths = dict(protect)
    query, whole = paths.pop(QUERY, None), paths.pop(RESULT, None)
    handling: Any = None
    if query is not None:
        declared = declared_paths({"query": query})
        assert isinstance(declared, Parts)  # noqa: S101 - one name
        handling = declared.fields["query"].handling  # type: ignore[union-attr]
    by_path = declared_paths(paths) if paths else None
    if whole is not None:
        if by_path is not None:
            raise ConfigError(
                f"path [{RESULT}] covers all others; expected either it or the others: leave out one of them"
            )
        node = declared_paths({_WHERE: whole})
        by_path = node.fields[_WHERE] if isinstance(node, Parts) else None
    return merged(None if returns is None else declared_by(returns), by_path), handling
