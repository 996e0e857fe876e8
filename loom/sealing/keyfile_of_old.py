"""The first format of the file of keys: one JSON document, which earlier looms wrote; it is read for ever."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from loom.errors import ConfigError
from loom.sealing.wrapping import Wrapping

__all__ = ["about_of_old", "is_of_old", "keys_of_old", "put_in_place"]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    subjects: dict[str, str]


def about_of_old(subject: str, about: str) -> bytes:
    """Return what a value of generation 0, or a key in a file of this format, is bound to."""
    return json.dumps(["loom/sealed/v1", subject, about]).encode()


def is_of_old(first: bytes) -> bool:
    """Tell whether a file that begins so may be of this format; whether it is shows when all of it is read."""
    return not first.startswith(b'{"format":"')


def keys_of_old(path: Path, wrapping: Wrapping) -> dict[str, bytes]:
    """Return subject → key of such a file; raise `ConfigError` where it is damaged or does not open."""
    try:
        subjects = _Document.model_validate_json(path.read_bytes()).subjects
    except OSError as error:
        raise ConfigError(f"file of keys [{path}] cannot be read [{error.strerror}]: correct it") from error
    except ValidationError as error:
        raise ConfigError(
            f"file of keys [{path}] is damaged; expected the one that was written: restore a copy of it"
        ) from error
    keys: dict[str, bytes] = {}
    for subject, wrapped in subjects.items():
        try:
            raw = base64.b64decode(wrapped, validate=True)
            keys[subject] = wrapping.opened(raw, about_of_old(subject, "data key"))
        except Exception as error:
            raise ConfigError(
                f"file of keys [{path}] does not open with this master key; expected the one it was written with"
            ) from error
    return keys


def put_in_place(part: Path, path: Path) -> None:
    """Give a durable file its name, then overwrite what had that name before, as far as the disk does that."""
    with contextlib.ExitStack() as stack:
        old = None
        with contextlib.suppress(FileNotFoundError):
            old = stack.enter_context(path.open("r+b"))
        os.replace(part, path)
        directory = os.open(path.parent, os.O_RDONLY)
        stack.callback(os.close, directory)
        os.fsync(directory)
        if old is not None:
            old.write(b"\0" * os.fstat(old.fileno()).st_size)
            old.flush()
            os.fsync(old.fileno())
