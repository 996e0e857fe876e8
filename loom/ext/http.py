"""The route kit: what the routes of a wing are made of. It takes the extra `server`.

An extension names a function that takes the `Api` and returns a router of FastAPI; its paths begin with `/api/` and
its name. A route asks `api.caller` first, which says whose key it is and whether it may.
"""

from __future__ import annotations

from loom.web.api import Api, Workspace, read_body, takes
from loom.web.guard import Caller, HttpRefusal
from loom.web.shapes import Listed, Page, Shape

__all__ = ["Api", "Caller", "HttpRefusal", "Listed", "Page", "Shape", "Workspace", "read_body", "takes"]
