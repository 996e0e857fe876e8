"""What the routes of the API share: workspaces and keys, bodies that are read, errors as answers."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from loom.doctor.examinations import Examinations
from loom.errors import AdmissionError, AnswerKind, LoomError
from loom.journal.admission import parse_json
from loom.runtime import Loom
from loom.telemetry import get_logger
from loom.web.config import WebConfig
from loom.web.failures import FailedKeys, named_as, peer_of
from loom.web.guard import Caller, HttpRefusal, RateLimit, key_given, same_origin
from loom.web.keys import ApiKey, Keys, keys_of
from loom.web.live import Commits, Live
from loom.web.permissions import Permissions
from loom.web.query import check_query

__all__ = [
    "FAILED",
    "REFUSALS",
    "STATUSES",
    "Api",
    "Workspace",
    "Workspaces",
    "described",
    "read_body",
    "refused_with",
    "takes",
]

Body = TypeVar("Body", bound=BaseModel)


WORKSPACE = "workspace_id"

Workspace = Annotated[
    str | None,
    Query(
        alias=WORKSPACE, description="Which workspace it is about; not needed where one is served. Also `workspaceId`."
    ),
]

REFUSALS: Mapping[int, str] = {
    400: "no JSON, or no HTTP",
    401: "no key of this workspace",
    403: "not with this role",
    404: "not known",
    409: "conflict",
    410: "erased, or pruned",
    413: "too large",
    421: "this host is not served",
    422: "invalid contents",
    429: "too many requests",
    431: "its headers are too long",
    500: "a fault of the server",
    503: "busy: try again",
}
"""What is refused, and what each status means here."""

STATUSES: Mapping[AnswerKind, int] = {
    "not_found": 404,
    "conflict": 409,
    "refused": 403,
    "busy": 503,
    "invalid": 422,
    "fault": 500,
}
"""What each kind of error is answered with."""

_log = get_logger("loom.web")

FAILED = HttpRefusal(500, "failed", "internal error; see the log of the server")
"""The answer where the server itself is at fault."""

Workspaces = Mapping[str, Callable[[], Loom]]
"""By name, what opens the loom of a workspace."""


class Api:
    """What all routes share: the looms that are open, their keys, the bounds."""

    def __init__(self, config: WebConfig, *, errors: Mapping[type[LoomError], int] | None = None) -> None:
        self.config = config
        self._errors = dict(errors or {})
        self._looms: dict[str, Loom] = {}
        self._keys: dict[str, Keys] = {}
        self._rates = RateLimit(config.requests_per_minute)
        self._failed = FailedKeys(config.failed_keys_per_minute)
        self._permissions: dict[str, Permissions] = {}
        self.live = Live(most=config.max_streams, heartbeat_s=config.heartbeat_s, stream_max_s=config.stream_max_s)
        """What streams of events share."""
        self.examinations = Examinations()

    def status_of(self, error: LoomError) -> int:
        """Return with which status an error is answered: the one that its extension gives it, else that of its kind."""
        own = next((self._errors[each] for each in type(error).__mro__ if each in self._errors), None)
        return own or status_of(error)

    @contextlib.asynccontextmanager
    async def serving(self, workspaces: Workspaces) -> AsyncIterator[None]:
        """Have every workspace open."""
        async with contextlib.AsyncExitStack() as stack:
            for name, opens in workspaces.items():
                loom = await stack.enter_async_context(opens())
                self._looms[name], self._keys[name] = loom, keys_of(loom)
                self._permissions[name] = await Permissions.open(loom)
                self.live.commits[name] = commits = Commits()
                loom.store.on_commit(commits)
            try:
                yield
            finally:
                self.live.ending.set()
        self._looms.clear()

    @property
    def looms(self) -> Mapping[str, Loom]:
        """The looms that are open, by workspace; for the code that runs the server. Routes use `caller`."""
        return self._looms

    def permissions(self, workspace: str) -> Permissions:
        """Return who may send which command in a served workspace."""
        return self._permissions[workspace]

    def opens(self, caller: Caller) -> bool:
        """Tell whether the key of a caller is still good, for what takes longer than a request."""
        keys = self._keys.get(caller.workspace)
        return keys is not None and keys.known(caller.key.key_id) == caller.key

    def loom(self, workspace: str) -> Loom:
        """Return the loom of a served workspace; for the code that runs the server. Routes use `caller`."""
        return self._looms[workspace]

    async def caller(self, request: Request, what: str) -> tuple[Loom, Caller]:
        """Return the loom that a request is about and whose key it came with.

        A missing workspace and one that the key is not for get the same answer, which does not reveal which exist.
        """
        if not same_origin(request):
            raise HttpRefusal(403, "cross_origin", "requests of other sites are not taken")
        workspace = self._workspace(request)
        key = self._key(request, workspace)
        self.take(f"api_key:{key.key_id}")
        check_query(request)
        caller = Caller(key, workspace)
        if not caller.may(what):
            raise HttpRefusal(403, "forbidden", f"the role [{key.role}] may not {what} here")
        return self._looms[workspace], caller

    def recognise(self, request: Request, text: str) -> tuple[str, ApiKey]:
        """Return a key, and of which workspace it is; raise `HttpRefusal` for one that opens nothing, or is guessed at.

        For requests that name no workspace: a key is of one only.
        """
        peer = peer_of(request.client.host if request.client else None)
        named = named_as("", Keys.named_in(text))
        self._failed.check(named, peer)
        for workspace, keys in self._keys.items():
            key = keys.who(text)
            if key is not None:
                return workspace, key
        self._failed.failed(named, peer)
        raise HttpRefusal(401, "unauthorized", "this key opens nothing here")

    def key(self, workspace: str, key_id: str) -> ApiKey | None:
        """Return a key as it is known now; None for one that is revoked."""
        keys = self._keys.get(workspace)
        return None if keys is None else keys.known(key_id)

    def take(self, source: str) -> None:
        """Count a request; raise `HttpRefusal` where there are too many from this source."""
        self._rates.take(source)

    def _workspace(self, request: Request) -> str:
        """Return the workspace that a request names; where one is served, it need not be named."""
        given = [each for name in (WORKSPACE, "workspaceId") for each in request.query_params.getlist(name)]
        if not given and len(self._looms) == 1:
            return next(iter(self._looms))
        return given[0] if len(given) == 1 else ""

    def _key(self, request: Request, workspace: str) -> ApiKey:
        """Return the key that a request came with; raise `HttpRefusal` for one that opens nothing, or is guessed at."""
        text, keys = key_given(request), self._keys.get(workspace)
        peer = peer_of(request.client.host if request.client else None)
        named = named_as(workspace, Keys.named_in(text or ""))
        if text is not None:
            self._failed.check(named, peer)
        key = None if keys is None else keys.who(text)
        if key is not None:
            return key
        if text is not None:
            self._failed.failed(named, peer)
        raise HttpRefusal(
            401,
            "unauthorized",
            "expected a key of the workspace: Authorization: Bearer KEY, and workspace_id=NAME if it serves several",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def read_body(request: Request, model: type[Body]) -> Body:
    """Return the body of a request: strict JSON of this shape; raise `HttpRefusal` for anything else."""
    try:
        raw = await request.body()
    except ClientDisconnect as error:  # the answer goes nowhere
        raise HttpRefusal(408, "request_timeout", "the body of the request did not come") from error
    try:
        value = parse_json(raw)
        return model.model_validate(value)
    except AdmissionError as error:
        raise HttpRefusal(400, "bad_json", str(error)) from error
    except ValidationError as error:
        raise HttpRefusal(
            422, "bad_request", described(error.errors(include_url=False, include_input=False))
        ) from error
    except RecursionError as error:
        raise HttpRefusal(400, "bad_json", "it is nested too deeply") from error


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that `read_body` reads."""
    schema = model.model_json_schema()
    known = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix("#/$defs/")
            return inlined(known[name]) if name in known else {key: inlined(each) for key, each in part.items()}
        return [inlined(each) for each in part] if isinstance(part, list) else part

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


def described(errors: Sequence[Any]) -> str:
    """Return what is wrong, and where: a few of them at most."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the body'}: {each['msg']}" for each in errors[:5])


def status_of(error: LoomError) -> int:
    """Return with which status an error of its kind is answered; what is gone for good is a 410."""
    return 410 if error.gone else STATUSES[error.kind]


def refused_with(error: LoomError, *, status: int | None = None) -> HttpRefusal:
    """Return the refusal that an error is. What is wrong with the server itself is for its log, not for callers."""
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
    wait_s = getattr(error, "retry_after_s", None) or 1
    headers = {"Retry-After": str(math.ceil(wait_s))} if error.kind == "busy" else {}
    return HttpRefusal(
        status or status_of(error), code, FAILED.message if error.kind == "fault" else str(error), headers=headers
    )
