"""Signing in and out: with an API key. A session gets a new id, whatever the browser had before."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from loom.explorer.arrivals import arrive, offers_single_sign_on, signed_in_by_proxy
from loom.explorer.rendering import rendered
from loom.explorer.sessions import Credential, Holder
from loom.explorer.visits import FormFields, House, Visit, cookie_of, form, give_cookie, local, read_form
from loom.web.api import Api
from loom.web.guard import HttpRefusal

__all__ = ["add_to"]


class SignIn(FormFields):
    """What a person signs in with, and which page is wanted."""

    key: str = Field(min_length=1, max_length=400)
    next: str = Field(default="/", max_length=4_000)


class SignOut(FormFields):
    """The form of the button; there is nothing in it."""


def add_to(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route("/sign-in", sign_in_page, methods=["GET"])
    app.add_api_route("/sign-in", sign_in, methods=["POST"])
    app.add_api_route("/sign-out", sign_out, methods=["POST"])


async def sign_in_page(request: Request) -> Response:
    """Show the form, and give the browser an id that its token goes with; who is signed in goes on."""
    house, wanted = _house(request), local(request.query_params.get("next"))
    given = request.cookies.get(cookie_of(request))
    if house.sessions.find(given) is not None:
        return RedirectResponse(wanted, status_code=303)
    return signed_in_by_proxy(request, wanted) or _form(request, wanted)


def _form(request: Request, wanted: str, *, status: int = 200, wrong: str = "") -> Response:
    house, answer = _house(request), Response()
    chosen = give_cookie(request, answer)
    page = rendered(
        request,
        None,
        status=status,
        name="sign_in.html.j2",
        token=house.token(chosen),
        wanted=wanted,
        wrong=wrong,
        single_sign_on=offers_single_sign_on(house),
    )
    page.headers["set-cookie"] = answer.headers["set-cookie"]
    return page


async def sign_in(request: Request) -> Response:
    """Open a session for who has a key, and show the page that was wanted."""
    given = await read_form(request, SignIn)
    house, wanted = _house(request), local(given.next)
    try:
        workspace, key = house.api.recognise(request, given.key.strip())
    except HttpRefusal as error:
        return _form(request, wanted, status=error.status, wrong=error.message)
    return arrive(request, workspace, with_key(house.api, workspace, key.key_id), wanted=wanted)


async def sign_out(request: Request, visit: Visit, given: Annotated[SignOut, form(SignOut)]) -> Response:
    """End the session."""
    del visit, given
    _house(request).sessions.close(request.cookies.get(cookie_of(request)))
    answer = RedirectResponse("/sign-in", status_code=303)
    give_cookie(request, answer)
    return answer


def with_key(api: Api, workspace: str, key_id: str) -> Credential:
    """Return the credential that a key is, as it is known at each look."""

    def look() -> Holder | None:
        key = api.key(workspace, key_id)
        return None if key is None else Holder(key.name, f"api_key:{key_id}", key.role)

    return look


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house
