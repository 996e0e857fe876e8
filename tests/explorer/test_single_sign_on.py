"""Single sign-on against a real issuer on the loopback: who signs in, and every answer that opens nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from pydantic import ValidationError

from loom.explorer.config import ExplorerConfig
from loom.explorer.oidc import DONE_PATH
from tests.explorer.issuer import CLIENT, CLIENT_SECRET, Issuer, issuing
from tests.explorer.support import Answer, Browser, granted, house


def explorer(issuer: Issuer, **more: Any) -> dict[str, Any]:
    oidc = {
        "issuer": issuer.url,
        "client_id": CLIENT,
        "client_secret": CLIENT_SECRET,
        "url": "http://127.0.0.1:1",
        "access": {"maria": "approver", "m.berg@example.org": "reader"},
        **more,
    }
    return {"explorer": ExplorerConfig.model_validate({"oidc": oidc})}


async def sent_to(browser: Browser, wanted: str = "%2Finbox") -> str:
    """Begin to sign in, and return the address of the issuer that the browser is sent to."""
    begun = await browser.open(f"/sign-in/oidc?next={wanted}")
    assert begun.status == 303, begun.text
    return begun.header("location")


async def answered(address: str) -> str:
    """Return what the issuer sends the browser back with."""
    async with httpx2.AsyncClient() as client:
        answer = await client.get(address)
    back = urlsplit(answer.headers["location"])
    assert back.path == DONE_PATH
    return f"{back.path}?{back.query}"


async def signed_in(browser: Browser) -> Answer:
    back = await answered(await sent_to(browser))
    return await browser.open(back, Sec_Fetch_Site="cross-site")


async def test_a_person_signs_in_answers_and_is_named_by_the_issuer(tmp_path: Path) -> None:
    async with issuing() as issuer, house(tmp_path, sections={"sections": explorer(issuer)}) as place:
        people = place.loom().people
        await people.add("maria", by="root")
        await people.give("maria", "vp_sales", by="root")
        await people.recognise("maria", f"oidc:{issuer.url}/7", by="root")
        browser = place.browser()
        assert "single sign-on" in (await browser.open("/sign-in")).text
        arrived = await signed_in(browser)
        assert (arrived.status, arrived.header("location")) == (303, "/inbox")
        request = await granted(place, browser)
        assert (request.answered_by, request.answered_identity_source) == ("maria", f"oidc:{issuer.url}/7")
        assert request.role == "vp_sales"
        await people.leave("maria", by="root", reason="moved on")
        answer = await browser.open(f"/inbox/{request.approval_id}")
        assert "maria" not in (await browser.open("/inbox")).text or answer.status == 303, "her role went with her"


async def test_an_answer_that_does_not_fit_opens_nothing(tmp_path: Path) -> None:
    async with issuing() as issuer, house(tmp_path, sections={"sections": explorer(issuer)}) as place:
        wrong: list[dict[str, Any]] = [
            {"nonce": "another"},
            {"nonce": None},
            {"aud": "another"},
            {"aud": [CLIENT, "another"]},
            {"azp": "another"},
            {"iss": "https://evil.example"},
            {"exp": int(time.time()) - 3_600},
            {"exp": None},
            {"sub": None},
            {"email_verified": False},
            {"email_verified": None},
            {"email": None},
        ]
        for claims in wrong:
            issuer.wrong = claims
            refused = await signed_in(place.browser())
            assert refused.status == 403, claims
        issuer.wrong = {}
        for signs_with in ("HS256", "another key"):
            issuer.signs_with = signs_with
            assert (await signed_in(place.browser())).status == 403, signs_with
        issuer.signs_with = "ES256"
        issuer.wrong = {"email": "eve@example.org"}
        assert (await signed_in(place.browser())).status == 403, "a person who may not sign in"
        issuer.wrong = {}
        assert (await signed_in(place.browser())).status == 303, "and all else was right"


async def test_a_sign_in_belongs_to_the_browser_that_began_it_and_works_once(tmp_path: Path) -> None:
    async with issuing() as issuer, house(tmp_path, sections={"sections": explorer(issuer)}) as place:
        mine, theirs = place.browser(), place.browser()
        back = await answered(await sent_to(mine))
        await theirs.open("/sign-in")
        assert (await theirs.open(back)).status == 403, "a link with an attacker's code signs no one in"
        assert (await mine.open(back)).status == 403, "it was used up"
        assert (await place.browser().open(f"{DONE_PATH}?state=x&code=y")).status == 403
        again = await sent_to(mine, wanted="https%3A%2F%2Fevil.example")
        arrived = await mine.open(await answered(again))
        assert (arrived.status, arrived.header("location")) == (303, "/"), "no link leads elsewhere by way of us"
        issuer.says = {"issuer": "https://evil.example"}
        assert (await place.browser().open("/sign-in/oidc")).status == 403
        issuer.says = {"authorization_endpoint": "http://evil.example/authorize"}
        assert (await place.browser().open("/sign-in/oidc")).status == 403


@pytest.mark.parametrize("address", ["http://id.example", "ftp://id.example", "https://", "https://id.example/?x=1"])
def test_only_addresses_over_tls_or_of_the_loopback_are_taken(address: str) -> None:
    with pytest.raises(ValidationError, match="https://"):
        ExplorerConfig.model_validate({"oidc": {"issuer": address, "client_id": "x", "url": "https://loom.example"}})
