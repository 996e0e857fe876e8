"""The sections `checkpoints` and `anchors`: who signs, how often, and where it is written down elsewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from loom.config import Section
from loom.config.models import refusal
from loom.proof.errors import NoteError
from loom.proof.notes import COSIGNATURE, VerifyingKey

__all__ = ["AnchorsConfig", "CheckpointsConfig", "TimeStampsConfig"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class CheckpointsConfig(Section):
    """Which key signs checkpoints, and when one is made. Without a key, none is."""

    key_file: Path | None = None
    """A PEM file for its owner only, outside the directory of the workspace: see `loom keys signing new`."""
    command: tuple[str, ...] = ()
    """In place of a file: reads the message on stdin, prints the signature. It needs `public_key`."""
    public_key: str | None = Field(default=None, max_length=100)
    every_entries: int = Field(default=256, ge=1, le=1_000_000)
    every_s: float = Field(default=60.0, gt=0, le=366 * 86_400)
    at_close: bool = True
    witnesses: tuple[str, ...] = ()
    """The keys of witnesses whose signatures are taken, as C2SP writes keys."""

    @model_validator(mode="after")
    def _is_one_key(self) -> CheckpointsConfig:
        if self.key_file is not None and self.command:
            raise refusal("[key_file] or [command], not both", "choose one")
        if bool(self.command) != (self.public_key is not None):
            raise refusal("[command] and [public_key] together", "add the other, or drop both")
        return self

    @field_validator("witnesses")
    @classmethod
    def _are_keys(cls, witnesses: tuple[str, ...]) -> tuple[str, ...]:
        for each in witnesses:
            try:
                found = VerifyingKey.parse(each)
            except NoteError as error:
                raise ValueError(str(error)) from error
            if found.algorithm != COSIGNATURE:
                raise ValueError(f"key [{each:.60}] is not that of a witness; expected one that `loom witness` prints")
        return witnesses

    @property
    def signs(self) -> bool:
        """Whether there is a key."""
        return self.key_file is not None or bool(self.command)


class TimeStampsConfig(Section):
    """An authority that stamps checkpoints with its time: RFC 3161, with the extra `timestamps`."""

    url: str = Field(max_length=2_000)
    """Over http, too: what it says is signed."""
    every_s: float = Field(default=3_600.0, gt=0, le=366 * 86_400)
    """The newest checkpoint is stamped at most so often."""
    certificates: Path | None = None
    """A PEM file with the roots that its signature is checked against."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        return _address(url, over_http=True)


class AnchorsConfig(Section):
    """Where checkpoints are written down elsewhere; the newest is compared when the loom is opened, and by verify."""

    directories: tuple[Path, ...] = ()
    """Each gets a file that only grows and is synced: on another disk, or on another machine's."""
    endpoints: tuple[str, ...] = ()
    """Each takes a note by POST, and gives the newest by GET."""
    timestamps: tuple[TimeStampsConfig, ...] = ()
    timeout_s: float = Field(default=10.0, gt=0, le=300)

    @field_validator("endpoints")
    @classmethod
    def _are_addresses(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_address, endpoints))


def _address(url: str, *, over_http: bool = False) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.username is not None or not url.isprintable():
        raise refusal("https://HOST/PATH, without a user", "write the address")
    if parts.scheme == "http" and host not in _LOOPBACK and not over_http:
        raise refusal("https, or http on the loopback", "serve it with TLS")
    return url
