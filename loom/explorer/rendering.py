"""Templates: every text is escaped, and nothing in it can change the order in which a line is read."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

import loom.text as words
from loom.explorer.assets import address_of
from loom.explorer.visits import Visitor
from loom.explorer.words import relation, since, value
from loom.web.rendering import templates_of

__all__ = ["rendered", "templates"]


class Named(Protocol):
    """What a template needs to know of its page."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def template(self) -> str:
        """The file of its template."""
        ...


@cache
def templates() -> Environment:
    """Return the templates, with the filters that all of them may use."""
    environment = templates_of("loom.explorer", finalize=_harmless)
    environment.filters.update(
        since=since,
        relation=relation,
        value=value,
        moment=_moment,
        asjson=_as_json,
        compacted=_compacted,
        sentence=_sentence,
        age=words.age,
    )
    environment.globals.update(asset=address_of)
    return environment


def rendered(request: Request, page: Named | None, *, status: int = 200, name: str = "", **values: Any) -> HTMLResponse:
    """Return a page, as its template has it, for who asks."""
    visit = getattr(request.state, "visitor", None)
    visit = visit if isinstance(visit, Visitor) else None
    notice = None
    if visit is not None and visit.session is not None and page is not None:
        notice, visit.session.notice = visit.session.notice, None
    template = templates().get_template(name or (page.template if page is not None else ""))
    html = template.render(
        page=page,
        pages=[each for each in request.app.state.pages if each.place is not None and visit and visit.may(each.may)],
        visit=visit,
        notice=notice,
        here=request.url.path,
        **values,
    )
    return HTMLResponse(html, status_code=status)


def _harmless(value: Any) -> Any:
    """Make text visible that would steer how a line is read; what a template made already stays."""
    return words.safe(value) if type(value) is str else value


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{words.moment(at)} UTC"


def _sentence(text: str) -> str:
    """Return text with a capital letter and a full stop."""
    plain = text.strip()
    return plain[:1].upper() + plain[1:] + ("" if plain.endswith((".", "!", "?")) else ".")


def _compacted(pair: tuple[str, Any]) -> tuple[str, str]:
    """Return a name and its value as a line of a list."""
    return pair[0], value(pair[1])


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
