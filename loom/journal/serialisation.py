"""How an entry becomes the bytes of its body: pydantic serialises it once, and then admission checks it.

Pydantic writes some values in a way that loses them without a word: NaN in a nested model as null, two keys of
different types as the same text. So an entry whose fields are not plain is dumped a second time and looked through.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

from loom.errors import AdmissionError
from loom.journal.admission import Limits, admit, admit_written, json_value
from loom.journal.entry import KINDS, Entry, Step
from loom.journal.plain import is_plain_model

__all__ = ["EntryText", "json_text", "model_text", "name_text", "serialise", "step_text"]


class EntryText(NamedTuple):
    """An entry of one of loom's own kinds as field → JSON text: of values that were checked, and are text, already.

    It is written as the model would be, without the model; a field that is left out has its default.
    """

    cls: type[Entry]
    texts: Mapping[str, bytes]


def serialise(entry: Entry | EntryText, *, limits: Limits) -> bytes:
    """Return the body of an entry as it will be stored and hashed; raise `AdmissionError` if it may not be."""
    if isinstance(entry, EntryText):
        return admit_written(_joined(entry), limits=limits)
    cls = type(entry)
    plain = _checked(cls)
    try:
        body = cls.__pydantic_serializer__.to_json(entry, warnings="error", exclude_defaults=cls.leaves_out_defaults)
        if plain:
            return admit_written(body, limits=limits)
        json_value(entry.model_dump(mode="json"), limits=limits)
    except AdmissionError:
        raise
    except Exception as error:  # fields may bring serialisers of their own
        raise AdmissionError(
            f"entry of kind [{cls.kind}] cannot be written as JSON [{type(error).__name__}: {error}]; "
            "expected [plain JSON values]: correct the value"
        ) from error
    return admit(body, limits=limits)


def _joined(entry: EntryText) -> bytes:
    template, names = _template(entry.cls, tuple(entry.texts))
    return template % tuple(map(entry.texts.__getitem__, names))


@lru_cache(maxsize=1_024)
def _template(cls: type[Entry], given: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
    """Return the body of an entry with places for the texts of some fields, and these in the order of the model."""
    parts: list[bytes] = []
    names: list[str] = []
    for name, before, default in _layout(cls):
        if name in given:
            parts.append(before.replace(b"%", b"%%") + b"%b")
            names.append(name)
        elif default is not None:
            parts.append((before + default).replace(b"%", b"%%"))
    return b"{%b}" % b",".join(parts), tuple(names)


def json_text(value: str | None) -> bytes:
    """Return the JSON text of a string, or null; raise `AdmissionError` for a lone surrogate."""
    if value is None:
        return b"null"
    try:
        return _quoted(value).encode()
    except UnicodeEncodeError:
        json_value(value)
        raise


def model_text(model: BaseModel) -> bytes:
    """Return the JSON text of a model of loom's own, which was checked when it was made."""
    return model.__pydantic_serializer__.to_json(model)


name_text = lru_cache(maxsize=4_096)(json_text)
"""The same, for what comes again and again: names of verbs, kinds, systems, people."""


def step_text(step: Step) -> bytes:
    """Return the JSON text of a step."""
    return b"[%s,%s,%d]" % (name_text(step.verb), json_text(step.key), step.occurrence)


@lru_cache(maxsize=1_024)
def _layout(cls: type[Entry]) -> tuple[tuple[str, bytes, bytes | None], ...]:
    """Return name, what is before its value, and the text of its default, of each field in the order of the model.

    There is no text for a field that is required, or left out at its default.
    """
    layout = []
    for name, info in cls.model_fields.items():
        default = None
        if not info.is_required() and not cls.leaves_out_defaults:
            value = info.get_default(call_default_factory=True)
            if info.exclude_if is None or not info.exclude_if(value):
                default = to_json(value)
        layout.append((name, b'"%s":' % name.encode(), default))
    return tuple(layout)


@lru_cache(maxsize=4_096)
def _checked(cls: type[Entry]) -> bool:
    """Tell whether what pydantic writes of a class can be trusted; refuse one that could not be read back."""
    kind = getattr(cls, "kind", None)
    known = None if kind is None else KINDS.get(kind)
    if known is None or (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise AdmissionError(
            f"entry class [{cls.__qualname__}] has no kind of its own, only [{kind}]; expected one to be read back by: "
            "give the class a `kind`"
        )
    return is_plain_model(cls)
