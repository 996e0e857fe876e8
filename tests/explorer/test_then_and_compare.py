"""Then and now, and Compare, as people use them: with links and fields, in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.explorer.support import house
from tests.explorer.test_what_if import REFUNDS, Refund, RefundAgent, decide, signed_in


async def test_two_decisions_two_versions_and_an_earlier_time_are_looked_at(
    tmp_path: Path, chromium: Any, shots: Path
) -> None:
    async with house(tmp_path, actors=[RefundAgent]) as place:
        loom = place.loom()
        one, other = await decide(loom, Refund(amount_usd=50), Refund(amount_usd=400, years=4))
        position = loom.store.acknowledged
        version = await loom.policies.register(REFUNDS.with_params(limit_usd=200), by="olga", reason="too many asked")
        await loom.policies.adopt(version.hash, by="vera")
        used = loom.policies.versions("refunds")[0].version

        context = await chromium.new_context(viewport={"width": 390, "height": 844})
        problems: list[str] = []
        page = await signed_in(context, place, "reader", f"/compare?one={one}&other={other[:12]}")
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.get_by_role("heading", name="The facts").wait_for()
        facts = page.locator("section", has=page.get_by_role("heading", name="The facts"))
        assert await facts.locator("tbody tr").all_inner_texts() == ["amount usd\t50\t400", "years\t1\t4"]
        assert not await facts.get_by_text("DE").is_visible(), "what is the same is folded away"
        await page.screenshot(path=shots / "compare-390.png", full_page=True)

        await page.get_by_role("link", name="Rules", exact=True).click()
        await page.get_by_label("One", exact=True).fill(used)
        await page.get_by_label("The other").fill(version.version)
        await page.get_by_role("button", name="Compare").click()
        await page.get_by_role("heading", name="Parameters").wait_for()
        assert await page.locator("td.differs").all_inner_texts() == [
            "100",
            "200",
            "mira (name not checked)",
            "olga (name not checked)",
            "registered from code",
            "too many asked",
        ]
        await page.set_viewport_size({"width": 1280, "height": 900})
        await page.screenshot(path=shots / "compare-rules-1280.png", full_page=True)

        await page.goto(f"{place.url}/then-and-now?decision={other}&actor=refund-agent/customer-1")
        await page.get_by_text("the last entry until now").wait_for()
        await page.screenshot(path=shots / "then-1280.png", full_page=True)
        await page.get_by_label("Up to which entry", exact=False).fill(str(position))
        await page.get_by_text(f"now {version.version}").wait_for()
        await page.get_by_label("Up to entry", exact=True).fill("1")
        await page.get_by_text("It had not been made yet.").wait_for()
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.screenshot(path=shots / "then-390.png", full_page=True)
        await context.close()
        assert not problems

        browser = await place.signed_in("reader")
        found = json.loads((await browser.open(f"/then-and-now.json?position={position}&decision={other}")).text)
        assert (found["position"], found["decision"]["made"], found["adopted"][0]["now"]) == (
            position,
            True,
            version.version,
        )
        assert (await browser.open("/then-and-now?position=0")).status == 422
