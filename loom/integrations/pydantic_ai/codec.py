"""Results of steps as JSON: pydantic-ai's own form of it, but what is no JSON is refused and not replaced."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_ai.durable_exec import JSON_CODEC, DurabilityCodec

from loom.errors import AdmissionError

__all__ = ["STRICT_JSON", "not_json"]


def not_json(error: Exception) -> AdmissionError:
    """Return the error of a result that cannot be written."""
    return AdmissionError(f"result of a step is no JSON [{error!s:.500}]; expected JSON: return what can be kept")


class _StrictJson(DurabilityCodec):
    """pydantic-ai writes null where a number is not finite; such a result is refused here."""

    def dump(self, tp: Any, value: Any) -> Any:
        """Return a value as JSON; raise `AdmissionError` for numbers that are not finite."""
        payload = JSON_CODEC.dump(tp, value)
        if _is_not_finite(value):
            raise AdmissionError(
                "result of a step holds a number that is not finite [NaN or Infinity]; expected JSON: return null or a "
                "text in its place"
            )
        return payload

    def load(self, tp: Any, payload: Any) -> Any:
        """Return the value that JSON holds."""
        return JSON_CODEC.load(tp, payload)


STRICT_JSON: DurabilityCodec = _StrictJson()


def _is_not_finite(value: Any) -> bool:
    """Tell whether a number in a result, also one in a model or a dataclass, is not finite."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, str | bytes | int | None):
        return False
    if isinstance(value, Mapping):
        return any(_is_not_finite(each) for each in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_is_not_finite(each) for each in value)
    if dataclasses.is_dataclass(value):
        return any(_is_not_finite(getattr(value, field.name, None)) for field in dataclasses.fields(value))
    return isinstance(value, BaseModel) and any(_is_not_finite(each) for _, each in value)
