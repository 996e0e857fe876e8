"""Facts that are sealed in a decision: whether they can be judged as they are, and opened in memory to be judged again.

A fact was sealed at its own path below `/facts`; it opens there and nowhere else, with no class of facts at hand. An
outcome is opened by the same way below `/outcome`, and what circuits came to by its own name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.errors import ErasedError
from loom.sealing.erasures import Erasures
from loom.sealing.markers import Erased, Placeholder, SealedValue, Withheld, placeholder_of
from loom.sealing.pointers import escaped, replaced
from loom.sealing.vault import Vault
from loom.sealing.walking import texts_of

__all__ = ["FACTS_AT", "OUTCOME_AT", "Closed", "OpenedFacts", "opened_facts", "placeholders_in", "why_closed"]

FACTS_AT = "/facts"
"""Below which path the facts of a decision are sealed."""

OUTCOME_AT = "/outcome"
"""Below which path the outcome of a decision is sealed."""

Closed: TypeAlias = Literal["sealed", "erased"]
"""Why facts cannot be judged as they are recorded."""


class OpenedFacts(NamedTuple):
    """Facts in plain, or why they are not; for whom something was opened, and its texts."""

    facts: dict[str, JsonValue] | None
    why: Closed | None = None
    subjects: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()


def why_closed(facts: Mapping[str, JsonValue], erasures: Erasures | None = None) -> Closed | None:
    """Return why recorded facts cannot be judged without opening them: `erased` wins; None where nothing is sealed.

    Without `erasures`, what was erased counts as `sealed` too.
    """
    why: Closed | None = None
    for _, stands in placeholders_in(facts, FACTS_AT):
        if isinstance(stands, Erased):
            return "erased"
        if isinstance(stands, SealedValue):
            if erasures is not None and erasures.is_ended(stands.subject, stands.generation):
                return "erased"
            why = "sealed"
        elif isinstance(stands, Withheld):
            why = "sealed"
    return why


async def opened_facts(
    facts: Mapping[str, JsonValue],
    vault: Vault | None,
    *,
    subjects_of: Collection[str] | None = None,
    at: str = FACTS_AT,
) -> OpenedFacts:
    """Return the recorded facts of a decision with what is sealed in them opened, in memory alone.

    `sealed` says that there is no vault, that a key is lost, that a value was sealed for something else, or for none of
    the subjects that are meant; `erased` that the subject of one of them was erased. Who may open, and that it is
    journaled, is the caller's to see to. `at` is `/outcome` for an outcome.
    """
    opened: dict[str, JsonValue] = {}
    subjects: set[str] = set()
    why: Closed | None = None
    for path, stands in placeholders_in(facts, at):
        if isinstance(stands, Erased) or (
            isinstance(stands, SealedValue) and vault is not None and vault.is_erased(stands.subject, stands.generation)
        ):
            return OpenedFacts(None, "erased")
        if not isinstance(stands, SealedValue) or vault is None or not _is_at_home(stands.about, path, at):
            why = "sealed"
            continue
        if subjects_of is not None and stands.subject not in subjects_of:
            why = "sealed"
            continue
        try:
            opened[path] = await vault.open(stands.as_json(), subject=stands.subject)
        except ErasedError:
            why = "sealed"
        subjects.add(stands.subject)
    if why is not None:
        return OpenedFacts(None, why)
    plain = {name: replaced(value, opened, path=f"{at}/{escaped(name)}") for name, value in facts.items()}
    texts = frozenset(text for value in opened.values() for text in texts_of(value))
    return OpenedFacts(plain, None, frozenset(subjects), texts)


def placeholders_in(value: object, path: str = FACTS_AT) -> Iterator[tuple[str, Placeholder]]:
    """Yield path and placeholder of everything in plain JSON that stands for a value that is not there."""
    stands = placeholder_of(value)
    if stands is not None:
        yield path, stands
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from placeholders_in(each, f"{path}/{escaped(name)}")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from placeholders_in(each, f"{path}/{place}")


def _is_at_home(about: str, path: str, at: str) -> bool:
    """Tell whether a value stands where it was sealed for.

    Circuits name the field alone, which is below `/outputs` of their outcomes; an earlier loom wrote the bare name.
    """
    if about == path or (at == OUTCOME_AT and path == f"{OUTCOME_AT}/outputs{about}"):
        return True
    return not about.startswith("/") and path.endswith(f"/{escaped(about)}")
