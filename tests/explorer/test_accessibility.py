"""Every page can be read and used by everyone: names, landmarks, contrast, sizes, and by keyboard alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.explorer.conftest import Tab
from tests.explorer.support import asked, house
from tests.explorer.test_inbox import decided
from tests.explorer.tour import addresses

SCRIPT = (Path(__file__).parent / "accessibility.js").read_text()

FOCUSED = """
() => {
  const each = document.activeElement, style = getComputedStyle(each);
  if (each === document.body) return null;
  const box = each.getBoundingClientRect();
  return {
    at: [...document.querySelectorAll("*")].indexOf(each),
    seen: box.width > 0 && box.height > 0 && box.left >= 0,
    marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    what: each.outerHTML.slice(0, 80),
  };
}
"""
"""What has the focus, where it is in the page, and whether one sees it."""


async def by_keyboard(page: Any) -> list[str]:
    """Go through a page with the Tab key; return what is wrong with the way."""
    found, last, first = [], -1, ""
    for number in range(400):
        await page.keyboard.press("Tab")
        at = await page.evaluate(FOCUSED)
        if at is None:
            break
        if number == 0:
            first = at["what"]
        if at["at"] <= last:
            break
        last = at["at"]
        if not at["seen"]:
            found.append(f"focus on what is not seen: {at['what']}")
        if not at["marked"]:
            found.append(f"focus is not marked: {at['what']}")
    if 'class="skip"' not in first:
        found.append(f"the first way is not the one to the content: {first}")
    return found


PRINTED = """
() => {
  const found = [...document.querySelectorAll(".menu, .me, .skip, .actions, form:not(#edit)")]
    .filter((each) => each.getClientRects().length).map((each) => "on paper: " + each.tagName + "." + each.className);
  const body = getComputedStyle(document.body);
  if (body.color !== "rgb(0, 0, 0)") found.push("on paper the text is " + body.color);
  if (!document.querySelector("main").innerText.trim()) found.push("nothing is on paper");
  return found;
}
"""


async def on_paper(page: Any) -> list[str]:
    """Return what is wrong with a page when it is printed."""
    await page.emulate_media(media="print")
    found: list[str] = await page.evaluate(PRINTED)
    await page.emulate_media(media="screen")
    return found


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "light"),
        (390, "dark"),
        *(pytest.param(w, s, marks=pytest.mark.reliability) for w in (820, 1280, 1600) for s in ("light", "dark")),
    ],
)
async def test_every_page_can_be_used_by_everyone(
    tmp_path: Path, chromium: Any, shots: Path, width: int, scheme: str
) -> None:
    async with house(tmp_path) as place:
        await decided(place, 3)
        turn = await asked(place.loom())
        tab = await Tab.made(chromium, shots, width=width, scheme=scheme)
        page = await tab.open(f"{place.url}/sign-in")
        found = {"/sign-in": await page.evaluate(SCRIPT)}
        await tab.sign_in(place.url, place.keys["one", "admin"])
        for where in [*(await addresses(place, decisions=1)), "/nothing"]:
            await tab.open(place.url + where)
            found[where] = [*await page.evaluate(SCRIPT), *await by_keyboard(page), *await on_paper(page)]
            await tab.shot("page" + where.replace("/", "-")[:24])
        assert not {where: said for where, said in found.items() if said}
        assert len(found) > 4
        [waiting] = await place.loom().approvals.pending()
        await place.loom().approvals.deny(waiting.approval_id, by="vera", comment="no", distinguished="a test")
        await turn


PLANTED = """
<!doctype html><html><head><meta name="viewport" content="width=device-width, maximum-scale=1"></head><body>
<p>outside</p><nav><a href="/">x</a></nav>
<main><h3>deep</h3><h1>two</h1><h1>of them</h1><input><button></button><img src="data:,">
<div id="a"></div><div id="a"></div>
<p style="color:#999;background:#fff">grey</p><table><tr><td>1</td></tr></table><ul><p>no item</p></ul>
<a href="/" tabindex="3">first</a><input aria-label="small" style="font-size:12px"><svg width="30" height="30"></svg>
<label for="nowhere">x</label><div style="width:3000px">wide</div></main></body></html>
"""
KINDS = (
    "no language",
    "no title",
    "no zoom",
    "2 of h1",
    "a navigation without a name",
    "outside of all landmarks",
    "a heading skips a level",
    "an id 2 times",
    "refers to nothing",
    "no name",
    "an order of its own",
    "smaller than 24 px",
    "a phone would zoom in",
    "an image without words",
    "a drawing without words",
    "a table without headings",
    "in a list, and no item",
    "a handler or a style",
    "contrast 2.8",
    "the page scrolls sideways",
)


async def test_what_is_wrong_with_a_page_is_found(tab: Tab) -> None:
    await tab.page.set_content(PLANTED)
    said = await tab.page.evaluate(SCRIPT)
    assert [kind for kind in KINDS if not any(each.startswith(kind) for each in said)] == []
    assert await by_keyboard(tab.page)
    await tab.page.set_content('<nav class="menu">x</nav><main></main><form>y</form>')
    assert len(await on_paper(tab.page)) == 3
