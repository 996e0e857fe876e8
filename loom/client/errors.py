"""Errors as they come back over HTTP: the class that the server raised, with its message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from loom.errors import AnswerKind, LoomError

__all__ = ["RemoteError", "error_of"]

_KINDS: dict[int, AnswerKind] = {401: "refused", 403: "refused", 404: "not_found", 409: "conflict", 410: "not_found"}


class RemoteError(LoomError):
    """A server refused a request, or could not be reached; `status` is that of HTTP, 0 without an answer.

    It is raised where the answer is no error of loom's, such as a wrong key, or of an extension that is not here.

    To do: read `status` and the message: 0 is no answer, 401 a wrong key, 403 a permission that is missing.
    """

    kind: AnswerKind = "fault"

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        if status in (0, 429, 503):
            self.kind = "busy"
        else:
            self.kind = _KINDS.get(status, "invalid" if 400 <= status < 500 else "fault")


def error_of(status: int, body: Any) -> LoomError:
    """Return the error that an answer says: of the class with this name where this process has it."""
    said = body.get("error") if isinstance(body, dict) else None
    code, message = (str(said.get("code")), str(said.get("message"))) if isinstance(said, dict) else ("", "")
    cls = next((each for each in _classes(LoomError) if _code_of(each) == code), None)
    if cls is None or cls is RemoteError:
        return RemoteError(message or f"the server answered with [{status}]", status=status, code=code)
    error = cls.__new__(cls)  # some take more than the words to be made, which HTTP does not carry
    Exception.__init__(error, message)
    return error


def _code_of(cls: type[LoomError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).lower()


def _classes(of: type[LoomError]) -> Iterator[type[LoomError]]:
    for each in of.__subclasses__():
        yield each
        yield from _classes(each)
