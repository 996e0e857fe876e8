"""Who may do what from a browser, and what other sites cannot do."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fastapi.routing import APIRoute

from loom.explorer.assets import assets
from loom.explorer.site import HEADERS
from loom.web.keys import Role, keys_of
from tests.explorer.support import Place, asked, house

ROLES: dict[Role, set[str]] = {
    "reader": {"read"},
    "auditor": {"read", "audit"},
    "operator": {"read", "operate"},
    "approver": {"read", "approve"},
    "admin": {"read", "audit", "operate", "approve", "administer"},
}


def routes(place: Place) -> list[tuple[str, str]]:
    """Return every route of the pages, with its method."""
    [site] = [each.app for each in place.app.routes if type(each).__name__ == "_Site"]
    app = site.__dict__.get("_app", site)
    return [(method, each.path) for each in app.routes if isinstance(each, APIRoute) for method in each.methods or ()]


FREE = {("GET", "/assets/{name}"), ("GET", "/"), ("GET", "/sign-in"), ("POST", "/sign-in")}
FREE |= {("GET", "/invitation"), ("POST", "/invitation"), ("GET", "/sign-in/oidc"), ("GET", "/sign-in/oidc/done")}


async def test_without_a_session_no_page_shows_anything_and_no_form_does_anything(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await asked(place.loom(), why="canary-7f3a9b")
        before = await place.loom().approvals.pending()
        stranger = place.browser()
        found = routes(place)
        assert len(found) > 6
        for method, path in found:
            if (method, path) in FREE:
                continue
            where = path.replace("{approval_id}", (await place.loom().approvals.pending())[0].approval_id)
            answer = await (stranger.open(where) if method == "GET" else stranger.send(where, token="x"))
            wanted = 401 if where.endswith(".json") else 303
            assert answer.status == wanted, (method, path, answer)
            assert "canary" not in answer.text
            assert answer.header("location").startswith("/sign-in") or wanted == 401
        assert await place.loom().approvals.pending() == before


async def test_every_answer_has_the_headers_that_protect_it(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        browser = await place.signed_in("admin")
        for path in ("/inbox", "/inbox.json", "/nothing", "/sign-in", "/assets/loom.css", "/assets/nothing.css", "/"):
            answer = await browser.open(path)
            for name, text in HEADERS.items():
                assert answer.header(name.lower()) == text, (path, name)
            assert answer.header("x-content-type-options") == "nosniff"
            assert [name for name, _ in answer.headers if name.lower() == "referrer-policy"] != []
            assert "unsafe" not in HEADERS["Content-Security-Policy"]
            kept = answer.header("cache-control")
            assert kept == "no-store", path


async def test_a_form_needs_the_token_of_its_session_and_our_own_origin(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await asked(place.loom())
        [waiting] = await place.loom().approvals.pending()
        browser, other = await place.signed_in(), await place.signed_in()
        on = f"/inbox/{waiting.approval_id}"
        where, page = f"{on}/grant", await browser.open(on)
        seen, foreign = page.field("seen"), (await other.open(on)).token
        assert page.token
        assert page.token != foreign
        for token in ("", "x", foreign, page.token[:-1]):
            answer = await browser.send(where, token=token, seen=seen)
            assert (answer.status, (await browser.open("/inbox")).text.count("out of date")) == (303, 1)
        evil: list[dict[str, str | None]] = [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"https://127.0.0.1:{place.port}"},
            {"Origin": None, "Sec-Fetch-Site": "cross-site"},
            {"Origin": None, "Sec-Fetch-Site": None},
            {"Sec-Fetch-Site": "same-site"},
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/json"},
        ]
        for headers in evil:
            answer = await browser.ask(
                "POST", where, body=urlencode({"token": page.token, "seen": seen}), headers=headers
            )
            assert answer.status in (400, 403), headers
        assert (await place.loom().approvals.pending()) == (waiting,)
        assert (await browser.send(where, token=page.token, seen=seen)).status == 303
        assert not await place.loom().approvals.pending()


async def test_a_link_from_a_chat_opens_a_page_and_nothing_else_from_there_does(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        browser = await place.signed_in()
        link = await browser.open("/inbox?utm_source=chat", Sec_Fetch_Site="cross-site")
        assert (link.status, "Inbox" in link.text) == (200, True)
        for mode, target in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("no-cors", "script")):
            headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": target}
            assert (await browser.open("/inbox", **headers)).status == 403
            assert (await browser.open("/inbox.json", **headers)).status == 403


async def test_signing_in_gives_a_new_id_and_signing_out_ends_it(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        browser = place.browser()
        await browser.open("/sign-in")
        [(name, before)] = browser.cookies.items()
        assert name == f"loom-{place.port}"
        browser.cookies[name] = fixed = "an-id-that-somebody-else-knows"
        page = await browser.open("/sign-in")
        assert browser.cookies[name] not in (before, fixed)
        answer = await browser.send("/sign-in", token=page.token, key=place.keys["one", "reader"], on="/sign-in")
        first = browser.cookies[name]
        assert first not in (before, fixed)
        words = answer.header("set-cookie").lower()
        assert "httponly" in words
        assert "samesite=lax" in words
        assert "path=/" in words
        assert "domain" not in words
        other = place.browser()
        other.cookies[name] = fixed
        assert (await other.open("/inbox")).status == 303
        assert (await browser.send("/sign-out")).status == 303
        browser.cookies[name] = first
        assert (await browser.open("/inbox")).status == 303


async def test_a_key_that_is_revoked_ends_its_sessions_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        browser = await place.signed_in("approver")
        assert (await browser.open("/inbox")).status == 200
        key = place.keys["one", "approver"]
        await keys_of(place.loom()).revoke(key.split("_")[1], by="mira", reason="she left")
        assert (await browser.open("/inbox")).header("location") == "/sign-in?next=%2Finbox"


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie:x=1\r\nx: y",
        "/\t/evil.example",
        " //evil.example",
        "",
    ],
)
async def test_a_link_to_sign_in_leads_nowhere_else(tmp_path: Path, wanted: str) -> None:
    async with house(tmp_path) as place:
        answer = await place.browser().sign_in(place.keys["one", "reader"], wanted=wanted)
        assert (answer.status, answer.header("location")) == (303, "/")


async def test_a_form_is_refused_to_who_may_not_answer_and_has_no_button_for_them(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await asked(place.loom())
        [waiting] = await place.loom().approvals.pending()
        for role, may in ROLES.items():
            browser = await place.signed_in(role)
            page = await browser.open(f"/inbox/{waiting.approval_id}")
            assert (">Grant<" in page.text) == ("approve" in may)
            if "approve" not in may:
                answer = await browser.send(f"/inbox/{waiting.approval_id}/grant", token=page.token, seen="x")
                assert "may not approve here" in (await browser.open("/inbox")).text, answer
                assert (await place.loom().approvals.get(waiting.approval_id)).pending


async def test_wrong_keys_are_refused_and_guessing_is_slowed_down(tmp_path: Path) -> None:
    async with house(tmp_path, failed_keys_per_minute=3) as place:
        browser = place.browser()
        said = [(await browser.sign_in(f"loom_{'0' * 16}_{number:064d}")).status for number in range(5)]
        assert said == [401, 401, 401, 429, 429]


async def test_people_sign_in_over_tls_or_on_the_machine_itself(tmp_path: Path) -> None:
    async with house(tmp_path, allowed_hosts=("127.0.0.1", "loom.example"), trusted_proxies=("127.0.0.1",)) as place:
        browser = place.browser()
        browser.host = "loom.example"
        assert (await browser.open("/sign-in")).status == 403
        answer = await browser.open("/sign-in", X_Forwarded_Proto="https")
        assert answer.status == 200
        assert answer.header("set-cookie").startswith("__Host-loom=")
        assert "; Secure" in answer.header("set-cookie")


def test_what_is_vendored_is_what_its_note_says() -> None:
    folder = files("loom.explorer.assets")
    noted = json.loads(folder.joinpath("vendored.json").read_text())
    assert noted
    for name, note in noted.items():
        assert sha256(folder.joinpath(name).read_bytes()).hexdigest() == note["sha256"]
        assert note["version"] in note["package"]
        assert folder.joinpath(note["licence"]).read_text().strip()
    assert len(assets()["loom.css"].content) <= 15 * 1024
