"""The route kit: what the routes of a wing are made of. It takes the extra `server`.

An extension names a function that takes the `Api` and returns a router of FastAPI; its paths begin with `/api/` and
its name. A route has a parameter `reads: Reads` (or `Operates`, `Approves`): the open loom, and whose key it is; a
request whose key may not is refused before. A body of the request is `given: Annotated[Shape, body(Shape)]`.
"""

from __future__ import annotations

from loom.web.api import Api, Workspace, read_body, takes
from loom.web.guard import Caller, HttpRefusal
from loom.web.session import Approves, Operates, Reads, Session, body, may
from loom.web.shapes import Listed, Page, Shape

__all__ = [
    "Api",
    "Approves",
    "Caller",
    "HttpRefusal",
    "Listed",
    "Operates",
    "Page",
    "Reads",
    "Session",
    "Shape",
    "Workspace",
    "body",
    "may",
    "read_body",
    "takes",
]
