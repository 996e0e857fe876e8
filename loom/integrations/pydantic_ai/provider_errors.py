"""Failed requests of models in the form in which pydantic-ai recognises them, so that its fallbacks work in a turn."""

from __future__ import annotations

from typing import Any

from pydantic_ai import exceptions
from pydantic_ai.exceptions import ModelAPIError

from loom.errors import ModelCallError

__all__ = ["as_provider_error"]

_CLASSES: dict[type[ModelCallError], type[Any]] = {}


def as_provider_error(error: ModelCallError, model_name: str) -> ModelCallError:
    """Return a failed request as an error of a provider, too, where that is what it was; else as it is.

    It is of the same class, and has the same words, live and resumed.
    """
    known = getattr(exceptions, error.type_name, None)
    if not (isinstance(known, type) and issubclass(known, ModelAPIError)):
        return error
    cls = type(error)
    if cls not in _CLASSES:
        _CLASSES[cls] = type(cls.__name__, (cls, ModelAPIError), {"__doc__": cls.__doc__, "__module__": cls.__module__})
    made: Any = _CLASSES[cls]
    both = made.__new__(made)
    ModelAPIError.__init__(both, model_name, str(error))
    Exception.__init__(both, str(error))
    both.type_name, both.message = error.type_name, error.message
    return both  # type: ignore[no-any-return]
