"""R35, the config: secrets of fifty kinds in its keys and in the environment are in no error, traceback or repr."""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import pytest
from pydantic import SecretStr

from loom.config import LoomConfig, Section, parse_config
from loom.errors import LoomError
from loom.journal.postgres.url import PostgresUrl
from loom.workspace import sections
from tests.reliability.board import SEED, Tally, row
from tests.reliability.planted import found_in, planted

OTHERS = 8
"""So many keys that hold no secret get one by a variable, of each kind."""


class _Bare(Section):
    key: str


class Key(NamedTuple):
    """A key of the config, as a path, and whether it holds a secret."""

    path: tuple[str, ...]
    secret: bool


def _keys(model: type[Section], path: tuple[str, ...]) -> Iterator[Key]:
    """Yield the keys of a section; `x` stands for a name in a mapping, which may be any."""
    for name, field in model.model_fields.items():
        inner, mapped = _models(field.annotation)
        if inner:
            for each in inner:
                yield from _keys(each, (*path, name, *(("x",) if mapped else ())))
        else:
            yield Key((*path, name), SecretStr in _parts(field.annotation))


def _parts(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    return {annotation, *(each for part in get_args(annotation) for each in _parts(part))}


def _models(annotation: Any) -> tuple[list[type[Section]], bool]:
    parts = _parts(annotation)
    found = [each for each in parts if isinstance(each, type) and issubclass(each, Section)]
    return found, any(getattr(each, "__name__", "") == "Mapping" for each in map(get_origin, parts))


def every_key() -> list[Key]:
    found = [key for key in _keys(LoomConfig, ()) if key.path != ("sections",)]
    return found + [key for name, model in sections().items() for key in _keys(model, (name,))]


def _written(path: tuple[str, ...], value: object, **more: object) -> str:
    """Return a config that sets one key, and others next to it."""
    nested: Any = {path[-1]: value, **more}
    for name in reversed(path[:-1]):
        nested = {name: nested}
    return json.dumps(nested, ensure_ascii=False)


@pytest.mark.seconds(20)
@row("R35")
def test_what_the_config_is_given_as_a_secret_or_by_a_variable_is_said_by_nothing(tally: Tally) -> None:
    keys = every_key()
    secret_keys = [key for key in keys if key.secret]
    tally.check(len(secret_keys) >= 8, f"only these hold secrets: {secret_keys}")
    for secret in planted(random.Random(SEED)):
        said = []
        for key in secret_keys:
            said += [_said(_written(key.path, secret.value)), _said(_written(key.path, "${IT}"), IT=secret.value)]
            said.append(_said(_written(key.path, secret.value, nonsense=1)))
            said.append(_said(_written(key.path, [secret.value])))
        others = tally.dice.sample([key for key in keys if not key.secret], OTHERS)
        said += [_refused(_written(key.path, "${IT}"), IT=secret.value) for key in others]
        said.append(_said(f"journal:\n  url: {secret.value}\n bad: [{{\n"))
        said += [_address(each.format(secret.value)) for each in _ADDRESSES]
        tally.tried(len(said))
        for _, what in found_in([secret], {f"{number}": text.encode() for number, text in enumerate(said)}):
            tally.fail(f"{secret.kind}: {said[int(what)]}")
    [bare, *_] = planted(random.Random(SEED))
    shown = f"{_Bare(key=bare.value)!r}".encode()  # the same field as plain text
    tally.control(trials=1, found=bool(found_in([bare], {"shown": shown})))
    refused = _refused(_written(("workspace",), planted(tally.dice)[0].value + " /"))
    tally.note(f"{len(secret_keys)} keys hold secrets: {', '.join('.'.join(key.path) for key in secret_keys)}")
    tally.check(refused, "a name that is no secret is not refused")


_ADDRESSES = (
    "postgresql://loom:{}@127.0.0.1:1/loom",
    "postgresql://loom:{}@[::1/loom",
    "postgres://loom:{}@h:no/loom?x=1",
)


def _said(text: str, **env: str) -> str:
    """Return all that is said of a config: what its error says and shows, or how it is shown itself."""
    try:
        config = parse_config(text, env=env, sections=sections())
    except LoomError as error:
        return "".join(traceback.format_exception(error))
    return f"{config!r}\n{config}"


def _refused(text: str, **env: str) -> str:
    """Return what is said of a config that is refused; one that is taken shows the value of a key that is no secret."""
    try:
        parse_config(text, env=env, sections=sections())
    except LoomError as error:
        return "".join(traceback.format_exception(error))
    return ""


def _address(text: str) -> str:
    try:
        return f"{PostgresUrl.parse(text, workspace='w')!r} {PostgresUrl.parse(text, workspace='w')}"
    except LoomError as error:
        return "".join(traceback.format_exception(error))
