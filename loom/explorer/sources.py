"""Sections of the config for people without a key: a trusted proxy, and single sign-on; who may do what then."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from loom.config import Section
from loom.config.models import refusal
from loom.errors import InvalidNameError
from loom.identity import Access, check_person, folded

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["OidcConfig", "ProxyConfig", "check_address", "name_by_proxy"]

_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|::1")


class _Accesses(Section):
    """Which person may do what; `otherwise` is for those who are not named, and none refuses them."""

    access: Mapping[str, Access] = Field(default_factory=dict)
    otherwise: Access | None = None

    def access_of(self, name: str) -> Access | None:
        """Return what a person may do, None for one who may not sign in."""
        known = {folded(each): access for each, access in self.access.items()}
        return known.get(folded(name), self.otherwise)


class ProxyConfig(_Accesses):
    """A proxy that signs people in: it sends their name, and a secret that proves that it is the proxy.

    It has to remove both headers from what it gets.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    user_header: str = Field(default="X-Remote-User", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    secret_header: str = Field(default="X-Proxy-Secret", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    secret: SecretStr = Field(min_length=16)


class OidcConfig(_Accesses):
    """Single sign-on by OpenID Connect: the issuer, and how this server is known to it."""

    issuer: str = Field(max_length=400)
    client_id: str = Field(min_length=1, max_length=400)
    client_secret: SecretStr | None = None
    url: str = Field(max_length=400)
    """Where people find this server, as `https://loom.example`; the issuer sends them back to `/sign-in/oidc/done`."""
    name_claim: str = Field(default="email", pattern=r"^[A-Za-z_]{1,64}$")
    """The claim that is the name; an `email` counts only if the issuer has verified it."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")

    @field_validator("issuer", "url", mode="after")
    @classmethod
    def _safe(cls, address: str) -> str:
        try:
            return check_address(address)
        except ValueError:
            pass
        raise refusal("an https:// address, or one of the loopback", "write it as in https://id.example")


def check_address(address: str, *, query: bool = False) -> str:
    """Return an address over TLS, or of the loopback; raise `ValueError` for another."""
    parts = urlsplit(address)
    plain = parts.scheme == "http" and _LOOPBACK.fullmatch(parts.hostname or "") is not None
    if (parts.scheme != "https" and not plain) or not parts.hostname or parts.fragment or (parts.query and not query):
        raise ValueError("no https:// address")
    return address


def name_by_proxy(request: Request, config: ProxyConfig | None) -> str | None:
    """Return the name that the proxy says; None without one, or where it is not the proxy who says it."""
    if config is None:
        return None
    given = request.headers.get(config.secret_header, "")
    if not hmac.compare_digest(given.encode(), config.secret.get_secret_value().encode()):
        return None
    if len(request.headers.getlist(config.user_header)) != 1:
        return None
    try:
        return check_person(request.headers[config.user_header])
    except InvalidNameError:
        return None
