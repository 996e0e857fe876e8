"""A visit: one request of a person who is signed in, checked; and forms, which only our own pages may send.

A link from a mail or a chat opens a page. A form that another site sends does nothing: it needs the token of the
session, and the browser has to say that it comes from here. Scripts may read pages with a key, as they read the API.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from loom.explorer.config import ExplorerConfig
from loom.explorer.sessions import Holder, Session, Sessions
from loom.explorer.sources import name_by_proxy
from loom.identity import Identity
from loom.runtime import Loom
from loom.web.api import Api
from loom.web.guard import RANKS, HttpRefusal, key_given

if TYPE_CHECKING:
    from starlette.responses import Response

__all__ = [
    "FormFields",
    "House",
    "SignedOut",
    "Visit",
    "Visitor",
    "cookie_of",
    "form",
    "give_cookie",
    "local",
    "needs",
    "read_form",
    "sign_in_at",
    "visiting",
]

Form = TypeVar("Form", bound="FormFields")

_LOOPBACK = re.compile(r"(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d+)?\Z")
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*\Z")
_MOST_FIELDS = 200
_COOKIE = "__Host-loom"


class FormFields(BaseModel):
    """What a form has: its own fields, and `also` those whose names have a colon, which depend on what is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    also: dict[str, str] = Field(default_factory=dict)


class SignedOut(Exception):  # noqa: N818 - it is an answer
    """No one is signed in here, or not any more: the answer is the page where one signs in."""


@dataclass(frozen=True)
class House:
    """What all pages share: the looms that are served, the sessions, and the secret that tokens are made with."""

    api: Api
    sessions: Sessions
    secret: bytes

    def token(self, given: str) -> str:
        """Return the token that goes with the id of a cookie; without the secret it cannot be made."""
        return hmac.new(self.secret, b"loom/form/v1\n" + given.encode(errors="replace"), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Visitor:
    """Who asks, in which workspace, over which session; without a session, it is a script with a key."""

    loom: Loom
    workspace: str
    holder: Holder
    session: Session | None
    token: str
    """Goes with every form of the session; empty without one."""

    @property
    def by(self) -> Identity:
        """Who acts, as entries name it: under the name of the directory, where that knows who signed in."""
        if self.session is None:
            who = Identity(self.holder.name, self.holder.source, "http")
        else:
            who = self.session.identity(self.holder)
        return self.loom.people.known_as(who)

    def may(self, what: str) -> bool:
        """Tell whether the role is enough for this."""
        return what in RANKS[self.holder.role]

    def signed(self, text: str) -> str:
        """Return text for a hidden field: what comes back is what was shown over this session."""
        return f"{text} {hmac.new(self.token.encode(), text.encode(), hashlib.sha256).hexdigest()}"

    def unsigned(self, given: str) -> str:
        """Return the text of a hidden field; raise `HttpRefusal` for one that was not made over this session."""
        text, _, _ = given.rpartition(" ")
        if not hmac.compare_digest(self.signed(text).encode(), given.encode()):
            raise HttpRefusal(403, "bad_token", "this form is out of date: open the page again, and send it once more")
        return text


def visiting(request: Request) -> Visitor:
    """Return who asks; raise `SignedOut` where no one is signed in, and `HttpRefusal` for what another site sends."""
    known = getattr(request.state, "visitor", None)
    if isinstance(known, Visitor):
        return known
    _check_site(request)
    house: House = request.app.state.house
    visitor = _with_key(request, house) or _signed_in(request, house)
    house.api.take(visitor.holder.source)
    request.state.visitor = visitor
    return visitor


Visit = Annotated[Visitor, Depends(visiting)]


def needs(what: str) -> Any:
    """Return the dependency of a route whose visitor may do this, as `RANKS` has it."""

    def check(visit: Visit) -> None:
        if not visit.may(what):
            raise HttpRefusal(403, "forbidden", f"the role [{visit.holder.role}] may not {what} here")

    return Depends(check)


def _with_key(request: Request, house: House) -> Visitor | None:
    text = key_given(request)
    if text is None or request.method != "GET":
        return None
    workspace, key = house.api.recognise(request, text)
    holder = Holder(key.name, f"api_key:{key.key_id}", key.role)
    return Visitor(house.api.loom(workspace), workspace, holder, None, "")


def _signed_in(request: Request, house: House) -> Visitor:
    given = request.cookies.get(cookie_of(request))
    found = house.sessions.find(given)
    if found is None or given is None:
        raise SignedOut
    session, holder = found
    _check_proxy(request, house, session, holder)
    return Visitor(house.api.loom(session.workspace), session.workspace, holder, session, house.token(given))


def _check_proxy(request: Request, house: House, session: Session, holder: Holder) -> None:
    """End a session that a proxy opened, where the proxy does not name the same person any more."""
    if not holder.source.startswith("proxy:"):
        return
    section = house.api.loom(session.workspace).config.sections.get("explorer")
    proxy = section.proxy if isinstance(section, ExplorerConfig) else None
    if name_by_proxy(request, proxy) != holder.name:
        house.sessions.close(request.cookies.get(cookie_of(request)))
        raise SignedOut


def _check_site(request: Request) -> None:
    """Refuse what another site asks for, but for following a link to a page."""
    site = request.headers.get("sec-fetch-site")
    followed = request.method == "GET" and (
        request.headers.get("sec-fetch-mode") == "navigate" and request.headers.get("sec-fetch-dest") == "document"
    )
    if site in ("cross-site", "same-site") and not followed:
        raise HttpRefusal(403, "cross_origin", "other sites may link to pages, and nothing else")


# --- forms -----------------------------------------------------------------------------------------


def form(model: type[Form]) -> Any:
    """Return the dependency on a form of this shape that was sent from one of our pages, over this session."""

    async def given(request: Request, visit: Visit) -> Form:
        del visit  # who is not signed in is sent to sign in before anything is read
        return await read_form(request, model)

    return Depends(given)


async def read_form(request: Request, model: type[Form]) -> Form:
    """Return what a form has; raise `HttpRefusal` if it was not sent from here, or has another shape."""
    _check_origin(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HttpRefusal(400, "bad_form", "expected a form of a page")
    try:
        raw = (await request.body()).decode("utf-8")
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ClientDisconnect as error:
        raise HttpRefusal(408, "request_timeout", "the body of the request did not come") from error
    except ValueError as error:
        raise HttpRefusal(400, "bad_form", "the form cannot be read") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HttpRefusal(400, "bad_form", "a field of the form is there twice")
    house: House = request.app.state.house
    expected = house.token(request.cookies.get(cookie_of(request), ""))
    if not hmac.compare_digest(fields.pop("token", "").encode(), expected.encode()):
        raise HttpRefusal(403, "bad_token", "this form is out of date: open the page again, and send it once more")
    request.state.typed = {name: text for name, text in fields.items() if name not in ("key", "password")}
    try:
        also = {name: fields.pop(name) for name in list(fields) if ":" in name}
        return model.model_validate({**fields, "also": also} if "also" not in fields else fields)
    except ValidationError as error:
        raise HttpRefusal(422, "bad_form", _worded(error)) from error


_WORDS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "is empty",
    "extra_forbidden": "is not known here",
}


def _worded(error: ValidationError) -> str:
    """Return what is wrong with a form, in words for who has filled it in."""
    found = []
    for each in error.errors(include_url=False, include_input=False)[:5]:
        field = str(each["loc"][0]).replace("_", " ") if each["loc"] else "the form"
        found.append(f"{field} {_WORDS.get(each['type']) or each['msg'].removeprefix('Value error, ')}")
    return "; ".join(found)


def _check_origin(request: Request) -> None:
    """Refuse a form unless the browser says that a page of ours sends it."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    ours = f"{request.url.scheme}://{request.headers.get('host')}"
    if (
        (origin is None and site is None)
        or (origin is not None and origin != ours)
        or site not in (None, "same-origin")
    ):
        raise HttpRefusal(403, "cross_origin", "forms are taken from our own pages only")


# --- cookies and ways back -------------------------------------------------------------------------


def cookie_of(request: Request) -> str:
    """Return the name of the cookie; plain HTTP is for the loopback only, where each port has a cookie of its own."""
    if request.url.scheme == "https":
        return _COOKIE
    host = request.headers.get("host", "")
    if not _LOOPBACK.match(host):
        raise HttpRefusal(
            403,
            "not_secure",
            "people sign in over HTTPS, or on the machine itself; expected a proxy with TLS: name it at "
            "web.trusted_proxies in the config",
        )
    return f"loom-{host.rpartition(':')[2] if ':' in host else 80}"


def give_cookie(request: Request, answer: Response, value: str | None = None) -> str:
    """Put an id into the cookie of a browser, by default a new one that opens nothing, and return it."""
    chosen = secrets.token_urlsafe(32) if value is None else value
    secure = request.url.scheme == "https"
    answer.set_cookie(cookie_of(request), chosen, path="/", secure=secure, httponly=True, samesite="lax")
    return chosen


def local(given: str | None, otherwise: str = "/") -> str:
    """Return an address if it is one of this server's own, so that no link leads elsewhere by way of us."""
    return given if given and len(given) < 2_000 and _LOCAL.match(given) else otherwise


def sign_in_at(request: Request) -> str:
    """Return where a person signs in and then gets what was asked for."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/sign-in" if wanted == "/" or request.method != "GET" else "/sign-in?" + urlencode({"next": wanted})
