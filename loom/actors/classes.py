"""The registry of actor classes: their code in this process, how to make instances, and their policies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from loom.actors.actor import Actor, check_actor_class
from loom.errors import ConfigError, DuplicateKindError, PolicyNotRegisteredError, UnknownActorError
from loom.identity import By
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.precedents.registry import EquivalenceRegistry

__all__ = ["ActorClasses", "Factory"]

Factory = Callable[[], Actor[Any]]


class ActorClasses:
    """The actor classes of one loom, by actor type.

    Their policies and equivalence rules are registered in the name of `by`.
    """

    def __init__(
        self,
        policies: PolicyRegistry,
        rules: EquivalenceRegistry,
        *,
        by: By,
        configured: Collection[str] = (),
    ) -> None:
        self._configured = configured
        """The names of the policies that the config brings."""
        self._policies = policies
        self._rules = rules
        self._by = by
        self._classes: dict[str, type[Actor[Any]]] = {}
        self._factories: dict[str, Factory] = {}
        self._implicit: dict[str, PolicyVersion] = {}
        self._reserved: set[str] = set()

    async def register(self, cls: type[Actor[Any]], factory: Factory | None = None) -> bool:
        """Make a class known, its policy and its equivalence rule with it; return whether it was not known before.

        A class that was defined again replaces its former self; another one of the same type is a
        `DuplicateKindError`.
        """
        if cls.actor_type in self._reserved:
            raise DuplicateKindError(
                f"actor type [{cls.actor_type}] is that of imported decisions; expected a type of its own, as "
                "imported decisions take no commands: set actor_type on the class"
            )
        known = self._classes.get(cls.actor_type)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DuplicateKindError(
                f"actor type [{cls.actor_type}] is claimed by [{cls.__module__}.{cls.__qualname__}] and belongs to "
                f"[{known.__module__}.{known.__qualname__}]: set actor_type on one of them"
            )
        if known is not cls:
            check_actor_class(cls)
            if cls.policy is None:
                self._implicit[cls.actor_type] = await self._policies.register_implicit(cls.actor_type, by=self._by)
            elif isinstance(cls.policy, str):
                self._check_named(cls, cls.policy)
            else:
                self._check_not_configured(cls, cls.policy.name)
                await self._policies.ensure(cls.policy, by=self._by)
            if cls.equivalence is not None:
                await self._rules.register(cls.equivalence, by=self._by, reason="registered from code")
            self._classes[cls.actor_type] = cls
        if factory is not None:
            self._factories[cls.actor_type] = factory
        return known is not cls

    def reserve(self, actor_type: str) -> None:
        """Refuse code for an actor type from now on: its journals hold imported decisions."""
        self._reserved.add(actor_type)

    def known(self, cls: type[Actor[Any]]) -> bool:
        """Tell whether this very class is registered."""
        return self._classes.get(cls.actor_type) is cls

    def knows(self, actor_type: str) -> bool:
        """Tell whether there is code for an actor type."""
        return actor_type in self._classes

    def all(self) -> tuple[type[Actor[Any]], ...]:
        """Return every class there is code for, by actor type."""
        return tuple(self._classes[each] for each in sorted(self._classes))

    def get(self, actor_type: str) -> type[Actor[Any]]:
        """Return the class of an actor type; raise `UnknownActorError` where there is none."""
        cls = self._classes.get(actor_type)
        if cls is None:
            raise UnknownActorError(
                f"actor type [{actor_type}] has no code in this process; expected one of "
                f"[{', '.join(sorted(self._classes)) or 'none'}]: pass its class to Loom.open(actors=…), or list its "
                "module under modules: in the config"
            )
        return cls

    def make(self, cls: type[Actor[Any]]) -> Actor[Any]:
        """Make an instance, by the factory it was registered with if there is one."""
        factory = self._factories.get(cls.actor_type)
        return cls() if factory is None else factory()

    def pin(self, cls: type[Actor[Any]]) -> PolicyVersion:
        """Return the policy version that a turn of this class begins under: the one adopted now."""
        if cls.policy is None:
            return self._implicit[cls.actor_type]
        name = cls.policy if isinstance(cls.policy, str) else cls.policy.name
        return self._policies.adopted(name) or self._policies.latest(name)

    def _check_not_configured(self, cls: type[Actor[Any]], name: str) -> None:
        """Refuse a policy that is both in the code and in the config: it would be unclear which of them applies."""
        if name in self._configured:
            raise ConfigError(
                f"policy [{name}] of actor type [{cls.actor_type}] is in its class and under policies: in the config; "
                f'expected it in one of them: name it in the class, as in policy = "{name}", or take it out of the '
                "config"
            )

    def _check_named(self, cls: type[Actor[Any]], name: str) -> None:
        """Refuse a class whose policy is not registered."""
        if name not in self._policies.names():
            raise PolicyNotRegisteredError(
                f"policy [{name}] of actor type [{cls.actor_type}] is not registered; known are "
                f"[{', '.join(self._policies.names()) or 'none'}]: list its table under policies: in the config, or "
                "register it"
            )
