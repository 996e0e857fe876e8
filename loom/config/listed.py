"""What a config lists by name: the modules in which the code of a user is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from loom.errors import ConfigError

__all__ = ["named_in"]


def named_in(modules: Sequence[str], *, key: str = "modules") -> Iterator[tuple[str, object]]:
    """Import what a config lists, and yield every object in it with the name of its module.

    `package.module` brings all that is in there, `package.module:Name` one; raises `ConfigError`, which names the key
    of the config that they come from.
    """
    for wanted in modules:
        module_name, _, name = wanted.partition(":")
        try:
            module = import_module(module_name)
            named: Mapping[str, object] = {name: getattr(module, name)} if name else dict(vars(module))
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"module [{wanted}] of [{key}] cannot be imported [{error}]; expected one: install it, or correct it"
            ) from error
        for value in named.values():
            yield module.__name__, value
