"""The page for SQL: statements of admins that read, in an address that can be sent to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.explorer.support import house
from tests.explorer.test_decisions import decided


async def test_an_admin_asks_by_an_example_changes_it_and_takes_the_rows_along(
    tmp_path: Path, chromium: Any, shots: Path
) -> None:
    async with house(tmp_path) as place:
        await decided(place.loom())
        await place.loom().reached()
        for width, scheme in ((1280, "light"), (390, "dark")):
            context = await chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
            page = await context.new_page()
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            await page.goto(f"{place.url}/sql")
            await page.get_by_label("Your key").fill(place.keys["one", "admin"])
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("link", name="How many decisions of each kind").click()
            await page.get_by_role("cell", name="granted").wait_for()
            await page.screenshot(path=shots / f"sql-{width}-{scheme}.png", full_page=True)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await page.get_by_label("Statement").fill("DELETE FROM trace_decisions")
            await page.get_by_role("button", name="Run").click()
            await page.get_by_text("This did not run").wait_for()
            assert not said
            await context.close()


async def test_rows_are_json_and_a_file_for_admins_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await decided(place.loom())
        await place.loom().reached()
        asked = quote(
            "SELECT by AS who, count(*) AS n, '=1' AS formula, 2 AS n FROM trace_decisions GROUP BY 1 ORDER BY 2"
        )
        admin = await place.signed_in("admin")
        found = json.loads((await admin.open(f"/sql.json?q={asked}")).text)
        assert found["columns"] == ["who", "n", "formula", "n"]
        assert [row[:2] for row in found["rows"]] == [["sam", 3], ["robin", 8]]
        text = (await admin.open(f"/sql.csv?q={asked}")).text
        assert text.splitlines()[:2] == ["who,n,formula,n (3)", "sam,3,'=1,2"]
        assert (await admin.open("/sql.csv?q=DROP")).status == 422
        assert (await admin.open(f"/sql?q={'x' * 10_001}")).status == 422
        auditor = await place.signed_in("auditor")
        assert json.loads((await auditor.open(f"/sql.json?q={asked}")).text)["rows"] == found["rows"]
        assert 'href="/sql"' in (await auditor.open("/decisions")).text
        for role in ("reader", "operator", "approver"):
            other = await place.signed_in(role)
            assert (await other.open(f"/sql.json?q={asked}")).status == 403
            assert 'href="/sql"' not in (await other.open("/decisions")).text
