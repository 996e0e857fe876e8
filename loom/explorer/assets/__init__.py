"""What pages are made of that does not change: the style sheet and scripts, all of this package.

`vendored.json` says what is not ours: version, package, licence and hash.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response

from loom.web.guard import HttpRefusal

__all__ = ["Asset", "address_of", "assets", "serve"]

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file that is served: as it is, compressed, and the beginning of its hash."""

    content: bytes
    zipped: bytes
    media_type: str
    version: str


@cache
def assets() -> Mapping[str, Asset]:
    """Return every file that is served, by its name."""
    found = {}
    for each in files(__name__).iterdir():
        kind = _TYPES.get(f".{each.name.rpartition('.')[2]}")
        if kind is not None:
            content = each.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:16]
            found[each.name] = Asset(content, gzip.compress(content, mtime=0), kind, version)
    return found


def address_of(name: str) -> str:
    """Return where a file is served; another version of it has another address."""
    return f"/assets/{name}?v={assets()[name].version}"


async def serve(request: Request, name: str) -> Response:
    """Answer with a file; browsers keep it."""
    asset = assets().get(name)
    if asset is None:
        raise HttpRefusal(404, "not_found", "there is no such file")
    zipped = "gzip" in request.headers.get("accept-encoding", "")
    headers = {"Vary": "Accept-Encoding", **({"Content-Encoding": "gzip"} if zipped else {})}
    if request.query_params.get("v") == asset.version:
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return Response(asset.zipped if zipped else asset.content, media_type=asset.media_type, headers=headers)
