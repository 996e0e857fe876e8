"""Where circuits of a user's come from: the modules that a config lists, and definitions in YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from loom.circuits.definition import Circuit, CircuitDefinition, CircuitFunction
from loom.config import named_in
from loom.config.written import read_written
from loom.errors import ConfigError

__all__ = ["listed_circuits", "load_circuits"]


def listed_circuits(modules: Sequence[str]) -> list[Circuit]:
    """Return the circuits that are defined in modules, by themselves or in a list."""
    found = []
    for home, value in named_in(modules, key="circuits.modules"):
        several = value if isinstance(value, list | tuple) else (value,)
        mine = (each for each in several if isinstance(each, Circuit))
        found += [each for each in mine if getattr(each.run, "__module__", None) == home]
    return found


def load_circuits(path: str | Path, functions: Mapping[str, CircuitFunction]) -> list[Circuit]:
    """Return the circuits that a YAML file defines, each run by the function of its id; raise `ConfigError`."""
    file = Path(path)
    written = read_written(file, yaml.safe_load, what="circuits file", problem=ConfigError, fewer="split it")
    listed = written.get("circuits") if isinstance(written, Mapping) else None
    if not isinstance(listed, list):
        raise ConfigError(f"circuits file [{file}] has no list [circuits]; expected one: write it")
    found = []
    for each in listed:
        try:
            definition = CircuitDefinition.model_validate(each)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"circuit in [{file}] is none at [{where}] [{first['msg']}]: correct it") from error
        if definition.circuit_id not in functions:
            raise ConfigError(
                f"circuit [{definition.circuit_id}] of [{file}] has no function; expected one of that id: hand it in"
            )
        found.append(Circuit(definition, functions[definition.circuit_id]))
    return found
