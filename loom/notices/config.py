"""The section `notices`: who is notified of what, and how often it is tried."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, field_validator

from loom.config import Section
from loom.config.models import refusal

__all__ = ["EndpointConfig", "NoticesConfig"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_SECRET = "whsec_"  # noqa: S105 - how one begins
_LEAST_BYTES, _MOST_BYTES = 24, 64


class EndpointConfig(Section):
    """Where notices go. `types` are those that are sent, by default all; `loom.approval.*` are all that begin so."""

    url: str = Field(max_length=2_000)
    secret: SecretStr
    """`whsec_` and 24 to 64 random bytes in base64, as Standard Webhooks has it."""
    previous_secret: SecretStr | None = None
    """Signs as well, while a receiver changes from one secret to the next."""
    types: tuple[str, ...] = ()

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = _parts(url)
        if parts is None or not parts.hostname or parts.username is not None or parts.fragment:
            raise refusal("https://HOST/PATH, without a user and a fragment", "write the address that takes notices")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise refusal("https, or http on the loopback", "serve the receiver with TLS")
        if not url.isascii() or any(each <= " " for each in url):
            raise refusal("printable ASCII without spaces", "write other characters as %XX")
        return url

    @field_validator("secret", "previous_secret")
    @classmethod
    def _is_a_secret(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            key_of(given)
        return given

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that sign, the present one first."""
        return tuple(key_of(each) for each in (self.secret, self.previous_secret) if each is not None)

    def wants(self, notice_type: str) -> bool:
        """Tell whether notices of a type are sent to it."""
        return not self.types or any(
            notice_type == each or (each.endswith(".*") and notice_type.startswith(each[:-1])) for each in self.types
        )


class NoticesConfig(Section):
    """Who is notified, and how. Times are in seconds."""

    endpoints: Mapping[str, EndpointConfig] = Field(default_factory=dict)
    """By name. The place in the journal is kept by name: an endpoint with a new name begins with what comes then."""
    base_url: str | None = Field(default=None, max_length=500)
    """Where people reach `loom serve`: links begin with it. Without it, notices have ids only."""
    attempts: int = Field(default=12, ge=1, le=100)
    """Tries of one notice, in one run of a loom, before it is a dead letter."""
    first_pause_s: float = Field(default=2.0, gt=0, le=3_600)
    longest_pause_s: float = Field(default=3_600.0, gt=0, le=86_400)
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Of one try, from the connection to the status."""
    warn_before_s: float = Field(default=3_600.0, ge=0, le=31_536_000)
    """How long before its deadline a request that waits is said to be about to expire; 0 says nothing."""
    watch_every_s: float = Field(default=15.0, gt=0, le=3_600)
    """How often deadlines and stuck turns are looked at."""
    verify_every_s: float = Field(default=86_400.0, ge=0, le=31_536_000)
    """How often the whole journal is verified; 0 leaves that to `loom verify`."""

    @field_validator("endpoints")
    @classmethod
    def _have_names(cls, given: Mapping[str, EndpointConfig]) -> Mapping[str, EndpointConfig]:
        for name in given:
            if not _NAME.match(name):
                raise refusal("names of a-z, 0-9, - and _, at most 63 characters", "choose others")
        return given

    @field_validator("base_url")
    @classmethod
    def _is_a_base(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = _parts(url)
        if parts is None or not parts.hostname or parts.query or parts.fragment:
            raise refusal("https://HOST, without a query", "write where people reach `loom serve`")
        return url.rstrip("/")


def key_of(secret: SecretStr) -> bytes:
    """Return the bytes of a secret; raise an error that does not show it."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(_SECRET), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise refusal(
            f"{_SECRET} and {_LEAST_BYTES} to {_MOST_BYTES} random bytes in base64",
            "make one with `openssl rand -base64 32`",
        )
    return key


def _parts(url: str) -> SplitResult | None:
    """Return the parts of an address of HTTP; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and port != 0 else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
