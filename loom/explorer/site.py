"""The pages as an application, which `loom serve` has at `/`: routes, headers, and refusals as pages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.errors import LoomError
from loom.explorer import arrivals, signing
from loom.explorer.assets import serve
from loom.explorer.page import Page, all_pages
from loom.explorer.rendering import rendered
from loom.explorer.sessions import Notice, Sessions
from loom.explorer.visits import House, SignedOut, Visitor, local, sign_in_at
from loom.telemetry import get_logger, log_answer
from loom.web.api import FAILED, Api, described, refused_with
from loom.web.guard import HttpRefusal, refusal

__all__ = ["HEADERS", "create_site"]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # With `no-referrer`, browsers send a form of ours with the origin `null`.
    "Referrer-Policy": "same-origin",
}
"""What every answer of the pages says to the browser."""

_TITLES = {
    401: "Please sign in",
    403: "This is not possible here",
    404: "This page does not exist",
    409: "It has changed meanwhile",
    410: "This is gone for good",
    422: "Something in the address or the form is not right",
    429: "Too many requests",
    500: "Something went wrong on the server",
    503: "Busy right now",
}

_log = get_logger("loom.explorer")


def create_site(api: Api, *, pages: Sequence[Page] | None = None) -> ASGIApp:
    """Return the application of the pages; by default all of `loom/explorer/pages/`."""
    app = FastAPI(title="loom", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.house = House(api, Sessions(), secrets.token_bytes(32))
    app.state.pages = all_pages() if pages is None else pages
    app.add_exception_handler(SignedOut, _signed_out)
    app.add_exception_handler(HttpRefusal, _refused)
    app.add_exception_handler(LoomError, _loom_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _fault)
    app.add_api_route("/assets/{name}", serve, methods=["GET"])
    app.add_api_route("/", _start, methods=["GET"])
    signing.add_to(app)
    arrivals.add_to(app)
    for page in app.state.pages:
        page.add_to(app)
    app.add_middleware(_Headers)
    return app


class _Headers:
    """Adds what browsers have to know to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, text in HEADERS.items():
                    headers[name] = text
                message = {**message, "headers": headers.raw}
            await send(message)

        await self._app(scope, receive, said)


async def _start(request: Request) -> Response:
    """Send a person to the first page of the menu."""
    return RedirectResponse(request.app.state.pages[0].path, status_code=303)


async def _signed_out(request: Request, _: Exception) -> Response:
    if _for_programs(request):
        return refusal(HttpRefusal(401, "unauthorized", "sign in, or send a key: Authorization: Bearer KEY"))
    return RedirectResponse(sign_in_at(request), status_code=303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpRefusal)  # noqa: S101 - what it is registered for
    return _answer(request, error)


async def _loom_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoomError)  # noqa: S101 - what it is registered for
    log_answer(_log, "page_answered", error, path=request.url.path)
    return _answer(request, refused_with(error, status=request.app.state.house.api.status_of(error)))


async def _bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    errors = [{**each, "loc": each["loc"][1:]} for each in error.errors()]
    return _answer(request, HttpRefusal(422, "bad_request", described(errors)))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return _answer(request, HttpRefusal(error.status_code, "not_found", str(error.detail), headers=error.headers))


async def _fault(request: Request, error: Exception) -> Response:
    _log.error("page_failed", path=request.url.path, error=repr(error))
    return _answer(request, FAILED)


def _answer(request: Request, error: HttpRefusal) -> Response:
    """Answer as JSON to programs; to a person, where a form was refused, on the page that it was on."""
    if _for_programs(request):
        return refusal(error)
    visitor = getattr(request.state, "visitor", None)
    session = visitor.session if isinstance(visitor, Visitor) else None
    back = local(_path_of(request.headers.get("referer", "")), "")
    if request.method == "POST" and session is not None and back and error.status in (403, 404, 409, 410, 422, 503):
        session.notice = Notice("refused", error.message, typed=getattr(request.state, "typed", {}))
        return RedirectResponse(back, status_code=303)
    title = _TITLES.get(error.status, "This did not work")
    answer = rendered(request, None, status=error.status, name="refused.html.j2", title=title, said=error.message)
    answer.headers.update(error.headers)
    return answer


def _for_programs(request: Request) -> bool:
    return request.url.path.endswith(".json") or "authorization" in request.headers


def _path_of(referer: str) -> str:
    """Return the path and query of the page that a form was on; a form is taken from our own pages only."""
    _, _, rest = referer.partition("://")
    _, slash, path = rest.partition("/")
    return slash + path
