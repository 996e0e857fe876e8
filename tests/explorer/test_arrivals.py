"""Signing in without a key: an invitation that opens once, and a proxy that names who asks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from loom.explorer.config import ExplorerConfig
from loom.people.invitations import invitation_path
from tests.explorer.support import asked, house

SECRET = "a secret of sixteen"
PROXY = {"proxy": {"name": "front", "secret": SECRET, "access": {"Maria": "approver"}}}


def explorer(**given: Any) -> dict[str, Any]:
    return {"sections": {"explorer": ExplorerConfig.model_validate(given)}}


async def test_a_link_from_a_chat_shows_who_is_invited_and_its_button_signs_in_once(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        people = place.loom().people
        secret = await people.invitations.issue("maria", "approver", by="root")
        first, second, bot = place.browser(), place.browser(), place.browser()
        chat = {"Sec_Fetch_Site": "cross-site"}
        for _ in range(3):
            assert "Sign in as maria" in (await bot.open(invitation_path(secret), **chat)).text
        assert people.invitations.all()[0].state == "open", "looking uses nothing up"
        pages = [await each.open(invitation_path(secret), **chat) for each in (first, second)]
        before = dict(first.cookies)
        answers = await asyncio.gather(
            *(
                each.send("/invitation", token=page.token, on="/invitation", code=secret)
                for each, page in zip((first, second), pages, strict=True)
            )
        )
        assert sorted(each.status for each in answers) == [303, 403]
        winner = first if answers[0].status == 303 else second
        assert before != winner.cookies, "the session has an id of its own"
        waiting = await asked(place.loom())
        [request] = await place.loom().approvals.pending()
        await winner.answer(request.approval_id, "grant")
        assert await waiting
        [granted] = await place.loom().approvals.list(status="granted")
        assert granted.answered_identity_source == f"invitation:{people.invitations.all()[0].invitation_id}"
        assert str(granted.answered_via).startswith("session:")
        await people.invitations.withdraw(people.invitations.all()[0].invitation_id, by="root", reason="lost")
        assert (await winner.open("/inbox")).header("location").startswith("/sign-in"), "its sessions end at once"
        used = await place.browser().open(invitation_path(secret))
        assert (used.status, "opens nothing" in used.text) == (403, True)
        forged = await place.browser().send(
            "/invitation", token="x", on="/invitation", code=await people.invitations.issue("m", "admin", by="root")
        )
        assert forged.status == 403
        assert people.invitations.all()[-1].state == "open", "a form of another site uses nothing up"


async def test_a_proxy_names_who_asks_and_only_the_proxy_does(tmp_path: Path) -> None:
    async with house(tmp_path, sections=explorer(**PROXY)) as place:
        stranger = place.browser()
        for headers in (
            {"X_Remote_User": "maria"},
            {"X_Remote_User": "maria", "X_Proxy_Secret": "wrong"},
            {"X_Proxy_Secret": SECRET},
        ):
            page = await stranger.open("/sign-in", **headers)
            assert (page.status, "Your key" in page.text) == (200, True), headers
        proxy = {"X_Remote_User": "maria", "X_Proxy_Secret": SECRET}
        refused = await stranger.open("/sign-in", X_Remote_User="eve", X_Proxy_Secret=SECRET)
        assert refused.status == 403
        browser = place.browser()
        arrived = await browser.open("/sign-in?next=%2Finbox", **proxy)
        assert (arrived.status, arrived.header("location")) == (303, "/inbox")
        shown = await browser.open("/inbox", **proxy)
        assert (shown.status, "maria" in shown.text) == (200, True)
        other = {"X_Remote_User": "eve", "X_Proxy_Secret": SECRET}
        assert (await browser.open("/inbox", **other)).header("location").startswith("/sign-in"), "another person now"
        assert (await browser.open("/inbox", **proxy)).header("location").startswith("/sign-in"), "and it has ended"
        outside = place.browser()
        await outside.open("/sign-in", **proxy)
        assert (await outside.open("/inbox")).header("location").startswith("/sign-in"), "the cookie alone is nothing"
