"""Rules written as text, so that a test can change one thing in them and import them as files."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from loom.policies import Policy

_NUMBERS = itertools.count()

HEADER = """
from __future__ import annotations
import math, random, time
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pydantic import Field
from loom.policies import *

class P(Params):
    limit: int = Field(10, ge=0, le=100)
    rate: float = 0.5

class F(Facts):
    x: int
    name: str = "a"
    items: list[int] = []
    today: date | None = None
"""

PLAIN = '''
LIMIT = 5
def double(x: int) -> int:
    return x * 2
@policy("plain", P(), uses=[double], examples=[F(x=1), F(x=50)])
def plain(params: P, facts: F) -> Evaluation:
    """Say something."""
    # a remark
    y = double(facts.x) + LIMIT
    return first_match(
        case("small", y <= params.limit, allow(), why="small", why_not=f"{y} is large"),
        otherwise("large", deny(), why="large"),
    )
'''


def load(folder: Path, text: str, *, name: str | None = None) -> ModuleType:
    """Return the module that this text is the source of."""
    name = name or f"rules_{next(_NUMBERS)}"
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pydantic looks up the names of annotations
    spec.loader.exec_module(module)
    return module


def plain(folder: Path, text: str = PLAIN, *, header: str = HEADER) -> Policy[Any, Any]:
    """Return the policy that is called `plain` in this text."""
    found: Policy[Any, Any] = load(folder, header + text).plain
    return found


def rule(body: str, *, before: str = "", uses: str = "", examples: str = "") -> str:
    """Return the text of a policy called `plain` with this body."""
    lines = "\n".join("    " + line for line in body.splitlines())
    return (
        f'{before}\n@policy("plain", P(), uses=[{uses}], examples=[{examples}])\n'
        f"def plain(params: P, facts: F) -> Evaluation:\n{lines}\n"
    )
