"""From YAML text to plain values, without the traps of YAML.

Only plain data is read: no aliases (a bomb of 300 bytes makes 10⁹ nodes), no other types, no key twice. Values that
YAML 1.1 silently turns into others (12:30:00 into 45000, 010 into 8, a date) are refused: they have to be quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from loom.errors import ConfigError

__all__ = [
    "HIDDEN",
    "MAX_BYTES",
    "Document",
    "KeyPath",
    "Problem",
    "dotted",
    "is_text",
    "read_document",
    "shown",
    "shown_path",
]

MAX_BYTES = 1024 * 1024
"""The longest configuration file, in bytes."""

HIDDEN = "**********"
"""What a message shows in place of a secret."""

MAX_NODES = 20_000
MAX_DEPTH = 32

KeyPath: TypeAlias = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_BASED = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+)\Z")
_LONGEST_NUMBER = 64
_LONGEST_SHOWN = 80
_LONGEST_PATH = 4_096
# What PyYAML lets escape on broken input besides its own errors: chr() out of range, digits that are none, and more.
_PARSER_ERRORS = (yaml.YAMLError, ValueError, OverflowError, IndexError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one key: where it is, the value if there is one to show, and the rest of the sentence."""

    where: str
    rest: str
    value: str | None = None

    def text(self, *, secret: bool) -> str:
        """Return the message, with the value hidden if the key holds a secret."""
        value = "" if self.value is None else f" is [{HIDDEN if secret else shown(self.value)}],"
        return f"{self.where}{value} {self.rest}"


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as it was written, keys as they were spelled.

    `values` are plain values, `written` the text of each scalar by its key path, `problems` what cannot be read.
    """

    values: dict[str, object] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    problems: dict[KeyPath, Problem] = field(default_factory=dict)


def read_document(text: str, *, source: str) -> Document:
    """Return what a YAML text holds; raise `ConfigError` if it is not YAML, or is not one mapping."""
    if len(text) > MAX_BYTES:
        raise ConfigError(
            f"[{source}] is longer than a configuration may be; expected [at most {MAX_BYTES} bytes]: shorten it"
        )
    root = _compose(text, source=source)
    document = Document()
    if root is None or root.tag == f"{_TAG}null":
        return document
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        raise ConfigError(
            f"[{source}] holds {kind}; expected [a mapping of keys to values]: write lines such as `workspace: default`"
        )
    document.values.update(_Reader(document, source).mapping(root, ()))
    return document


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: `actors.max_failures`, `modules.0`."""
    return shown(".".join(str(part) for part in path))


def shown_path(path: str) -> str:
    """Return a path fit for one line of a message: whole, as a half of a path identifies no file."""
    return shown(path, longest=_LONGEST_PATH)


def shown(text: str, *, longest: int = _LONGEST_SHOWN) -> str:
    """Return text fit for one line of a message: shortened, and with control characters escaped."""
    short = text if len(text) <= longest else text[:longest] + "…"
    return short if short.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def is_text(text: str) -> bool:
    """Return whether text can be stored and printed: no U+0000, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


class _RefusedError(Exception):
    """Something in the text that is YAML, but is not read here; its message lacks the source."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes nodes within bounds; constructs nothing."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, unless it is an alias or one too many."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(
                line, f"alias [*{shown(str(event.anchor))}] is used; expected [no aliases]: write the value out"
            )
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _RefusedError(line, f"there are more values than [{MAX_NODES}]; expected [fewer]: shorten it")
        if self.depth >= MAX_DEPTH:
            raise _RefusedError(line, f"values are nested deeper than [{MAX_DEPTH}]; expected [less]: flatten it")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _compose(text: str, *, source: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except _RefusedError as error:
        message = f"in [{source}], line [{error.line}], {error}"
    except _PARSER_ERRORS as error:
        message = _syntax_message(error, text, source=source)
    # Raised outside the handler: what PyYAML says quotes lines of the file, and these may hold a secret.
    raise ConfigError(message)


def _syntax_message(error: Exception, text: str, *, source: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "the text cannot be parsed"
    if mark is None:
        return f"[{source}] is not YAML: {shown(str(problem))}; expected [a mapping of keys to values]: correct it"
    line = "".join(text.split("\n")[mark.line : mark.line + 1])
    cure = "put ${...} in quotes inside [ ] and { }" if "${" in line else "correct the line, or the one before it"
    return (
        f"[{source}] is not YAML at line [{mark.line + 1}], column [{mark.column + 1}]: {shown(str(problem))}; "
        f"expected [a mapping of keys to values]: {cure}"
    )


class _Reader:
    """Turns nodes into plain values and notes what it will not read."""

    def __init__(self, document: Document, source: str) -> None:
        self._written = document.written
        self._problems = document.problems
        self._source = source

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(path, f"has a key in line [{line}] that is no text; expected [a plain word]: write one")
                continue
            # Keys are taken as they are spelled, whatever YAML makes of `on` or `1.10`.
            key = key_node.value
            here = (*path, key)
            if key in lines:
                at = f"[{lines[key]}] and [{line}]"
                self._refuse(here, f"is given twice, in lines {at}; expected [once]: remove one of the two")
                continue
            lines[key] = line
            if self._check_text(key, here):
                values[key] = self._value(value_node, here)
        return values

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        if not isinstance(node, yaml.ScalarNode) and node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            return self._refuse_tag(node, path)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        self._written[path] = node.value
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> object:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "merge" | "value":
                return text if self._check_text(text, path) else None
            case "null":
                return None
            case "bool" if text.lower() in yaml.SafeLoader.bool_values:
                return yaml.SafeLoader.bool_values[text.lower()]
            case "int" | "float" as kind:
                return self._number(text, kind, path)
            case "timestamp":
                return self._refuse(path, "which YAML reads as a date; expected [text]: quote it", value=text)
        return self._refuse_tag(node, path)

    def _number(self, text: str, kind: str, path: KeyPath) -> object:
        if len(text) > _LONGEST_NUMBER:
            return self._refuse(
                path, "too long for a number; expected [a shorter one]: correct or quote it", value=text
            )
        if ":" in text:
            return self._refuse(path, "which YAML reads in base 60; expected [text]: quote it", value=text)
        digits = text.replace("_", "").lower()
        try:
            if kind == "int" and (_DECIMAL.match(text) or _BASED.match(text)):
                return int(digits, 0)
            if kind == "float":
                return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return self._refuse(path, "which is no number; expected [a number]: correct it", value=text)
        return self._refuse(
            path, "which YAML reads in base 8; expected [no leading zero]: drop or quote it", value=text
        )

    def _check_text(self, text: str, path: KeyPath) -> bool:
        if is_text(text):
            return True
        self._refuse(path, "holds U+0000 or half of a surrogate pair; expected [text]: remove it")
        return False

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> object:
        tag = shown(node.tag.replace(_TAG, "!!"))
        return self._refuse(path, f"has the tag [{tag}]; expected [plain values]: remove the tag")

    def _refuse(self, path: KeyPath, rest: str, *, value: str | None = None) -> object:
        where = f"key [{dotted(path)}] in [{self._source}]" if path else f"[{self._source}]"
        self._problems.setdefault(path, Problem(where, rest, value))
        return None
