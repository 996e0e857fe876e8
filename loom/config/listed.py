"""What a config says by name: modules with the code of a user, or one function of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from loom.errors import ConfigError

__all__ = ["function_named", "named_in"]


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


def function_named(name: str, *, key: str, that: str) -> Any:
    """Import the one function that a config names as `package.module:function`.

    `that` says what it does, in words for the `ConfigError` that is raised where there is no such function.
    """
    found = [value for _, value in named_in([name], key=key)] if ":" in name else []
    if len(found) != 1 or not callable(found[0]):
        raise ConfigError(
            f"[{key}] names [{name}]; expected a function, as package.module:function: name one that {that}"
        )
    return found[0]
