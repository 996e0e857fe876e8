"""Signing in and out: with an API key, or by an invitation. A session gets a new id, whatever the browser had before.

The link of an invitation only shows a page: programs that look at links in mails do not use it up, the button does.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from loom.errors import InvitationError
from loom.explorer.arrivals import arrive, signed_in_by_proxy
from loom.explorer.rendering import rendered
from loom.explorer.sessions import Credential, Holder
from loom.explorer.visits import FormFields, House, Visit, cookie_of, form, give_cookie, local, read_form
from loom.people import Redeemed
from loom.runtime import Loom
from loom.web.api import Api
from loom.web.guard import HttpRefusal

__all__ = ["add_to"]


class SignIn(FormFields):
    """What a person signs in with, and which page is wanted."""

    key: str = Field(default="", max_length=400)
    invitation: str = Field(default="", max_length=400)
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
    invitation = request.query_params.get("invitation", "")[:400]
    proxied = None if invitation else signed_in_by_proxy(request, wanted)
    return proxied or _form(request, wanted, invitation=invitation)


def _form(request: Request, wanted: str, *, status: int = 200, wrong: str = "", invitation: str = "") -> Response:
    house, answer = _house(request), Response()
    chosen = give_cookie(request, answer)
    shown = {"token": house.token(chosen), "wanted": wanted, "wrong": wrong, "invitation": invitation}
    page = rendered(request, None, status=status, name="sign_in.html.j2", **shown)
    page.headers["set-cookie"] = answer.headers["set-cookie"]
    return page


async def sign_in(request: Request) -> Response:
    """Open a session for who has a key or an invitation, and show the page that was wanted."""
    given = await read_form(request, SignIn)
    house, wanted = _house(request), local(given.next)
    try:
        if given.invitation and not given.key:
            workspace, credential = await _invited(house.api, request, given.invitation.strip())
        else:
            workspace, key = house.api.recognise(request, given.key.strip())
            credential = with_key(house.api, workspace, key.key_id)
    except HttpRefusal as error:
        return _form(request, wanted, status=error.status, wrong=error.message)
    return arrive(request, workspace, credential, wanted=wanted)


async def _invited(api: Api, request: Request, secret: str) -> tuple[str, Credential]:
    """Use an invitation, of whichever workspace; raise `HttpRefusal` for one that opens nothing, or is guessed at."""
    named = secret.split("_")[1] if secret.count("_") == 2 else ""
    with api.guessing(request, named):
        for workspace, loom in api.looms.items():
            if any(each.invitation_id == named for each in loom.people.invitations.all()):
                try:
                    redeemed = await loom.people.invitations.redeem(secret)
                except InvitationError as error:
                    raise HttpRefusal(401, "unauthorized", str(error)) from error
                return workspace, by_invitation(loom, redeemed)
        raise HttpRefusal(401, "unauthorized", "this invitation opens nothing here: ask for a new one")


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


def by_invitation(loom: Loom, redeemed: Redeemed) -> Credential:
    """Return the credential that a used invitation is, until it is withdrawn, or the person leaves."""
    holder = Holder(redeemed.identity.name, f"invitation:{redeemed.invitation_id}", redeemed.access)

    def look() -> Holder | None:
        return holder if loom.people.invitations.is_in_force(redeemed.invitation_id) else None

    return look


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house
