"""What if, as a policy owner: finds the limit that spares most, sees which refusals would be grants, proposes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from loom import Actor, Command, Loom
from loom.policies import Table
from tests.explorer.support import house

REFUNDS = Table.of(
    {
        "format": "loom.table/1",
        "name": "refunds",
        "facts": {
            "amount_usd": {"type": "integer", "min": 0},
            "years": {"type": "integer", "min": 0},
            "country": {"type": "string"},
        },
        "parameters": {"limit_usd": {"type": "integer", "value": 100, "min": 0, "max": 1000}},
        "limits": [
            {
                "name": "sanctions",
                "when": [["country", "in", ["XX", "YY"]]],
                "effect": "deny",
                "why": "no payments there",
            }
        ],
        "rules": [
            {
                "name": "small",
                "when": [["amount_usd", "<=", {"param": "limit_usd"}]],
                "effect": "allow",
                "why": "small enough to just pay",
            },
            {
                "name": "loyal",
                "when": [["years", ">=", 3], ["amount_usd", "<=", 500]],
                "effect": "require_approval",
                "tier": "support_lead",
                "why": "a loyal customer, so a person decides",
            },
        ],
        "otherwise": {"name": "else", "effect": "deny", "why": "too much for a new customer"},
    }
)


class Refund(Command[str]):
    amount_usd: int
    years: int = 1
    country: str = "DE"


class RefundAgent(Actor[None]):
    actor_type = "refund-agent"
    policy = REFUNDS

    async def execute(self, command: Refund) -> str:
        said = self.evaluate(command.model_dump())
        return await self.record_decision(rationale=said.why, outcome={"paid": said.allowed})


async def decide(loom: Loom, *cases: Refund) -> list[str]:
    return [await loom.actor(RefundAgent, f"customer-{n}").ask(each) for n, each in enumerate(cases)]


CASES = [Refund(amount_usd=20 * n, years=n % 5, country="XX" if n == 7 else "DE") for n in range(1, 31)]


async def signed_in(context: Any, place: Any, role: str, wanted: str) -> Any:
    page = await context.new_page()
    await page.goto(f"{place.url}{wanted}")
    await page.get_by_label("Your key").fill(place.keys["one", role])
    await page.get_by_role("button", name="Sign in").click()
    return page


WIDTHS = [390, pytest.param(820, marks=pytest.mark.reliability), pytest.param(1280, marks=pytest.mark.reliability)]


@pytest.mark.parametrize("width", WIDTHS)
async def test_a_policy_owner_finds_the_limit_and_another_person_adopts_it(
    tmp_path: Path, chromium: Any, shots: Path, width: int
) -> None:
    async with house(tmp_path, actors=[RefundAgent]) as place:
        await decide(place.loom(), *CASES)
        context = await chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if width == 820 else "light"
        )
        problems: list[str] = []
        page = await signed_in(context, place, "operator", "/what-if")
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.get_by_text("All 30 cases that can be judged stay").wait_for()
        await page.screenshot(path=shots / f"what-if-{width}.png", full_page=True)

        # which limit spares most?
        await page.get_by_role("link", name="Compare all values").click()
        await page.get_by_text("a person would have been asked").wait_for()
        await page.screenshot(path=shots / f"what-if-limits-{width}.png", full_page=True)
        await page.get_by_role("link", name="← The rules of refunds").click()

        # the limit is typed, and history flips while one types
        await page.get_by_label("limit_usd", exact=True).fill("220")
        await page.locator("#result").get_by_text("5 of 30 cases", exact=True).wait_for()
        result = page.locator("#result")
        said = await result.inner_text()
        assert "because of limit_usd: 100 → 220" in said
        assert "3\u00a0refused" in said or "3 refused" in said
        denials = page.locator("#result .flips > li", has_text="refused →")
        assert [
            ("amount_usd " + str(n)) in await denials.nth(k).inner_text() for k, n in enumerate((220, 200, 120))
        ] == [True] * 3
        assert await page.locator("#glance").text_content() == "5 of 30 cases would have gone another way"
        await page.screenshot(path=shots / f"what-if-edited-{width}.png", full_page=True)
        assert "v=220" in page.url, "the address has the edit, and can be sent to others"

        # a slider does the same
        slider = page.get_by_label("limit_usd, as a slider", exact=False)
        await slider.fill("120")
        await page.locator("#result").get_by_text("1 of 30 cases", exact=True).wait_for()
        assert await page.get_by_label("limit_usd", exact=True).input_value() == "120"
        await page.get_by_label("limit_usd", exact=True).fill("many")
        await page.locator("#result").get_by_text("Correct the marked cells first.").wait_for()
        await page.get_by_label("limit_usd", exact=True).fill("220")
        await page.locator("#result").get_by_text("5 of 30 cases", exact=True).wait_for()

        await page.get_by_role("link", name="Propose these rules").click()
        await page.screenshot(path=shots / f"what-if-propose-{width}.png", full_page=True)
        await page.get_by_label("Why").fill("three people waited for nothing")
        await page.get_by_role("button", name="Propose").click()
        await page.get_by_text("You proposed this. Another person has to adopt it").wait_for()
        assert not await page.get_by_role("button", name="Adopt").count()
        address = page.url
        await context.close()
        assert not problems

        other = await chromium.new_context(viewport={"width": width, "height": 900})
        page = await signed_in(other, place, "approver", address.removeprefix(place.url))
        await page.screenshot(path=shots / f"proposal-{width}.png", full_page=True)
        await page.get_by_label("Why you adopt it").fill("agreed")
        await page.get_by_role("button", name="Adopt").click()
        await page.get_by_text("decides from now on").wait_for()
        await other.close()

        adopted = place.loom().policies.adoption("refunds")
        assert adopted is not None
        assert adopted.identity.name == "approver"
        assert place.loom().policies.runnable(adopted.version).parameters == {"limit_usd": 220}
        assert [each.name for each in place.loom().policies.proposers(adopted.version.hash)] == ["operator"]


async def test_who_proposes_cannot_adopt_and_who_reads_can_do_neither(tmp_path: Path) -> None:
    async with house(tmp_path, actors=[RefundAgent]) as place:
        ids = await decide(place.loom(), *CASES[:12])
        owner = await place.signed_in("admin")
        view = json.loads((await owner.open("/what-if.json")).text)
        query = view["query"].replace("v=100", "v=220", 1)
        asked = await owner.open(f"/what-if/propose?{query}")
        texts = json.dumps([each for name, each in parse_qsl(query, keep_blank_values=True) if name == "v"])
        fields = {"policy": "refunds", "base": view["base"], "texts": texts, "reason": "they wait for nothing"}
        reader = await place.signed_in("reader")
        refused = await reader.send("/what-if/propose", token=(await reader.open("/what-if")).token, **fields)
        assert refused.status in (303, 403)
        assert len(place.loom().policies.versions("refunds")) == 1, "a reader proposes nothing"

        sent = await owner.send("/what-if/propose", token=asked.token, on=f"/what-if/propose?{query}", **fields)
        address = sent.header("location")
        assert "You proposed this. Another person" in (await owner.open(address)).text
        assert "they wait for nothing" in (await reader.open("/proposals")).text
        mine = await owner.send(f"{address}/adopt", token=asked.token, on=address, reason="I like it")
        assert mine.status == 303
        assert "expected another person to adopt it" in (await owner.open(address)).text
        used = place.loom().policies.adopted("refunds")
        assert used is not None
        assert used.number == 1, "who proposes adopts nothing"

        near = json.loads((await reader.open(f"/what-if/nearest.json?decision={ids[11]}")).text)
        assert (near["state"], near["changes"]) == ("found", [{"fact": "amount_usd", "old": 240, "new": "100"}])
        assert "instead of 240" in (await reader.open(f"/what-if/nearest?decision={ids[11]}")).text
        key = f"Bearer {place.keys['one', 'reader']}"
        script = await place.browser().open(f"/what-if.json?{query}", Authorization=key)
        seen = await reader.open(f"/what-if.json?{query}")
        assert [json.loads(each.text)["result"]["flipped"] for each in (script, seen)] == [5, 5]
        for wrong in ("?policy=nope", "?policy=refunds&base=policy_v9_00000000", "?policy=refunds&v=1&v=2", "?nope=1"):
            answer = await reader.open(f"/what-if{wrong}")
            assert answer.status in (200, 404, 422), wrong
            assert answer.status != 200 or "open the page again" in answer.text


async def test_what_a_page_exchanges_listens_before_anything_can_be_typed_into_it(
    tmp_path: Path, chromium: Any
) -> None:
    async with house(tmp_path, actors=[RefundAgent]) as place:
        await decide(place.loom(), *CASES)
        context = await chromium.new_context(viewport={"width": 390, "height": 900})
        page = await signed_in(context, place, "operator", "/what-if")
        await page.locator("#result").get_by_text("All 30 cases that can be judged stay").wait_for()
        await page.evaluate(
            """() => {
                window.order = [];
                document.body.addEventListener("htmx:afterSwap", () => {
                    order.push("exchanged");
                    setTimeout(() => order.push("next task"), 0);
                });
                document.body.addEventListener("htmx:afterSettle", () => order.push("listens"));
            }"""
        )
        await page.get_by_role("button", name="loyal: copy, as a new rule").click()
        await page.get_by_label("Name of the new rule").wait_for()
        await page.wait_for_function("order.includes('next task') && order.includes('listens')")
        order = await page.evaluate("order")
        assert order.index("listens") < order.index("next task")


@pytest.mark.parametrize("width", WIDTHS)
async def test_a_rule_is_copied_narrowed_and_moved_on_the_page_and_proposed(
    tmp_path: Path, chromium: Any, shots: Path, width: int
) -> None:
    async with house(tmp_path, actors=[RefundAgent]) as place:
        await decide(place.loom(), *CASES)
        context = await chromium.new_context(viewport={"width": width, "height": 900})
        problems: list[str] = []
        page = await signed_in(context, place, "operator", "/what-if")
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        result = page.locator("#result")
        await result.get_by_text("All 30 cases that can be judged stay").wait_for()
        await page.get_by_label("loyal: what years is compared with", exact=True).fill("4")
        await result.get_by_text("4 of 30 cases", exact=True).wait_for()

        await page.get_by_role("button", name="loyal: copy, as a new rule").click()
        name = page.get_by_label("Name of the new rule")
        await name.wait_for()
        assert await name.input_value() == "loyal (2)"
        assert await page.get_by_label("loyal: what years is compared with", exact=True).input_value() == "4"
        await name.fill("loyal and small")
        await page.get_by_label("Why it is so").fill("too small to ask anyone about")
        await name.press("Enter")
        await page.get_by_label("loyal (2): what years is compared with").fill("3")
        await page.get_by_label("loyal (2): what amount_usd is compared with", exact=True).fill("400")
        await page.get_by_label("loyal (2): what then happens").select_option("allow")
        await page.wait_for_url("**v=400**")
        await page.screenshot(path=shots / f"what-if-rows-{width}.png", full_page=True)
        await page.get_by_role("button", name="loyal (2): move up").click()
        await page.wait_for_url("**shape=0%2C1%2B%2C1**")
        await page.locator("#result .flips").get_by_text("now by loyal and small").first.wait_for()
        assert await page.get_by_role("button", name="sanctions: remove").count() == 0, "hard limits stay"
        narrowed = page.locator("fieldset", has_text="Name of the new rule")
        await narrowed.get_by_text("Add or remove a condition").click()
        await page.get_by_role("button", name="loyal and small: add a condition on country").click()
        await page.get_by_label("loyal and small: what country is compared with").fill("DE")
        await page.wait_for_url("**v=DE**")
        await page.locator("#result").get_by_text("now by loyal and small").first.wait_for()
        await narrowed.get_by_text("Add or remove a condition").click()
        await page.get_by_role("button", name="loyal and small: remove the condition on country").click()
        await page.wait_for_url("**shape=0%2C1%2B%2C1**")
        await page.screenshot(path=shots / f"what-if-moved-{width}.png", full_page=True)

        await page.get_by_role("link", name="Propose these rules").click()
        await page.get_by_text("rule loyal and small: added").wait_for()
        await page.get_by_label("Why").fill("nobody should wait for a small amount")
        await page.get_by_role("button", name="Propose").click()
        await page.get_by_text("You proposed this. Another person has to adopt it").wait_for()
        await context.close()
        assert not problems
        proposed = place.loom().policies.latest("refunds")
        table = place.loom().policies.runnable(proposed)
        assert isinstance(table, Table)
        assert [row.name for row in table.layout.rules] == ["small", "loyal and small", "loyal"]
        assert [str(each) for each in table.layout.rules[1].when] == ["years >= 3", "amount_usd <= 400"]
