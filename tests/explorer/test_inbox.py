"""The inbox, as people who use it: they sign in, read what is asked, and answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.explorer.support import asked, house


async def test_a_person_signs_in_and_grants_by_clicks(tmp_path: Path, chromium: Any, shots: Path) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        context = await chromium.new_context(viewport={"width": 390, "height": 844})
        page = await context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(f"{place.url}/inbox")
        assert page.url.endswith("/sign-in?next=%2Finbox"), "a link opens the page, once one is signed in"
        await page.get_by_label("Your key").fill(place.keys["one", "approver"])
        await page.get_by_role("button", name="Sign in").click()
        assert page.url == f"{place.url}/inbox"
        await page.screenshot(path=shots / "inbox-390.png", full_page=True)
        await page.get_by_role("button", name="Grant").click()
        await page.get_by_text("Granted: 15 % discount").wait_for()
        assert await page.get_by_text("Nothing waits for an answer").is_visible()
        assert await turn
        [answered] = await place.loom().approvals.list()
        assert (answered.answered_by, (answered.answered_identity_source or "").partition(":")[0]) == (
            "approver",
            "api_key",
        )
        assert (answered.answered_via or "").startswith("session:")
        assert not said
        await context.close()


async def test_a_denial_needs_words_and_what_was_typed_stays(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        turn = await asked(place.loom())
        browser = await place.signed_in()
        [waiting] = await place.loom().approvals.pending()
        answer = await browser.send(f"/inbox/{waiting.approval_id}/deny", comment="  ")
        assert (answer.status, answer.header("location")) == (303, "/inbox")
        assert "comment is empty" in (await browser.open("/inbox")).text
        await browser.send(f"/inbox/{waiting.approval_id}/deny", comment="too much")
        assert not await turn
        assert "Denied: 15 % discount" in (await browser.open("/inbox")).text
        page = (await browser.open("/inbox.json")).text
        assert '"requests":[]' in page
