"""Every page of the explorer has what it is shown with."""

from __future__ import annotations

import pytest

from loom.explorer.page import Page, all_pages
from loom.explorer.rendering import templates


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_a_page_has_a_template_and_a_view_model(page: Page) -> None:
    assert page.template in templates().list_templates(), "write it into loom/explorer/templates"
    assert page._view is not None, "name a function with @page.shows"
