"""Finding, reading and checking `loom.config.yaml`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from loom.config.environment import Environment
from loom.config.models import LoomConfig, Section, canonical_key
from loom.config.problems import Explainer, is_secret, two_spellings, unknown_key
from loom.config.reading import MAX_BYTES, KeyPath, read_document, shown, shown_path
from loom.errors import ConfigError

__all__ = ["CONFIG_NAME", "find_config", "load_config", "parse_config"]

CONFIG_NAME = "loom.config.yaml"
"""The name under which a configuration is looked for."""

_MOST_PROBLEMS = 20
# `sections` is where extensions' sections end up, not something to be written in a file.
_CORE_KEYS = LoomConfig.model_fields.keys() - {"sections"}


def load_config(
    path: str | os.PathLike[str],
    *,
    env: Mapping[str, str] | None = None,
    sections: Mapping[str, type[Section]] | None = None,
) -> LoomConfig:
    """Return the configuration in a file; `data` and paths of policies are made absolute, seen from its directory.

    `env` stands in for the environment, `sections` are the further top-level sections that extensions bring, by name.
    Raises `ConfigError` with every problem on a line of its own.
    """
    source = os.fspath(path)
    config = parse_config(_read(source), source=source, env=env, sections=sections)
    beside = Path(source).absolute().parent
    policies = tuple(str(beside / each) if isinstance(each, str) else each for each in config.policies)
    return config.model_copy(update={"data": beside / config.data, "policies": policies})


def parse_config(
    text: str,
    *,
    source: str = "<string>",
    env: Mapping[str, str] | None = None,
    sections: Mapping[str, type[Section]] | None = None,
) -> LoomConfig:
    """Return the configuration in a YAML text, as `load_config` does; `data` stays as it is written."""
    extra = dict(sections or {})
    _check_section_names(extra)
    source = shown_path(source)
    document = read_document(text, source=source)
    environment = Environment(os.environ if env is None else env, source=source)
    values = environment.fill(document)
    unreadable = document.problems | environment.problems
    explainer = Explainer(values, written=document.written, used_at=environment.used_at, source=source)
    config, found = _validate(values, extra, explainer, source=source)
    spared = set() if config is None else {path for path in environment.unset if _is_spared(path, config.sections)}
    unreadable = {path: problem for path, problem in unreadable.items() if path not in spared}
    # A key that could not be read has its problem already; what the models say about the gap is noise.
    problems = [problem.text(secret=_is_secret(path, extra)) for path, problem in unreadable.items()]
    problems += [text for path, text in found if path not in unreadable]
    if config is None or problems:
        raise ConfigError(_joined(problems))
    return config


def find_config(start: str | os.PathLike[str] = ".") -> Path | None:
    """Return the nearest `loom.config.yaml` in a directory or in one above it, as git looks for a repository.

    A configuration names code to import. One found *above* must therefore belong to the user, to root or to the owner
    of the directory asked about; another one is a `ConfigError`, as /tmp is above many directories.
    """
    directory = Path(start).absolute()
    for place in (directory, *directory.parents):
        path = place / CONFIG_NAME
        if os.path.isfile(path):
            if place != directory:
                _check_owner(path, directory)
            return path
    return None


class _Outcome(NamedTuple):
    config: LoomConfig | None
    problems: list[tuple[KeyPath, str]]


def _validate(
    values: Mapping[str, object], extra: Mapping[str, type[Section]], explainer: Explainer, *, source: str
) -> _Outcome:
    problems: list[tuple[KeyPath, str]] = []
    core: dict[str, object] = {}
    given: dict[str, str] = {}
    known = _CORE_KEYS | extra.keys()
    for key, value in values.items():
        name = canonical_key(key)
        if name not in known:
            problems.append(((key,), unknown_key((key,), known, source=source)))
        elif name in given:
            problems.append(((key,), two_spellings(name, (given[name],), (key,), source=source)))
        else:
            given[name] = key
            if name in _CORE_KEYS:
                core[key] = value
    parsed: dict[str, Section] = {}
    for name, model in extra.items():
        try:
            if name in given:
                parsed[name] = model.model_validate(values[given[name]])
            elif not any(info.is_required() for info in model.model_fields.values()):
                parsed[name] = model()
        except ValidationError as error:
            problems.extend(explainer.explain(error, model, at=given.get(name)))
    try:
        return _Outcome(LoomConfig.model_validate({**core, "sections": parsed}), problems)
    except ValidationError as error:
        newer = [details["loc"] for details in error.errors() if details["type"] == "loom_newer"]
        explained = list(explainer.explain(error, LoomConfig))
        # What else a newer format holds, this loom cannot judge.
        return _Outcome(None, [p for p in explained if p[0] == newer[0]] if newer else [*explained, *problems])


def _is_spared(path: KeyPath, sections: Mapping[str, Section]) -> bool:
    """Return whether a key path is one that nothing needs, as the sections are set."""
    section = sections.get(canonical_key(str(path[0]))) if len(path) == 2 else None
    return section is not None and canonical_key(str(path[1])) in type(section).spares(sections)


def _is_secret(path: KeyPath, extra: Mapping[str, type[Section]]) -> bool:
    """Return whether a key path holds a secret; one that nothing knows may be a misspelt one."""
    name = canonical_key(str(path[0])) if path else ""
    if name in extra:
        return is_secret(path[1:], extra[name])
    return bool(path) and name not in _CORE_KEYS


def _check_section_names(sections: Mapping[str, type[Section]]) -> None:
    for name in sections:
        if name in LoomConfig.model_fields or name != canonical_key(name) or not name.isidentifier():
            raise ConfigError(
                f"section [{shown(name)}] cannot be registered; expected [snake_case, and not a key of loom's]: rename"
            )


def _read(source: str) -> str:
    try:
        with open(source, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(
                f"config file [{shown_path(source)}] is too long; expected [at most {MAX_BYTES} bytes]: shorten it"
            )
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        what, expected, cure = "does not exist", "a YAML file", "create one with `loom init`, or name another"
    except IsADirectoryError:
        what, expected, cure = "is a directory", "a YAML file", f"name the {CONFIG_NAME} in it"
    except UnicodeDecodeError as error:
        what, expected, cure = f"is not text at byte [{error.start}]", "UTF-8", "save it as UTF-8"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what, expected, cure = f"cannot be read: {reason}", "a readable file", "check its path and its permissions"
    raise ConfigError(f"config file [{shown_path(source)}] {what}; expected [{expected}]: {cure}")


def _check_owner(path: Path, directory: Path) -> None:
    owner = path.stat().st_uid
    try:
        trusted = {0, os.geteuid(), directory.stat().st_uid}
    except OSError:
        trusted = {0, os.geteuid()}
    if owner not in trusted:
        raise ConfigError(
            f"config file [{shown_path(str(path))}] belongs to user [{owner}]; expected [you, or whose directory "
            "this is]: name the file explicitly if you trust it"
        )


def _joined(problems: list[str]) -> str:
    listed = problems[:_MOST_PROBLEMS]
    if len(problems) > len(listed):
        listed.append(f"… and [{len(problems) - len(listed)}] more")
    return "\n".join(listed)
