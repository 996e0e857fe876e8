"""The API as an application: its routes, and how it answers errors that they raise."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Scope

from loom.errors import LoomError
from loom.extension import Extension, installed
from loom.telemetry import get_logger, log_answer
from loom.web.api import FAILED, REFUSALS, Api, Workspaces, described, refused_with
from loom.web.config import WebConfig
from loom.web.document import Document
from loom.web.guard import Bounds, HttpRefusal, refusal
from loom.web.reference import add_reference
from loom.web.routes import routes
from loom.web.shapes import ErrorAnswer

__all__ = ["create_app"]

_log = get_logger("loom.web")

_OURS = frozenset({"/api", "/docs", "/health", "/openapi.json"})


def create_app(
    workspaces: Workspaces, config: WebConfig | None = None, *, extensions: Sequence[Extension] | None = None
) -> FastAPI:
    """Return the application for some workspaces, which are opened when it starts and closed when it ends.

    `extensions` bring routes and errors with a status of their own: by default all that are installed.
    """
    settings, brought = config or WebConfig(), tuple(installed().values() if extensions is None else extensions)
    api = Api(settings, errors={error: status for each in brought for error, status in each.errors.items()})

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with api.serving(workspaces):
            yield

    # FastAPI's pages would fetch scripts from elsewhere: `/docs` is loom's own.
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": words} for status, words in REFUSALS.items()
    }
    app = FastAPI(title="loom", version="1", lifespan=lifespan, docs_url=None, redoc_url=None, responses=refusals)
    app.state.api = api
    app.add_exception_handler(HttpRefusal, _refused)
    app.add_exception_handler(LoomError, _loom_error)
    app.add_exception_handler(Exception, _fault)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _no_route)
    bearer = [Security(HTTPBearer(auto_error=False, description="A key: see `loom keys add`."))]
    for each in brought:
        if each.routes is not None:
            app.include_router(each.routes(api), dependencies=bearer)
    app.include_router(routes, dependencies=bearer)

    @app.get("/health", tags=["loom"])
    async def health() -> dict[str, str]:
        """Say that the server is up, and nothing else."""
        return {"status": "ok"}

    add_reference(app)
    for each in brought:
        if each.site is not None:
            app.router.routes.append(_Site("/", app=each.site(api)))
    app.openapi = Document(app, api.looms)  # type: ignore[method-assign] # how FastAPI has it replaced
    app.add_middleware(Bounds, config=settings)
    return app


class _Site(Mount):
    """Has every path that is not the API's, so that a wrong path or method of the API is answered by the API."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether a request is for the pages."""
        path = scope["path"] if scope["type"] == "http" else "/api"
        if path in _OURS or path.startswith("/api/"):
            return Match.NONE, {}
        return super().matches(scope)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HttpRefusal)  # noqa: S101 - what it is registered for
    return refusal(error)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    _log.error("request_failed", path=request.url.path, error=repr(error))
    return refusal(FAILED)


async def _bad_parameter(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    errors = [{**each, "loc": each["loc"][1:]} for each in error.errors()]
    return refusal(HttpRefusal(422, "bad_request", described(errors)))


async def _no_route(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    code = "".join(each if each.isalnum() else "_" for each in str(error.detail).lower())
    return refusal(HttpRefusal(error.status_code, code, str(error.detail), headers=error.headers))


async def _loom_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LoomError)  # noqa: S101 - what it is registered for
    log_answer(_log, "request_answered", error, path=request.url.path)
    api: Api = request.app.state.api
    return refusal(refused_with(error, status=api.status_of(error)))
