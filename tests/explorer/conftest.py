"""What all tests of the explorer share: a real Chromium, at three widths, light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Tab:
    """A page of a browser of its own, and all that it said in its console, asked of other sites, or failed at."""

    page: Any
    shots: Path
    name: str
    said: list[str] = field(default_factory=list)

    @classmethod
    async def made(
        cls, chromium: Any, shots: Path, *, width: int = 390, scheme: str = "light", javascript: bool = True
    ) -> Tab:
        context = await chromium.new_context(
            viewport={"width": width, "height": 844},
            color_scheme=scheme,
            java_script_enabled=javascript,
            reduced_motion="reduce",
        )
        tab = cls(await context.new_page(), shots, f"{width}-{scheme}")
        context.on("console", lambda message: tab.said.append(message.text))
        context.on("dialog", lambda dialog: tab.said.append(dialog.message))
        context.on("weberror", lambda error: tab.said.append(str(error.error)))
        context.on("request", lambda request: tab._ask(request.url))
        return tab

    def _ask(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:")):
            self.said.append(url)

    async def open(self, url: str) -> Any:
        await self.page.goto(url)
        return self.page

    async def sign_in(self, url: str, key: str) -> None:
        await self.open(f"{url}/sign-in")
        await self.page.get_by_label("Your key").fill(key)
        await self.page.get_by_role("button", name="Sign in").click()

    async def shot(self, name: str) -> None:
        await self.page.screenshot(path=self.shots / f"{name}-{self.name}.png", full_page=True)


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    """A browser; a test opens contexts of its own in it, and is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: to LOOM_SHOTS if that is set, so that a person can look at them."""
    chosen = Path(os.environ.get("LOOM_SHOTS", tmp_path / "shots"))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


@pytest.fixture
async def tab(chromium: Any, shots: Path) -> Tab:
    """A tab on a phone."""
    return await Tab.made(chromium, shots)
