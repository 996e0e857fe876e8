"""Which fields of a model are declared to be protected, read from its class once; or which paths of plain JSON."""

from __future__ import annotations

import collections.abc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from loom.errors import ConfigError
from loom.sealing.markers import Handling, Marker

__all__ = [
    "Each",
    "Leaf",
    "Node",
    "Parts",
    "declaration_of",
    "declaration_of_type",
    "declared_by",
    "declared_in",
    "declared_paths",
    "leaves_of",
    "merged",
]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is protected whole. `subject` is the field next to it that names whose it is, None for the usual."""

    handling: Handling
    subject: str | None = None

    @property
    def takes_key(self) -> bool:
        """Whether it is sealed or hashed, which takes the key of a subject."""
        return self.handling in ("seal", "hash")


@dataclass(frozen=True, slots=True)
class Parts:
    """An object, some of whose fields are protected or hold something that is; empty where nothing is declared."""

    fields: Mapping[str, Node]

    def __bool__(self) -> bool:
        return bool(self.fields)


@dataclass(frozen=True, slots=True)
class Each:
    """A list or an object, each of whose values is protected or holds something that is."""

    item: Node


Node: TypeAlias = Leaf | Parts | Each

Names: TypeAlias = Literal["written", "aliased", "read"]
"""By which of its names a field is found: that which it is written by, by alias where it has one, or is read by."""

_HANDLINGS = ("mask", "hash", "drop", "seal")
_LISTS: frozenset[object] = frozenset(
    {list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable}
)
_OBJECTS: frozenset[object] = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


@lru_cache(maxsize=4_096)
def declaration_of(cls: type[BaseModel]) -> Parts:
    """Return what a model class declares of its fields, those of models within it included.

    Raises `ConfigError` where a declaration is of a shape that could not be followed in the JSON that is written: in a
    set, in a key of a dict, in one of several models, in a model that holds itself, in a class that is no model.
    """
    return _Reading(cls).parts(cls)


def declaration_of_type(annotation: Any) -> Node | None:
    """Return what any type declares, such as `list[Account]`; None where it declares nothing.

    Raises `ConfigError` as `declaration_of` does.
    """
    return _Reading(annotation).whole()


@lru_cache(maxsize=4_096)
def declared_by(cls: Any, *, names: Names = "read") -> Node | None:
    """Return what a type declares of the JSON that it is read from, as `list[Account]` of a look-up's result.

    A field that has an alias is found by that, and by its name where the class takes that too; or, as `aliased`, by the
    alias that it is written by. None where nothing is declared. Raises `ConfigError`.
    """
    return _Reading(cls, names=names).whole()


def declared_in(value: object) -> Node | None:
    """Return what the models in a value declare of its JSON, as `plain_of` writes it by alias.

    Raises `ConfigError` for a list whose models declare different things.
    """
    if isinstance(value, BaseModel):
        return declared_by(type(value), names="aliased")
    if isinstance(value, Mapping):
        found = {str(name): declared_in(each) for name, each in value.items()}
        parts = Parts({name: each for name, each in found.items() if each is not None})
        return parts if parts else None
    if not isinstance(value, list | tuple):
        return None
    nodes = [declared_in(each) for each in value]
    item = next((each for each in nodes if each is not None), None)
    if item is None:
        return None
    if any(each != item for each in nodes):
        raise ConfigError("a list has models that declare different things; expected one: declare the path of it")
    return Each(item)


def leaves_of(node: Node | None) -> Iterator[Leaf]:
    """Yield the declared values of a declaration, however deep they are."""
    match node:
        case Leaf():
            yield node
        case Parts(fields):
            for each in fields.values():
                yield from leaves_of(each)
        case Each(item):
            yield from leaves_of(item)


def merged(one: Node | None, other: Node | None) -> Node | None:
    """Return what two declarations of the same JSON say together; raise `ConfigError` where they disagree."""
    if one is None or other is None or one == other:
        return one or other
    if isinstance(one, Parts) and isinstance(other, Parts):
        names = {**one.fields, **other.fields}
        together = {name: merged(one.fields.get(name), other.fields.get(name)) for name in names}
        return Parts({name: each for name, each in together.items() if each is not None})
    if isinstance(one, Each) and isinstance(other, Each):
        item = merged(one.item, other.item)
        return Each(item) if item is not None else one
    raise ConfigError(
        "a value is declared in two ways, by its model and by a path; expected one declaration of each value: drop one"
    )


def declared_paths(paths: Mapping[str, str]) -> Node:
    """Return what is declared by paths, as of a look-up: `{"email": "seal", "contacts.*.phone": "mask"}`.

    A path is names joined by dots; `*` is each value of a list or an object. Raises `ConfigError`.
    """
    root: dict[str, Any] = {}
    for path, handling in paths.items():
        names = path.split(".")
        if handling not in _HANDLINGS:
            raise ConfigError(
                f"path [{path}] is to be protected by [{handling}]; expected one of [{', '.join(_HANDLINGS)}]"
            )
        if not all(names):
            raise ConfigError(f"path [{path}] has an empty name in it; expected names joined by dots: write it so")
        place: Any = root
        for name in names[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else place
        if not isinstance(place, dict) or names[-1] in place:
            raise ConfigError(f"path [{path}] lies within another that is declared, or the other way; expected one")
        place[names[-1]] = Leaf(handling)  # type: ignore[arg-type]
    return _node_of(root, "")


def _node_of(place: Mapping[str, Any] | Leaf, path: str) -> Node:
    if isinstance(place, Leaf):
        return place
    if "*" in place and len(place) > 1:
        raise ConfigError(f"path [{path}*] covers [{path}…] as well; expected the one or the other: drop one")
    if "*" in place:
        return Each(_node_of(place["*"], f"{path}*."))
    return Parts({name: _node_of(each, f"{path}{name}.") for name, each in place.items()})


class _Reading:
    """Reads the declarations of one class."""

    def __init__(self, cls: Any, *, names: Names = "written") -> None:
        self._cls = cls
        self._by = names
        self._above: list[type[BaseModel]] = []
        self._held_by_itself: set[type[BaseModel]] = set()

    def whole(self) -> Node | None:
        """Return what a type declares that need not be a model; None where it declares nothing."""
        return self._node(self._cls, (), self._named)

    @property
    def _named(self) -> str:
        return getattr(self._cls, "__qualname__", None) or f"{self._cls!s:.80}"

    def parts(self, cls: type[BaseModel]) -> Parts:
        if not cls.__pydantic_complete__ and not cls.model_rebuild(raise_errors=False):
            raise self._refused(cls.__qualname__, "names a type that is not defined", "define the type first")
        self._above.append(cls)
        fields: dict[str, Node] = {}
        for name, field in cls.model_fields.items():
            where = f"{cls.__qualname__}.{name}"
            node = self._node(field.annotation, field.metadata, where)
            if node is None:
                continue
            if isinstance(node, Leaf) and node.subject is not None:
                self._check_subject_field(cls, node.subject, where)
            fields |= dict.fromkeys(self._names(cls, name, field, where), node)
        self._above.pop()
        if fields and cls in self._held_by_itself:
            raise self._refused(
                cls.__qualname__, "holds itself, and declares fields", "declare the whole field that holds it"
            )
        return Parts(fields)

    def _names(self, cls: type[BaseModel], name: str, field: FieldInfo, where: str) -> Iterable[str]:
        """Return the names that a field has in the JSON that is written, or that is read."""
        config = cls.model_config
        if self._by != "read":
            aliased = self._by == "aliased" or config.get("serialize_by_alias")
            return [(field.serialization_alias or name) if aliased else name]
        alias = field.validation_alias
        if alias is None:
            return [name]
        if not isinstance(alias, str):
            raise self._refused(where, "is read from several places", "give it one alias, or declare the path")
        by_name = config.get("validate_by_name") or config.get("populate_by_name")
        return [alias, name] if by_name else [alias]

    def _node(self, annotation: Any, metadata: Iterable[object], where: str) -> Node | None:
        markers = list(_markers(metadata))
        if get_origin(annotation) is Annotated:
            inner, *more = get_args(annotation)
            return self._node(inner, [*more, *markers], where)
        if hasattr(annotation, "__value__"):  # an alias of a type
            return self._node(annotation.__value__, markers, where)
        if len(markers) > 1:
            raise self._refused(where, "is declared twice", "keep one declaration")
        inside = self._inside(annotation, where)
        if not markers:
            return inside
        if inside is not None:
            raise self._refused(where, "is declared, and so is something in it", "keep one of the declarations")
        return Leaf(markers[0].handling, markers[0].named_subject)

    def _inside(self, annotation: Any, where: str) -> Node | None:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Literal:
            return None
        if isinstance(annotation, type) and origin is None:
            return self._of_class(annotation, where)
        nodes = [self._node(each, (), where) for each in arguments if each is not Ellipsis]
        if not any(nodes):
            return None
        if origin in (Union, UnionType):
            others = [each for each in arguments if each is not NoneType]
            if len(others) > 1:
                raise self._refused(where, "may be of several types, and something in one of them is declared", _WHOLE)
            return next(each for each in nodes if each is not None)
        item = nodes[-1]
        if item is not None and (origin in _LISTS or (origin is tuple and arguments[1:] == (Ellipsis,))):
            return Each(item)
        if item is not None and origin in _OBJECTS and nodes[0] is None:
            return Each(item)
        raise self._refused(where, f"has something declared in a [{annotation!s:.80}]", _WHOLE)

    def _of_class(self, cls: type, where: str) -> Node | None:
        if issubclass(cls, BaseModel):
            if cls in self._above:
                self._held_by_itself.add(cls)
                return None
            parts = self.parts(cls)
            return parts if parts else None
        if _has_fields(cls):
            hints = get_type_hints(cls, include_extras=True)
            if any(self._node(each, (), where) is not None for each in hints.values()):
                raise self._refused(where, f"has something declared in [{cls.__qualname__}], which is no model", _WHOLE)
        return None

    def _check_subject_field(self, cls: type[BaseModel], name: str, where: str) -> None:
        field = cls.model_fields.get(name)
        if field is None or field.annotation is not str or any(_markers(field.metadata)):
            raise self._refused(
                where,
                f"names its subject by [{name}], which is no plain text field of [{cls.__qualname__}]",
                "name a field of type str that is not declared itself",
            )

    def _refused(self, where: str, problem: str, cure: str) -> ConfigError:
        return ConfigError(
            f"declaration of [{where}] in [{self._named}] cannot be followed: it {problem}; "
            f"expected Sealed, Masked, Hashed or Dropped on a field: {cure}"
        )


_WHOLE = "declare the whole field"


def _markers(metadata: Iterable[object]) -> Iterable[Marker]:
    for each in metadata:
        if isinstance(each, Marker):
            yield each
        elif isinstance(each, FieldInfo):
            yield from _markers(each.metadata)


def _has_fields(cls: type) -> bool:
    """Tell whether a class that is no model has fields: a dataclass, a TypedDict, a named tuple."""
    return hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields") or hasattr(cls, "__total__")
