"""`/docs`: the OpenAPI document as a page for people. Everything on it comes with the package; it has no scripts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from loom.web.rendering import templates_of

__all__ = ["add_reference"]

_METHODS = ("get", "post", "put", "patch", "delete")
_MOST_DEEP = 4
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Field(NamedTuple):
    """A parameter, or a field of a body: its name, its type in words, whether it is needed, and what it is for."""

    name: str
    type: str
    required: bool
    about: str


class Operation(NamedTuple):
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    about: str
    parameters: Sequence[Field]
    body: Sequence[Field]
    answers: Sequence[tuple[str, str, Sequence[Field]]]
    """By status: what it means, and the fields of the answer."""
    curl: str


def add_reference(app: FastAPI) -> None:
    """Add the page and its style sheet; the document is made when the page is asked for."""

    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        document = app.openapi()
        groups: dict[str, list[Operation]] = {}
        for path, item in document["paths"].items():
            for method in _METHODS:
                if method in item:
                    tag = (item[method].get("tags") or ["loom"])[0]
                    groups.setdefault(tag, []).append(_operation(document, path, method, item[method]))
        html = _template().render(groups=groups, title=document["info"]["title"], style=_style()[1])
        return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})

    @app.get("/docs/reference.css", include_in_schema=False)
    async def style() -> Response:
        return Response(_style()[0], media_type="text/css; charset=utf-8")


def _operation(document: Mapping[str, Any], path: str, method: str, said: Mapping[str, Any]) -> Operation:
    summary = str(said.get("summary", ""))
    about = str(said.get("description", ""))
    body = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = []
    for status, answer in said.get("responses", {}).items():
        if status.startswith("2"):
            shape = answer.get("content", {}).get("application/json", {}).get("schema")
            answers.append((status, str(answer.get("description", "")), _fields(document, shape)))
    return Operation(
        id=str(said.get("operationId", f"{method}-{path}")),
        method=method.upper(),
        path=path,
        summary=summary,
        about=about,
        parameters=[
            Field(
                each["name"],
                _type(document, each.get("schema", {})),
                bool(each.get("required")),
                str(each.get("description", "")),
            )
            for each in said.get("parameters", ())
        ],
        body=_fields(document, body),
        answers=answers,
        curl=_curl(document, path, method, body),
    )


def _curl(document: Mapping[str, Any], path: str, method: str, body: Mapping[str, Any] | None) -> str:
    """Return an example for a shell; what is in capitals is to be filled in."""
    names = path.split("{")
    where = names[0] + "".join(f"{name.partition('}')[0].upper()}{name.partition('}')[2]}" for name in names[1:])
    text = f'curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8765{where}'
    if method != "get":
        example = {each.name: f"<{each.type}>" for each in _fields(document, body) if each.required}
        text += f" -X {method.upper()} -d '{json.dumps(example)}'"
    return text


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any] | None) -> list[Field]:
    shape = _resolved(document, schema or {})
    required = set(shape.get("required", ()))
    return [
        Field(name, _type(document, part), name in required, str(_resolved(document, part).get("description", "")))
        for name, part in shape.get("properties", {}).items()
    ]


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = schema
    for _ in range(_MOST_DEEP):
        ref = found.get("$ref") if isinstance(found, Mapping) else None
        if not isinstance(ref, str):
            break
        found = document["components"]["schemas"].get(ref.rpartition("/")[2], {})
    return found if isinstance(found, Mapping) else {}


def _type(document: Mapping[str, Any], schema: Any, deep: int = 0) -> str:
    """Return a type in words: `text, or nothing`."""
    if not isinstance(schema, Mapping) or deep > _MOST_DEEP:
        return "anything"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].rpartition(".")[2]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return ", or ".join(dict.fromkeys(_type(document, each, deep + 1) for each in schema[choice]))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(document, schema.get('items', {}), deep + 1)}"
    words = {"string": "text", "null": "nothing", "boolean": "true or false", "object": "object", "number": "number"}
    return words.get(str(kind), str(kind) if kind else "anything")


@cache
def _template() -> Any:
    return templates_of("loom.web").get_template("reference.html.j2")


@cache
def _style() -> tuple[bytes, str]:
    content = files("loom.web").joinpath("templates", "reference.css").read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]
