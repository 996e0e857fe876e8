"""What the fields of a model are, in words: type, bounds, default, and the docstring below each of them."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import BaseModel, PydanticUserError
from pydantic.errors import PydanticInvalidForJsonSchema

__all__ = ["Shape", "in_words", "shapes_of", "table"]

_LONGEST = 60


class Shape(NamedTuple):
    """One field: its name, what it may be, its default, and what it is for."""

    name: str
    type: str
    default: str
    about: str


def table(shapes: list[Shape]) -> str:
    """Return fields as a table in Markdown."""
    rows = [("field", "is", "default", "about"), ("---",) * 4, *shapes]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def shapes_of(model: type[BaseModel]) -> list[Shape]:
    """Return the fields of a model, in order."""
    schema = _schema_of(model)
    said = {name: text for cls in reversed(model.__mro__) for name, text in _docstrings(cls)}
    fields = schema.get("properties", {})
    return [
        Shape(
            f"`{name}`",
            in_words(fields[name], schema.get("$defs", {})) if name in fields else "a value",
            _default(model, name),
            said.get(name, ""),
        )
        for name in model.model_fields
    ]


def in_words(schema: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    """Return what a JSON schema allows."""
    if "$ref" in schema:
        return in_words(named.get(schema["$ref"].rpartition("/")[2], {}), named)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(in_words(each, named) for each in schema[choice]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"a list of {in_words(schema['items'], named)}" if schema.get("items") else "a list"
    if kind == "object":
        return schema["title"] if "properties" in schema and "title" in schema else "a mapping"
    if kind == "null":
        return "null"
    return {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false"}.get(
        str(kind), "any JSON"
    ) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    said = [
        f"{words} {schema[key]}"
        for key, words in (
            *(("minimum", "from"), ("exclusiveMinimum", "over"), ("maximum", "to"), ("exclusiveMaximum", "under")),
            *(("minLength", "from"), ("maxLength", "to")),
        )
        if key in schema
    ]
    return f" {' '.join(said)}{' characters' if 'maxLength' in schema or 'minLength' in schema else ''}" if said else ""


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    try:
        return model.model_json_schema(mode="serialization")
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return {}


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return ""
    try:
        said = json.dumps(value if not isinstance(value, tuple | frozenset) else list(value))
    except TypeError:
        said = str(value)
    return f"`{said}`" if len(said) <= _LONGEST else ""


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the text below each annotated name in the body of a class."""
    body = _classes_of(cls.__module__).get(cls.__qualname__)
    lines = [] if body is None else body.body
    for field, below in pairwise(lines):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                yield field.target.id, " ".join(text.split())


@cache
def _classes_of(module: str) -> Mapping[str, ast.ClassDef]:
    """Return the classes of a module as syntax; none of one whose source is not there."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return {}
    return {each.name: each for each in ast.parse(source).body if isinstance(each, ast.ClassDef)}
