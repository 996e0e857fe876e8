"""What all tests of the explorer share: a real Chromium, at three widths, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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
    import os

    chosen = Path(os.environ.get("LOOM_SHOTS", tmp_path / "shots"))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
