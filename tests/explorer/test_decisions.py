"""The list of decisions: an auditor finds who granted what to whom under which rule, and takes it along as a file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from tests.explorer.conftest import Tab
from tests.explorer.support import DiscountAgent, RequestDiscount, asked, house


async def decided(loom: Loom) -> None:
    """Let some discounts be granted by the rule and by people, and some be denied."""
    for number, percent in enumerate((5, 8, 60, 3, 9, 45, 7)):
        command = RequestDiscount(percent=percent, why=f"case {number} of a customer")
        await loom.actor(DiscountAgent, f"customer-{number % 3}").ask(command, by=("robin", "sam")[number % 2])
    for number, (percent, person, granted) in enumerate(
        [(15, "dana", True), (20, "dana", True), (25, "dana", False), (30, "lee", True)]
    ):
        turn = await asked(loom, f"asking-{number}", percent=percent, by="robin", industry=f"industry {number}")
        [waiting] = await loom.approvals.pending()
        if granted:
            await loom.approvals.grant(waiting.approval_id, by=person, comment="they had an outage")
        else:
            await loom.approvals.deny(waiting.approval_id, by=person, comment="too much")
        await turn


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        *(pytest.param(w, s, marks=pytest.mark.reliability) for w in (390, 820, 1280) for s in ("light", "dark")),
    ],
)
async def test_an_auditor_finds_who_granted_what_under_which_rule_in_five_clicks(
    tmp_path: Path, chromium: Any, shots: Path, width: int, scheme: str
) -> None:
    async with house(tmp_path) as place:
        await decided(place.loom())
        tab = await Tab.made(chromium, shots, width=width, scheme=scheme)
        await tab.sign_in(place.url, place.keys["one", "reader"])
        page = tab.page
        await page.get_by_role("link", name="Decisions").click()  # 1
        await tab.shot("decisions")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        narrow = page.get_by_role("complementary", name="Narrow them down")
        await narrow.get_by_role("link", name="dana 3").click()  # 2: who
        await narrow.get_by_role("link", name="over the limit 3").click()  # 3: under which rule
        await tab.shot("decisions-narrow")
        assert await page.get_by_text("3 decisions").is_visible()
        assert await page.get_by_text("decided by dana").count() == 3
        async with page.expect_download() as taken:
            await page.get_by_role("link", name="Download as a table (CSV)").click()  # 4: as a file
        path = await (await taken.value).path()
        rows = list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8"))))
        assert [(each["result"], each["decided_by"], each["rule"]) for each in rows] == [
            ("denied", "dana", "over-the-limit"),
            ("granted", "dana", "over-the-limit"),
            ("granted", "dana", "over-the-limit"),
        ]
        assert all("vp_sales asked: " in each["answers"] and each["asked_by"] == "robin" for each in rows)
        assert {each["about"] for each in rows} == {f"discount-agent/asking-{number}" for number in range(3)}
        await page.get_by_role("listitem").filter(has_text="granted").get_by_role("link").first.click()  # 5: in full
        assert "/decisions/" in page.url
        assert await page.get_by_text("they had an outage").first.is_visible()
        assert await page.get_by_text("over-the-limit").first.is_visible()
        assert not tab.said


async def test_filters_are_an_address_with_a_json_twin_and_words_and_days(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await decided(place.loom())
        browser = await place.signed_in("reader")
        found = json.loads((await browser.open("/decisions.json?effect=allow&asked_by=robin")).text)
        assert (found["total"], found["more"], found["further"]) == (3, False, None)
        assert {each["asked_by"] for each in found["rows"]} == {"robin"}
        today = found["rows"][0]["at"][:10]
        same = json.loads((await browser.open(f"/decisions.json?words=customer&since={today}&until={today}")).text)
        assert same["total"] == 7
        assert json.loads((await browser.open("/decisions.json?until=2001-01-01&words=")).text)["total"] == 0
        assert (await browser.open("/decisions?type=")).status == 200, "an empty field of the form is no filter"
        for wrong in ("nothing=1", "since=yesterday", "exception=2", "after=0", f"words={'x' * 301}"):
            assert (await browser.open(f"/decisions.json?{wrong}")).status == 422, wrong


async def test_a_cell_of_the_file_is_no_formula(tmp_path: Path) -> None:
    async with house(tmp_path) as place:
        await place.loom().actor(DiscountAgent, "c").ask(RequestDiscount(percent=5, why="=1+1"), by="@robin")
        text = (await (await place.signed_in("reader")).open("/decisions.csv")).text
        assert "'=1+1; 0 earlier cases" in text
        assert ",'@robin," in text
