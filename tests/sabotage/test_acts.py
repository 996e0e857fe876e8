"""Every act of sabotage applies to the code as it is, and what is left of the module is Python."""

from __future__ import annotations

import ast

import pytest

from tests.sabotage.__main__ import ROOT, sabotaged
from tests.sabotage.acts import ACTS, Act


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_an_act_applies_and_leaves_a_module_that_can_be_read(act: Act) -> None:
    source = (ROOT / act.file).read_text(encoding="utf-8")

    changed = sabotaged(source, act)

    assert changed != source
    ast.parse(changed)
    assert all((ROOT / tests.partition("::")[0]).exists() for tests in act.tests)


def test_a_guard_that_is_gone_is_named() -> None:
    act = Act("gone", "loom/identity.py", "check_limit", "if limit < 2:", "", ())

    with pytest.raises(LookupError, match="expected once"):
        sabotaged((ROOT / act.file).read_text(encoding="utf-8"), act)
