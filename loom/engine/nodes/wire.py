"""What goes over the wire between nodes: a delivery, and its answer or the error with which it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from loom.engine.port import Reply
from loom.errors import KINDS_OF_ANSWERS, AnswerKind, LoomError, NodeRefusedError
from loom.journal.admission import parse_json

__all__ = ["LONGEST", "answer_of", "error_as_json", "packed", "unpacked"]

LONGEST = 16 * 1_048_576
"""Bytes of a request or an answer."""


def packed(plain: JsonValue) -> bytes:
    """Return plain JSON as bytes."""
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def unpacked(raw: bytes) -> Any:
    """Return what `packed` was given; raise `AdmissionError` for what is no JSON."""
    return parse_json(raw)


def error_as_json(error: LoomError) -> dict[str, JsonValue]:
    """Return an error as plain JSON: its class by name, its words, and what its class keeps of use to a caller."""
    said: dict[str, JsonValue] = {"type": type(error).__name__, "message": str(error), "kind": error.kind}
    for name in ("type_name", "retry_after_s", "path"):
        value = getattr(error, name, None)
        if isinstance(value, str | float | int):
            said[name] = value
    return {"error": said}


def answer_of(plain: Any) -> Reply:
    """Return the answer of another node; raise the error that it is, of the class with that name where it is here."""
    match plain:
        case {"ok": dict(reply), **rest} if not rest:
            return reply
        case {"error": {"type": str(name), "message": str(message), **more}}:
            raise _error(name, message, {str(key): value for key, value in more.items()})
    raise NodeRefusedError("answer makes no sense; expected what a node of this version answers: compare the versions")


def _error(name: str, message: str, more: dict[str, Any]) -> LoomError:
    cls = next((each for each in _classes(LoomError) if each.__name__ == name), None)
    if cls is None:
        kind: AnswerKind = next((each for each in KINDS_OF_ANSWERS if each == more.get("kind")), "fault")
        return NodeRefusedError(f"{name}: {message}", kind=kind)
    error = cls.__new__(cls)  # some take more than the words to be made
    Exception.__init__(error, message)
    for each, value in more.items():
        if each != "kind" or cls.kind != value:
            setattr(error, each, value)
    return error


def _classes(of: type[LoomError]) -> Iterator[type[LoomError]]:
    for each in of.__subclasses__():
        yield each
        yield from _classes(each)
