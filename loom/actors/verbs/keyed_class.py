"""The class of a decision under an equivalence rule, sealed where keyed attributes make it of facts that are sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from loom.actors.keeping import keys_at_hand, lost
from loom.actors.turn import Turn
from loom.actors.verbs.evaluation import GivenFacts
from loom.actors.verbs.protected_facts import check_not_sealed, is_keyed_over
from loom.actors.verbs.protected_outcome import Outcome
from loom.decisions.decision import PrecedentClass
from loom.errors import ConfigError
from loom.precedents.equivalence import EquivalenceRule, KeyOf
from loom.precedents.sealed_class import key_with, sealed_for
from loom.sealing import Parts, subjects_in
from loom.sealing.vault import Keys

__all__ = ["Classified", "Situation", "classified", "key_of_classes", "situation_of"]


class Classified(NamedTuple):
    """A class as it is written: in clear, or sealed; one of the two is None."""

    clear: PrecedentClass | None = None
    sealed: JsonValue = None


class Situation(NamedTuple):
    """The key of a situation, and the keys of the subjects whose sealed facts it is made of."""

    key: str
    keys: Mapping[str, Keys]

    def sealed(self, turn: Turn) -> JsonValue:
        """Return it sealed for these subjects; None where it is made of no sealed fact."""
        return sealed_for(self.keys, self.key, once=f"{turn.command_id} situation") if self.keys else None


async def key_of_classes(turn: Turn, rule: EquivalenceRule | None) -> KeyOf | None:
    """Return what makes the keyed attributes of a rule; None for a rule without them.

    Raises `ConfigError` where there is no vault. A replay makes no key, and stops as `sealed` where there is none.
    """
    if rule is None or not rule.is_keyed:
        return None
    vault = turn.services.vault
    keys = None if vault is None else await vault.keys_of_classes(make=turn.compare is None)
    if keys is not None:
        return key_with(keys)
    if turn.recorded_steps is not None:
        raise lost(turn, "sealed")
    raise ConfigError(
        f"equivalence rule [{rule.name}] has keyed attributes, and there is no vault; expected a master key: set "
        "sealing: in the config"
    )


def classified(
    turn: Turn,
    rule: EquivalenceRule,
    facts: GivenFacts,
    outcome: Outcome,
    context: Mapping[str, JsonValue],
    *,
    key_of: KeyOf | None,
    once: str,
) -> Classified:
    """Return the class of a decision, sealed for the subjects of its facts where a keyed attribute is sealed."""
    declared = None if facts.kept is None else facts.kept.declared
    check_not_sealed(rule, declared, outcome.declared)
    alike = rule.classify(facts.plain, outcome.plain, context=context, key_of=key_of)
    subjects = _subjects_of(rule, facts)
    if not subjects:
        return Classified(clear=alike)
    plain = alike.model_dump(mode="json")
    return Classified(sealed=sealed_for(keys_at_hand(turn, subjects), plain, once=f"{turn.command_id} {once}"))


def situation_of(
    turn: Turn, rule: EquivalenceRule, facts: GivenFacts, context: Mapping[str, JsonValue], *, key_of: KeyOf | None
) -> Situation:
    """Return the key of a case before it is decided."""
    check_not_sealed(rule, None if facts.kept is None else facts.kept.declared)
    key = rule.situation_key(facts.plain, context=context, key_of=key_of)
    return Situation(key, keys_at_hand(turn, _subjects_of(rule, facts)))


def _subjects_of(rule: EquivalenceRule, facts: GivenFacts) -> frozenset[str]:
    kept = facts.kept
    if kept is None or not is_keyed_over(rule.attributes, kept.declared):
        return frozenset()
    return subjects_in({"facts": kept.plain}, Parts({"facts": kept.declared}), subject=kept.subject)
