"""Single sign-on by OpenID Connect: the code flow with PKCE, bound to the browser that began it.

Tokens are checked by joserfc (the extra `oidc`): signature by a key of the issuer, issuer, audience, expiry and nonce.
A sign-in that was begun is kept in memory for ten minutes, opened by its state once, and only for the same browser.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from loom.errors import ConfigError, InvalidNameError
from loom.identity import check_person
from loom.telemetry import get_logger
from loom.web.guard import HttpRefusal

if TYPE_CHECKING:
    import httpx2

    from loom.explorer.sources import OidcConfig

__all__ = ["DONE_PATH", "Begun", "SignedOn", "SingleSignOn"]

DONE_PATH = "/sign-in/oidc/done"

_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
"""What an issuer may sign with; a secret that both sides know is none of them."""
_KEPT_S = 600.0
_MOST = 1_000
_MOST_BYTES = 1_048_576
_PATIENCE_S = 10.0
_LEEWAY_S = 60

_log = get_logger("loom.explorer")


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that a browser has begun: what the answer of the issuer has to fit."""

    browser: str
    nonce: str
    verifier: str
    wanted: str
    at_s: float


@dataclass(frozen=True, slots=True)
class SignedOn:
    """Who has signed in: the name, and the identity that the issuer vouches for."""

    name: str
    source: str
    wanted: str


class SingleSignOn:
    """Sign-ins by one issuer."""

    def __init__(
        self,
        config: OidcConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._clock = clock
        self._now = now
        self._begun: OrderedDict[str, Begun] = OrderedDict()

    async def begin(self, *, browser: str, wanted: str) -> str:
        """Return the address of the issuer's page; `browser` is the id of the cookie that comes back with the answer.

        Raises `HttpRefusal` where the issuer does not answer.
        """
        async with self._client() as client:
            found = await self._discovered(client)
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        begun = Begun(_digest(browser), secrets.token_urlsafe(24), verifier, wanted, self._clock())
        while len(self._begun) >= _MOST:
            self._begun.popitem(last=False)
        self._begun[state] = begun
        asked = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self._back,
            "scope": " ".join(self.config.scopes),
            "state": state,
            "nonce": begun.nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        address = _checked(found, "authorization_endpoint")
        return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(asked)}"

    async def finish(self, *, browser: str, given: Mapping[str, str]) -> SignedOn:
        """Return who has signed in; raise `HttpRefusal` for what does not fit a sign-in that this browser began."""
        begun = self._begun.pop(given.get("state", ""), None)
        if (
            begun is None
            or self._clock() - begun.at_s > _KEPT_S
            or not hmac.compare_digest(begun.browser, _digest(browser))
        ):
            raise HttpRefusal(403, "sign_in_failed", "this sign-in was not begun here, or too long ago: begin it again")
        if given.get("iss", self.config.issuer) != self.config.issuer:
            raise _failed("another issuer answered")
        if "error" in given or not given.get("code"):
            raise _failed("the issuer refused it")
        async with self._client() as client:
            found = await self._discovered(client)
            token = await self._token(client, _checked(found, "token_endpoint"), given["code"], begun)
            keys = await self._fetched(client, "GET", _checked(found, "jwks_uri"))
        claims = self._claims(token, keys, begun)
        return SignedOn(self._name(claims), f"oidc:{self.config.issuer}/{claims['sub']}", begun.wanted)

    @property
    def _back(self) -> str:
        return self.config.url.rstrip("/") + DONE_PATH

    def _client(self) -> httpx2.AsyncClient:
        try:
            import httpx2
        except ImportError as error:
            raise _extra(error) from error
        return httpx2.AsyncClient(timeout=_PATIENCE_S, follow_redirects=False, trust_env=False)

    async def _discovered(self, client: httpx2.AsyncClient) -> Mapping[str, Any]:
        found = await self._fetched(client, "GET", self.config.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.config.issuer:
            raise _failed("the issuer calls itself otherwise than the config")
        return found

    async def _token(self, client: httpx2.AsyncClient, address: str, code: str, begun: Begun) -> str:
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back,
            "client_id": self.config.client_id,
            "code_verifier": begun.verifier,
        }
        secret = self.config.client_secret
        if secret is not None:
            given["client_secret"] = secret.get_secret_value()
        answered = await self._fetched(client, "POST", address, given)
        token = answered.get("id_token")
        if not isinstance(token, str):
            raise _failed("the issuer gave no identity token")
        return token

    async def _fetched(
        self, client: httpx2.AsyncClient, method: str, address: str, given: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        import json

        import httpx2

        try:
            async with client.stream(method, address, data=given) as answer:
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise _failed("the issuer's answer is too long")
                if answer.status_code != 200:
                    raise _failed(f"the issuer answered {answer.status_code}")
            found = json.loads(body)
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            raise _failed(f"the issuer did not answer as expected [{type(error).__name__}]") from error
        if not isinstance(found, dict):
            raise _failed("the issuer's answer is no object")
        return found

    def _claims(self, token: str, keys: Mapping[str, Any], begun: Begun) -> dict[str, Any]:
        try:
            from joserfc import jwt
            from joserfc.errors import JoseError
            from joserfc.jwk import KeySet
        except ImportError as error:
            raise _extra(error) from error
        rules = jwt.JWTClaimsRegistry(
            now=int(self._now()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self.config.issuer},
            aud={"essential": True, "value": self.config.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": begun.nonce},
        )
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS).claims  # type: ignore[arg-type]
            rules.validate(claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _failed(f"the identity token is not valid [{type(error).__name__}]") from error
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if (several or "azp" in claims) and claims.get("azp") != self.config.client_id:
            raise _failed("the identity token is for another client")
        return dict(claims)

    def _name(self, claims: Mapping[str, Any]) -> str:
        """Return the name that a person gets; raise `HttpRefusal` where the issuer does not vouch for it."""
        name, subject = claims.get(self.config.name_claim), claims["sub"]
        if self.config.name_claim == "email" and claims.get("email_verified") is not True:
            raise _failed("the issuer has not verified the address")
        try:
            check_person(f"{subject}" if isinstance(subject, str) else None, what="subject")
            return check_person(name if isinstance(name, str) else None, what=self.config.name_claim)
        except InvalidNameError as error:
            raise _failed(f"the identity token has no usable [{self.config.name_claim}]") from error


def _checked(found: Mapping[str, Any], name: str) -> str:
    """Return an address that the issuer gives; it is safe as the config's own are."""
    from pydantic import ValidationError

    from loom.explorer.sources import check_address

    try:
        return check_address(str(found.get(name, "")), query=True)
    except (ValueError, ValidationError) as error:
        raise _failed(f"the issuer's {name} is not an https:// address") from error


def _failed(why: str) -> HttpRefusal:
    _log.warning("single_sign_on_failed", why=why)
    return HttpRefusal(403, "sign_in_failed", f"signing in did not work: {why}; begin it again, or use a key")


def _extra(error: ImportError) -> ConfigError:
    return ConfigError(
        f"single sign-on needs a package that is not there [{error.name}]; expected the extra [oidc]: "
        "pip install 'loom-journal[server,oidc]'"
    )


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _digest(browser: str) -> str:
    return hashlib.sha256(f"loom/oidc/v1\n{browser}".encode(errors="replace")).hexdigest()
