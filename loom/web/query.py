"""The parameters of a request: those that its route knows, in either spelling, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

from fastapi import Request
from fastapi.dependencies.models import Dependant

from loom.web.guard import HttpRefusal

__all__ = ["check_query"]

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def check_query(request: Request, *, ignored: tuple[str, ...] = ()) -> None:
    """Refuse parameters that the route does not know: a filter that is spelled wrong would let everything through.

    `clientId` and `client_id` are one parameter, whichever of them the route declares; given twice it is refused.
    Names with an ignored beginning are let through: they are no filters.
    """
    known = set(_parameters(request.scope["route"].dependant))
    spelled = {_snake(name): name for name in known}
    pairs = [(name if name in known else spelled.get(_snake(name), name), text) for name, text in _given(request)]
    names = [name for name, _ in pairs]
    unknown = sorted(name for name in set(names) - known if not name.startswith(ignored))
    if unknown:
        raise HttpRefusal(422, "bad_request", f"{unknown[0]:.40}: not known here; expected {', '.join(sorted(known))}")
    if len({name for name, _ in _given(request)}) > len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise HttpRefusal(422, "bad_request", f"{twice:.40}: given in two spellings; expected one of them")
    if pairs != _given(request):
        request.scope["query_string"] = urlencode(pairs).encode()
        request.__dict__.pop("_query_params", None)  # it is read again: FastAPI has not read the route's own yet


def _given(request: Request) -> list[tuple[str, str]]:
    return list(request.query_params.multi_items())


def _snake(name: str) -> str:
    return _HUMP.sub("_", name).lower()


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Yield the names of the query parameters of a route and of what it depends on."""
    yield from (each.alias for each in dependant.query_params)
    for each in dependant.dependencies:
        yield from _parameters(each)
