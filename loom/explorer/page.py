"""A page: one view-model made by public queries, shown as HTML, and as it is at the same path with `.json`.

A module of `loom/explorer/pages/` has one or more of them, at its top level; that is how they are found:

    page = Page("inbox", "/inbox", title="Inbox", about="Requests that wait for an answer", place=10)

    @page.shows
    async def inbox(visit: Visit, after: int = 0) -> InboxView: ...

    @page.takes("/inbox/{approval_id}/deny", may="approve")
    async def deny(visit: Visit, approval_id: str, given: Annotated[Denial, form(Denial)]) -> Done: ...

The template is `templates/<name>.html.j2`. Parameters are FastAPI's; what a page does not know is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from loom.explorer import pages as rooms
from loom.explorer.rendering import rendered
from loom.explorer.sessions import Notice
from loom.explorer.visits import needs, visiting
from loom.web.query import check_query

__all__ = ["Done", "Page", "View", "all_pages"]

Shown = TypeVar("Shown", bound=Callable[..., Awaitable[BaseModel]])
Given = TypeVar("Given", bound=Callable[..., Awaitable[Response]])
Streamed = TypeVar("Streamed", bound=Callable[..., Awaitable[Response]])
Taken = TypeVar("Taken", bound=Callable[..., Awaitable["Done"]])


class View(BaseModel):
    """What a page shows, and its JSON: nothing in it is unknown, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: int
    """The position of the journal up to which it was read."""


@dataclass(frozen=True)
class Done:
    """What a form has done: in words, and the page that says so."""

    text: str
    to: str


class Page:
    """A page, and the forms that it has. `place` orders the pages in the menu; without one it is not in the menu."""

    def __init__(
        self,
        name: str,
        path: str,
        *,
        title: str,
        about: str = "",
        place: int | None = None,
        may: str = "read",
        template: str | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.title = title
        self.about = about
        self.place = place
        self.may = may
        self.template = template or f"{name}.html.j2"
        self._view: Callable[..., Awaitable[BaseModel]] | None = None
        self._forms: list[tuple[str, str, Callable[..., Awaitable[Done]]]] = []
        self._streams: list[tuple[str, Callable[..., Awaitable[Response]]]] = []
        self._files: list[tuple[str, Callable[..., Awaitable[Response]]]] = []

    def shows(self, view: Shown) -> Shown:
        """Take a function as what makes the view-model of this page."""
        self._view = view
        return view

    def gives(self, path: str) -> Callable[[Given], Given]:
        """Take a function as what makes a file that belongs to this page, such as a table for a spreadsheet."""

        def add(work: Given) -> Given:
            self._files.append((path, work))
            return work

        return add

    def takes(self, path: str, *, may: str) -> Callable[[Taken], Taken]:
        """Take a function as what a form of this page does, for people who may."""

        def add(work: Taken) -> Taken:
            self._forms.append((path, may, work))
            return work

        return add

    def streams(self, path: str) -> Callable[[Streamed], Streamed]:
        """Take a function as what answers with a stream of events, which a script of this page reads."""

        def add(work: Streamed) -> Streamed:
            self._streams.append((path, work))
            return work

        return add

    def add_to(self, app: FastAPI) -> None:
        """Add the routes: the JSON before the page, as `{id}` would match `<id>.json`, too."""
        if self._view is None:
            raise ValueError(f"page [{self.name}] shows nothing; expected a function under @page.shows")
        read: Any = Depends(self._view)
        page = self

        async def as_json(shown: Any = read) -> Response:
            return Response(shown.model_dump_json(), media_type="application/json")

        async def as_html(request: Request, shown: Any = read) -> Response:
            return rendered(request, page, view=shown)

        checked = [needs(self.may), Depends(_check_query)]
        for path, stream in self._streams:
            app.add_api_route(path, stream, methods=["GET"], dependencies=checked, name=path, response_model=None)
        app.add_api_route(f"{self.path}.json", as_json, methods=["GET"], dependencies=checked, name=f"{self.name}.json")
        app.add_api_route(self.path, as_html, methods=["GET"], dependencies=checked, name=self.name)
        for path, file in self._files:
            app.add_api_route(path, file, methods=["GET"], dependencies=checked, name=path, response_model=None)
        for path, may, work in self._forms:
            _add_form(app, path, may, work)


def _add_form(app: FastAPI, path: str, may: str, work: Callable[..., Awaitable[Done]]) -> None:
    result: Any = Depends(work)

    async def take(request: Request, done: Any = result) -> Response:
        session = visiting(request).session
        if session is not None:
            session.notice = Notice("done", done.text)
        return RedirectResponse(done.to, status_code=303)

    app.add_api_route(path, take, methods=["POST"], dependencies=[needs(may)], name=path)


def _check_query(request: Request) -> None:
    """Refuse parameters that a page does not know, but for those that mails and chats add to links."""
    check_query(request, ignored=("utm_", "fbclid", "gclid", "mc_"))


def all_pages() -> Sequence[Page]:
    """Return the pages of all modules of `loom/explorer/pages/`, in the order of the menu."""
    modules = [import_module(f"{rooms.__name__}.{each.name}") for each in iter_modules(rooms.__path__)]
    found = {id(page): page for module in modules for page in vars(module).values() if isinstance(page, Page)}
    return sorted(found.values(), key=lambda page: (page.place is None, page.place or 0, page.name))
