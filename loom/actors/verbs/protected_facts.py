"""Facts with sealed fields: plain for the rule, sealed in all that is written, and removed from its explanations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, JsonValue

from loom.actors.gathered import KeptFacts
from loom.actors.keeping import hold_keys, keyed_digest, keys_at_hand, names_of, subject_of_turn
from loom.actors.turn import Turn
from loom.errors import AdmissionError, ConfigError
from loom.policies.evaluation import Evaluation, RuleMiss, Scalar
from loom.precedents.attributes import FromContext, Plain
from loom.precedents.equivalence import EquivalenceRule
from loom.sealing import (
    Each,
    Leaf,
    Node,
    Parts,
    declaration_of,
    leaves_of,
    plain_of,
    protect_with,
    redacted,
    subjects_in,
    texts_in,
)

__all__ = [
    "check_facets",
    "check_not_sealed",
    "declared_facts",
    "hold_keys_of_facts",
    "is_declared",
    "is_keyed_over",
    "kept_facts",
    "without_facts",
]

_WHERE = "facts"
_REDACTED = "[sealed]"


@lru_cache(maxsize=4_096)
def declared_facts(cls: type[BaseModel]) -> Parts | None:
    """Return what a class of facts declares; None where it declares nothing.

    Raises `ConfigError` for a field that is masked, hashed or dropped: the facts of a decision are kept (law 3).
    """
    declared = declaration_of(cls)
    if not declared:
        return None
    other = next((each for each in leaves_of(declared) if each.handling != "seal"), None)
    if other is not None:
        raise ConfigError(
            f"facts [{cls.__qualname__}] have a field that would be lost by [{other.handling}]; expected facts that "
            "are kept or sealed, as what a decision was judged on has to be there to judge it again: declare Sealed()"
        )
    return declared


async def hold_keys_of_facts(turn: Turn, facts: object) -> None:
    """Load the keys with which some facts are sealed."""
    if isinstance(facts, BaseModel) and (declared := declared_facts(type(facts))) is not None:
        plain = plain_of(facts)
        await hold_keys(turn, subjects_in(plain, declared, subject=subject_of_turn(turn)))


def kept_facts(turn: Turn, declared: Parts, plain: dict[str, JsonValue]) -> KeptFacts:
    """Return facts as they may be written, with a keyed digest that cannot be guessed; the turn notes their values.

    Raises `AdmissionError` where no subject is named, or its keys are not held; see `keys_at_hand`.
    """
    subject = subject_of_turn(turn)
    node, whole = Parts({_WHERE: declared}), dict[str, JsonValue]({_WHERE: plain})
    subjects = subjects_in(whole, node, subject=subject)
    keys = keys_at_hand(turn, subjects)
    turn.protected.add(subjects, texts_in(plain, declared, subject=subject))
    written: Any = protect_with(
        keys, whole, node, subject=subject, once=f"{turn.command_id} {_WHERE}", names=names_of(turn)
    )
    digest = keyed_digest(keys, whole, about="loom facts") if keys else None
    return KeptFacts(plain, written[_WHERE], declared, digest, subject)


def without_facts(turn: Turn, evaluation: Evaluation, kept: KeptFacts | None) -> Evaluation:
    """Return an evaluation without the turn's protected values; short ones of the facts are removed as whole words."""
    texts = turn.protected.texts
    if not texts:
        return evaluation
    words = frozenset() if kept is None else texts_in(kept.plain, kept.declared, subject=kept.subject)

    def without(text: str) -> str:
        return _without_words(redacted(text, texts), words)

    def scalar(value: Scalar) -> Scalar:
        if isinstance(value, str):
            return without(value)
        return _REDACTED if value is not None and not isinstance(value, bool) and str(value) in words else value

    def miss(each: RuleMiss) -> RuleMiss:
        fact = None if each.condition is None or kept is None else each.condition.fact
        if fact is not None and kept is not None and is_declared(kept.declared, fact):
            return each.model_copy(update={"why": f"{fact} is {_REDACTED}, and does not fit"})
        return each.model_copy(update={"why": without(each.why)})

    reason = evaluation.exception_reason
    return evaluation.model_copy(
        update={
            "why": without(evaluation.why),
            "why_not": tuple(miss(each) for each in evaluation.why_not),
            "exception_reason": None if reason is None else without(reason),
            "details": {name: scalar(value) for name, value in evaluation.details.items()},
        }
    )


def is_declared(node: Node | None, name: str) -> bool:
    """Tell whether a fact, by its name or by names joined by dots, is sealed or holds something that is."""
    if isinstance(node, Parts) and name in node.fields:
        return True
    for part in name.split("."):
        match node:
            case Parts(fields):
                node = fields.get(part)
            case Each(item):
                node = item
            case Leaf():
                return True
        if node is None:
            return False
    return True


def is_keyed_over(attributes: Iterable[Plain | FromContext], node: Node | None) -> bool:
    """Tell whether a keyed attribute is of something that is sealed."""
    return node is not None and any(
        not isinstance(each, FromContext) and each.keyed and is_declared(node, each.name) for each in attributes
    )


def check_not_sealed(rule: EquivalenceRule, facts: Node | None, outcome: Node | None = None) -> None:
    """Refuse an equivalence rule with sealed attributes that are not keyed.

    Without a key, the value could be guessed from the key of its class.
    """
    for attributes, node, what in ((rule.attributes, facts, "fact"), (rule.outcome, outcome, "outcome")):
        for each in attributes if node is not None else ():
            if not isinstance(each, FromContext) and not each.keyed and is_declared(node, each.name):
                raise AdmissionError(
                    f"equivalence rule [{rule.name}] has the attribute [{each.name}], a {what} that is sealed: the key "
                    "of its class could be guessed at; expected attributes that are not, or keyed=True: change the rule"
                )


def check_facets(facets: Mapping[str, JsonValue] | None, declared: Iterable[Node | None]) -> None:
    """Refuse to look for precedents by a sealed fact: its value would be written in the journal."""
    for name in facets or ():
        if any(is_declared(node, name) for node in declared if node is not None):
            raise AdmissionError(
                f"facet [{name:.80}] is a fact that is sealed; expected one that is not: look for precedents by another"
            )


def _without_words(text: str, words: Collection[str]) -> str:
    for each in sorted(words, key=lambda each: (-len(each), each)):
        if each:
            text = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", _REDACTED, text)
    return text
