"""Policies that together use all that the language of rules has: golden/versions.json holds their documents.

A policy here is never changed, as its version is final; add another one and run `python -m tests.policies.golden.add`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import Enum
from math import floor
from typing import Annotated, Any, Literal

from pydantic import Field

from loom.policies import (
    Evaluation,
    Facts,
    Params,
    Policy,
    RuleMiss,
    allow,
    case,
    deny,
    first_match,
    indeterminate,
    otherwise,
    policy,
    require_approval,
)

REGULATED = frozenset({"healthcare", "finance", "public", "energy"})
WEIGHTS = (0.5, 0.25, 0.125)
CENT = Decimal("0.01")
OPENED = date(2020, 1, 1)
HUGE = 2**70


class Level(Enum):
    LOW = "low"
    HIGH = "high"


class DiscountParams(Params):
    limit_percent: int = Field(10, ge=0, le=100)


class DiscountFacts(Facts):
    industry: str
    arr_usd: int
    percent: int


@policy(
    "discount",
    DiscountParams(),
    examples=[
        DiscountFacts(industry="healthcare", arr_usd=500_000, percent=10),
        DiscountFacts(industry="healthcare", arr_usd=500_000, percent=15),
    ],
    description="who may have how much off",
)
def discount(params: DiscountParams, facts: DiscountFacts) -> Evaluation:
    """Allow what is within the limit; everything else needs consent."""
    return first_match(
        case(
            "within-limit",
            facts.percent <= params.limit_percent,
            allow(),
            why=f"{facts.percent} % is within {params.limit_percent} %",
            why_not=f"{facts.percent} % is over {params.limit_percent} %",
        ),
        otherwise(
            "over-limit",
            require_approval("vp_sales", exception=f"{facts.percent} % asked, {params.limit_percent} % allowed"),
            why="more than the limit was asked for",
        ),
    )


class Item(Facts):
    price: Decimal = Field(ge=0, decimal_places=2, max_digits=12)
    count: int = Field(1, gt=0, lt=1_000)
    tags: tuple[Annotated[str, Field(min_length=1, pattern="^[a-z]+$")], ...] = ()


class OrderFacts(Facts):
    items: tuple[Item, ...]
    level: Level
    region: Literal["eu", "us"] = "eu"
    day: date
    score: float | None = None
    coupon: str | None = Field(None, max_length=20)


class OrderParams(Params):
    cap: Decimal = Decimal("1000.00")
    ratio: float = Field(0.1, gt=0.0, le=1.0)
    blocked: tuple[str, ...] = ("weapons",)


def line_total(item: Item, *, places: Decimal | None = None) -> Decimal:
    amount = item.price * item.count
    return amount.quantize(places) if places is not None else amount


def total_of(items: tuple[Item, ...]) -> Decimal:
    total = Decimal("0")
    for item in items:
        if item.count == 0:
            continue
        total += line_total(item, places=CENT)
    return total


PENS = Item(price=Decimal("2.50"), count=3, tags=("office",))
KNIFE = Item(price=Decimal("900.10"), count=2, tags=("weapons", "steel"))


@policy(
    "order",
    OrderParams(),
    uses=[line_total, total_of],
    examples=[
        OrderFacts(items=(PENS,), level=Level.LOW, day=date(2026, 1, 5)),
        OrderFacts(items=(PENS, KNIFE), level=Level.HIGH, day=date(2026, 1, 4), score=0.3),
        OrderFacts(items=(), level=Level.HIGH, day=date(2019, 1, 4), score=1e300, coupon="  spring "),
    ],
)
def order(params: OrderParams, facts: OrderFacts) -> Evaluation:
    total = total_of(facts.items)
    tags = sorted({"none"}) + [tag for item in facts.items for tag in item.tags if tag not in ("steel",)]
    worst = (facts.score or 0.0) * sum(WEIGHTS[:2], 0.0) ** 2 - WEIGHTS[-1] / 3
    return first_match(
        case(
            "too-early",
            facts.day < OPENED or not facts.items,
            deny(),
            why=f"{facts.day.isoformat()} is before {OPENED.isoformat()}, or there is nothing to buy",
            why_not="there is something to buy",
            details={"worst": worst, "items": len(facts.items)},
        ),
        case(
            "blocked",
            any(tag in params.blocked for tag in tags),
            require_approval(tier="security" if facts.level == Level.HIGH else "desk"),
            why=f"one of {', '.join(tags)!r:>30} is blocked, {total:.1f}",
            why_not="nothing is blocked",
        ),
        otherwise(
            "fine", allow(), why=f"{total} of {params.cap}{'' if facts.coupon is None else facts.coupon.strip()}"
        ),
    )


class ScoreFacts(Facts):
    values: list[float]
    sector: str
    weights: tuple[int, bool]
    flags: Annotated[int, Field(ge=-5, multiple_of=1)] | None = None


class NoParams(Params):
    pass


@policy(
    "score",
    NoParams(),
    examples=[
        ScoreFacts(values=[0.1] * 10, sector="energy", weights=(1, True), flags=3),
        ScoreFacts(values=[], sector="toys", weights=(-7, False)),
    ],
)
def score(params: NoParams, facts: ScoreFacts) -> Evaluation:
    misses: Any = ()
    table = {"energy": 1.5, "toys": -0.25}
    mean = 0.0
    if facts.values and (count := len(facts.values)) >= 1:
        mean = sum(facts.values) / count
    elif facts.sector in REGULATED and facts.sector not in {"public", "other"}:
        misses += (RuleMiss(rule="mean", why="nothing to average"),)
    else:
        pass
    for index, (low, high) in enumerate(zip((0, 1), (1, 2), strict=True)):
        if low <= mean < high != 5:
            place = index
            break
    else:
        place = -1
    first, _ = [*facts.values, mean][:1], 0
    bits = facts.weights[0] % 7 | 1 << 2 & ~1 ^ 3 >> 1
    if bits > HUGE // 2 or (facts.flags is not None and +facts.flags < -4):
        return first_match()
    by_name = {name: value for name, value in table.items() if not (name == "x" or value > 9)}
    return Evaluation(
        effect="allow" if facts.weights[1] else "deny",
        rule="mean",
        why=f"mean {mean:.{place + 3}f} \\ '{floor(mean)}' {{}}"
        f" in {by_name.get(facts.sector, 0.0)!s} {bits}{first[0]!r}",
        why_not=misses,
    )


@policy("silent", DiscountParams(limit_percent=3))
def silent(params: DiscountParams, facts: DiscountFacts) -> Evaluation:
    return first_match(case("never", False, indeterminate(), why="-", why_not="never"))  # noqa: FBT003, RUF100


CATALOGUE: dict[str, Policy[Any, Any]] = {each.name: each for each in (discount, order, score, silent)}
