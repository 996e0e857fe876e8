"""Signing in without a key: by an invitation, by a trusted proxy, and by single sign-on.

Opening the link of an invitation only shows a page, as programs look at links that are sent in a chat: its button signs
in. A session keeps the source that it was opened with, and is looked at again with each request.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from loom.errors import InvitationError
from loom.explorer.config import ExplorerConfig
from loom.explorer.oidc import DONE_PATH, SignedOn, SingleSignOn
from loom.explorer.rendering import rendered
from loom.explorer.sessions import Credential, Holder
from loom.explorer.sources import ProxyConfig, name_by_proxy
from loom.explorer.visits import FormFields, House, cookie_of, give_cookie, local, read_form
from loom.identity import Identity, same_person
from loom.people.invitations import INVITATION_PATH, Invitation, Redeemed
from loom.runtime import Loom
from loom.web.guard import HttpRefusal

__all__ = ["add_to", "arrive", "explorer_config", "offers_single_sign_on", "signed_in_by_proxy"]

_OIDC_PATH = "/sign-in/oidc"

Code = Annotated[str, Field(max_length=200)]


class Accept(FormFields):
    """The button of an invitation."""

    code: Code


def add_to(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(INVITATION_PATH, invitation_page, methods=["GET"])
    app.add_api_route(INVITATION_PATH, accept_invitation, methods=["POST"])
    app.add_api_route(_OIDC_PATH, begin_single_sign_on, methods=["GET"])
    app.add_api_route(DONE_PATH, finish_single_sign_on, methods=["GET"])


def explorer_config(loom: Loom) -> ExplorerConfig:
    """Return what the explorer of a workspace is set to."""
    section = loom.config.sections.get("explorer")
    return section if isinstance(section, ExplorerConfig) else ExplorerConfig()


def arrive(request: Request, workspace: str, credential: Credential, *, wanted: str = "/") -> Response:
    """Open a session with a new id, and go to the page that was wanted."""
    house: House = request.app.state.house
    house.sessions.close(request.cookies.get(cookie_of(request)))
    session = house.sessions.open(workspace, credential, explorer_config(house.api.loom(workspace)))
    answer = RedirectResponse(local(wanted), status_code=303)
    give_cookie(request, answer, session)
    return answer


# --- invitations -----------------------------------------------------------------------------------


async def invitation_page(request: Request) -> Response:
    """Show who was invited, and the button that signs in; nothing is used up by looking."""
    code = request.query_params.get("code", "")
    found, problem = await _find(request, code)
    return _invitation(request, code, found[1] if found else None, problem=problem)


async def accept_invitation(request: Request) -> Response:
    """Use an invitation, once, and open a session for the person."""
    given = await read_form(request, Accept)
    found, problem = await _find(request, given.code)
    if found is None:
        return _invitation(request, "", None, problem=problem)
    workspace = found[0]
    house: House = request.app.state.house
    loom = house.api.loom(workspace)
    try:
        redeemed = await loom.people.invitations.redeem(given.code)
    except InvitationError as error:
        return _invitation(request, "", None, problem=str(error))
    return arrive(request, workspace, _by_invitation(loom, redeemed))


async def _find(request: Request, code: str) -> tuple[tuple[str, Invitation] | None, str]:
    """Return the workspace of an invitation, and the invitation; or what is wrong with it."""
    house: House = request.app.state.house
    problem = "this invitation is not known"
    for workspace, loom in house.api.looms.items():
        try:
            return (workspace, loom.people.invitations.check(code)), ""
        except InvitationError as error:
            problem = str(error) if loom.people.invitations.knows(code) else problem
    return None, problem


def _invitation(request: Request, code: str, invitation: Invitation | None, *, problem: str) -> Response:
    house: House = request.app.state.house
    cookie = Response()
    chosen = give_cookie(request, cookie)
    page = rendered(
        request,
        None,
        status=200 if invitation is not None else 403,
        name="invitation.html.j2",
        token=house.token(chosen),
        code=code,
        invitation=invitation,
        wrong=problem.partition(";")[0],
        path=INVITATION_PATH,
    )
    page.headers["set-cookie"] = cookie.headers["set-cookie"]
    return page


def _by_invitation(loom: Loom, redeemed: Redeemed) -> Credential:
    """Return the credential that an invitation is, until it is withdrawn or the person has left."""

    def look() -> Holder | None:
        if not loom.people.invitations.is_in_force(redeemed.invitation_id):
            return None
        return Holder(redeemed.identity.name, str(redeemed.identity.source), redeemed.access)

    return look


# --- a trusted proxy -------------------------------------------------------------------------------


def signed_in_by_proxy(request: Request, wanted: str) -> Response | None:
    """Open a session for whom a trusted proxy names; None where none does.

    Raises `HttpRefusal` for a person who may not sign in.
    """
    house: House = request.app.state.house
    for workspace, loom in house.api.looms.items():
        config = explorer_config(loom).proxy
        name = name_by_proxy(request, config)
        if config is None or name is None:
            continue
        if config.access_of(name) is None:
            raise HttpRefusal(403, "forbidden", f"[{name}] may not sign in here; ask who runs this server")
        return arrive(request, workspace, _by_proxy(config, name), wanted=wanted)
    return None


def _by_proxy(config: ProxyConfig, name: str) -> Credential:
    def look() -> Holder | None:
        access = config.access_of(name)
        return None if access is None else Holder(name, f"proxy:{config.name}", access)

    return look


# --- single sign-on --------------------------------------------------------------------------------


def offers_single_sign_on(house: House) -> bool:
    """Tell whether the pages offer to sign in by an issuer."""
    return any(explorer_config(loom).oidc is not None for loom in house.api.looms.values())


async def begin_single_sign_on(request: Request) -> Response:
    """Send a person to the issuer, with a new id that the answer has to come back with."""
    _, sign_on = _single_sign_on(request)
    answer = RedirectResponse("/", status_code=303)
    browser = give_cookie(request, answer)
    wanted = local(request.query_params.get("next"))
    answer.headers["location"] = await sign_on.begin(browser=browser, wanted=wanted)
    return answer


async def finish_single_sign_on(request: Request) -> Response:
    """Open a session for whom the issuer vouches for; raise `HttpRefusal` for a person who may not sign in."""
    workspace, sign_on = _single_sign_on(request)
    browser = request.cookies.get(cookie_of(request), "")
    found = await sign_on.finish(browser=browser, given=dict(request.query_params))
    loom = request.app.state.house.api.loom(workspace)
    known = loom.people.known_as(Identity(found.name, found.source, "http"))
    if sign_on.config.access_of(known.name) is None:
        raise HttpRefusal(403, "forbidden", f"[{known.name}] may not sign in here; ask who runs this server")
    return arrive(request, workspace, _by_issuer(loom, sign_on, found), wanted=found.wanted)


def _single_sign_on(request: Request) -> tuple[str, SingleSignOn]:
    """Return the workspace that has single sign-on, and its sign-ins, which last as long as the server."""
    house: House = request.app.state.house
    for workspace, loom in house.api.looms.items():
        config = explorer_config(loom).oidc
        if config is not None:
            if getattr(request.app.state, "single_sign_on", None) is None:
                request.app.state.single_sign_on = SingleSignOn(config)
            return workspace, request.app.state.single_sign_on
    raise HttpRefusal(404, "not_found", "there is no single sign-on here: sign in with a key")


def _by_issuer(loom: Loom, sign_on: SingleSignOn, found: SignedOn) -> Credential:
    def look() -> Holder | None:
        known = loom.people.known_as(Identity(found.name, found.source, "http"))
        access = sign_on.config.access_of(known.name)
        return None if access is None or _has_left(loom, found) else Holder(known.name, found.source, access)

    return look


def _has_left(loom: Loom, found: SignedOn) -> bool:
    return any(each.has_left and same_person(each.name, found.name) for each in loom.people.all())
