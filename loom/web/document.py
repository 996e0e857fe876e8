"""The OpenAPI document: the routes, and each command of the actors that are registered, with its fields and reply.

The classes of commands are known once the looms are open, so that their part is added when the document is asked for.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from loom.actors.actor import Actor, commands_of
from loom.actors.command import Command, reply_type
from loom.runtime import Loom
from loom.telemetry import get_logger

__all__ = ["Document"]

_SEND = "/api/actors/{actor_type}/{key}/{command}"
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")

_log = get_logger("loom.web")


class Document:
    """The document of an application whose looms may not be open yet."""

    def __init__(self, app: FastAPI, looms: Mapping[str, Loom]) -> None:
        self._app = app
        self._looms = looms
        self._made: tuple[tuple[type[Actor[Any]], ...], dict[str, Any]] | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the document; it is made once for the actors that are registered."""
        classes = tuple(
            {cls.actor_type: cls for loom in self._looms.values() for cls in loom.actors.classes.all()}.values()
        )
        if self._made is None or self._made[0] != classes:
            document = copy.deepcopy(FastAPI.openapi(self._app))
            for cls in classes:
                for command in commands_of(cls):
                    if command.by_hand:
                        _add(document, cls, command)
            self._made = classes, document
        return self._made[1]


def _add(document: dict[str, Any], cls: type[Actor[Any]], command: type[Command[Any]]) -> None:
    """Add the path of one command: the general one with its fields, its reply and what it says of itself."""
    name = _PLAIN.sub("_", f"{cls.actor_type}.{command.command_type}")
    operation = copy.deepcopy(document["paths"][_SEND]["post"])
    schemas = document["components"]["schemas"]
    operation["operationId"] = f"send_{name}"
    operation["tags"] = [cls.actor_type]
    operation["summary"] = f"{command.command_type} to {cls.actor_type}"
    operation["description"] = inspect.cleandoc(command.__doc__ or f"Send [{command.command_type}] to an actor.")
    operation["parameters"] = [
        each
        for each in operation["parameters"]
        if (each["in"], each["name"]) not in (("path", "actor_type"), ("path", "command"))
    ]
    fields = _schema(TypeAdapter(command), f"{name}.Command", schemas, mode="validation")
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": fields}}}
    reply = _schema(TypeAdapter(reply_type(command)), f"{name}.Reply", schemas, mode="serialization")
    general = schemas["TurnAnswer_JsonValue_"]
    nullable = {"anyOf": [reply, {"type": "null"}], "title": "Reply"}
    schemas[f"{name}.Turn"] = {**general, "properties": {**general["properties"], "reply": nullable}}
    for status in ("200", "202"):
        operation["responses"][status]["content"] = {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{name}.Turn"}}
        }
    document["paths"][f"/api/actors/{cls.actor_type}/{{key}}/{command.command_type}"] = {"post": operation}


def _schema(adapter: TypeAdapter[Any], name: str, schemas: dict[str, Any], *, mode: Any) -> dict[str, Any]:
    """Return a reference to the schema of a type, which is added with all that it refers to; `{}` where it has none."""
    try:
        schema = adapter.json_schema(mode=mode, ref_template=f"#/components/schemas/{name}.{{model}}")
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError) as error:
        _log.warning("schema_missing", of=name, error=str(error))
        return {}
    for inner, part in schema.pop("$defs", {}).items():
        schemas[f"{name}.{inner}"] = part
    schemas[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}
