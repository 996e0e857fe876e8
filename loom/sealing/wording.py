"""What is wrong with some input, and what an exception was, in words that do not repeat protected values."""

from __future__ import annotations

from typing import get_args

from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

__all__ = ["NOT_KEPT", "problems", "without_words"]

NOT_KEPT = "(what it says is not kept, as there are protected fields)"
"""Written in place of an error's message where it may repeat protected values."""

_MOST = 5
_PLAIN = frozenset(get_args(ErrorType)) - {"value_error", "assertion_error", "union_tag_invalid"}
"""The types of problems whose words are pydantic's own and do not quote the input."""


def problems(error: ValidationError, *, hides: bool) -> str:
    """Return what is wrong with some input, and where, five problems at most; never the input itself.

    With `hides`, as for a model that declares fields, what its own validators say is left out, too.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST]
    words = ("a validator refuses it" if hides and each["type"] not in _PLAIN else each["msg"] for each in found)
    places = (".".join(map(str, each["loc"])) or "it" for each in found)
    return "; ".join(f"{place}: {said}" for place, said in zip(places, words, strict=True))


def without_words(error: BaseException) -> Exception:
    """Return what takes the place of an exception whose words may repeat protected values: its type, and where it was.

    It has the traceback and nothing else of the exception.
    """
    return RuntimeError(f"{type(error).__name__}: {NOT_KEPT}").with_traceback(error.__traceback__)
