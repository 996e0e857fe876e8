"""A table as a page shows it for editing: parameters, rules and conditions, with what was changed and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from pydantic import BaseModel, ConfigDict

from loom.explorer.editing import EFFECTS, operators_for
from loom.explorer.shaping import Sheet
from loom.policies.tables.layout import Row
from loom.replay.what_if.results import Span

__all__ = ["Cell", "Parameter", "Rule", "Slider", "TableForm"]

_SINGLE = ("=", "!=", "<", "<=", ">", ">=")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slider(_Model):
    """The bounds of a slider, and its step."""

    low: str
    high: str
    step: str


class Parameter(_Model):
    """A value that the rules share; `number` is the place of its text."""

    name: str
    number: int
    type: str
    text: str
    old: str
    slider: Slider | None
    problem: str | None


class Cell(_Model):
    """One condition: a fact, an operator (the text at `number`) and what it is compared with (the next text)."""

    number: int
    fact: str
    type: str
    operator: str
    operators: tuple[str, ...]
    text: str
    old: str
    added: bool
    slider: Slider | None
    problem: str | None

    @property
    def changed(self) -> bool:
        """Whether it differs from the table that the edits began with."""
        return self.added or self.old != f"{self.operator} {self.text}"


class Rule(_Model):
    """One row; `number` is the place of the text of its effect, after which comes who is asked.

    `place` is its number among the rules; None for hard limits and the row for everything else, which stay in their
    places. `head` is the place of the text of its name, after which comes its reason; only rules that were added have
    those as texts.
    """

    name: str
    place: int | None
    head: int | None
    why: str
    part: str
    cells: tuple[Cell, ...]
    number: int
    effect: str
    tier: str
    old_effect: str
    old_tier: str
    effects: tuple[str, ...]
    problem: str | None

    @property
    def changed(self) -> bool:
        """Whether any of it differs from the table that the edits began with."""
        edited = (self.effect, self.tier) != (self.old_effect, self.old_tier)
        return edited or self.head is not None or any(each.changed for each in self.cells)


class TableForm:
    """The form of a table with edited texts."""

    def __init__(
        self, sheet: Sheet, texts: Sequence[str], problems: Mapping[int | None, str], spans: Mapping[str, Span]
    ) -> None:
        """Take a table, its edited texts, what is wrong with some of them, and the spans of recorded numbers."""
        self._sheet = sheet
        self._layout = sheet.table.layout
        self._fields = sheet.fields
        self._texts = texts
        self._problems = problems
        self._spans = spans

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the parameters."""
        found = []
        for number, (name, given) in enumerate(self._layout.parameters.items()):
            field, text = self._fields[number], self._texts[number]
            bounds = self._compared_span(name)
            if given.min is not None and given.max is not None:
                bounds = str(given.min), str(given.max)
            found.append(
                Parameter(
                    name=name,
                    number=number,
                    type=field.type,
                    text=text,
                    old=field.text,
                    slider=_slider(field.type, bounds, text, field.text),
                    problem=self._problems.get(number),
                )
            )
        return tuple(found)

    def rules(self) -> tuple[Rule, ...]:
        """Return the rows: hard limits, rules, and the one for everything else."""
        layout, number, found = self._layout, len(self._layout.parameters), []
        otherwise = () if layout.otherwise is None else (layout.otherwise,)
        for part, rows in (("limit", layout.limits), ("rule", layout.rules), ("otherwise", otherwise)):
            for place, row in enumerate(rows):
                at = place if part == "rule" else None
                found.append(self._rule(part, row, number, at))
                number = found[-1].number + 2
        return tuple(found)

    def _rule(self, part: str, row: Row, number: int, place: int | None) -> Rule:
        head = number if place in self._sheet.added else None
        number += 0 if head is None else 2
        cells = tuple(self._cell(each.fact, number + 2 * at, place, at) for at, each in enumerate(row.when))
        number += 2 * len(row.when)
        return Rule(
            name=row.name if head is None else self._texts[head],
            place=place,
            head=head,
            why=row.why if head is None else self._texts[head + 1],
            part=part,
            cells=cells,
            number=number,
            effect=self._texts[number],
            tier=self._texts[number + 1],
            old_effect=self._fields[number].text,
            old_tier=self._fields[number + 1].text,
            effects=("deny", "indeterminate") if part == "limit" else tuple(EFFECTS),
            problem=self._problem(number) or (None if head is None else self._problem(head)),
        )

    def _cell(self, fact: str, number: int, rule: int | None, place: int) -> Cell:
        field, operator, text = self._fields[number], self._texts[number], self._texts[number + 1]
        single = operator in _SINGLE and not text.strip().startswith("{")
        return Cell(
            number=number,
            fact=fact,
            type=field.type,
            operator=operator,
            operators=operators_for(field.type),
            text=text,
            old=f"{field.text} {self._fields[number + 1].text}",
            added=rule is not None and self._sheet.is_new(rule, place),
            slider=_slider(field.type, self._span(fact), text) if single else None,
            problem=self._problem(number),
        )

    def _problem(self, number: int) -> str | None:
        return self._problems.get(number) or self._problems.get(number + 1)

    def _compared_span(self, parameter: str) -> tuple[str, str] | None:
        """Return the ends of the recorded values that a parameter is compared with."""
        shown = f"{{{parameter}}}"
        facts = [cell.fact for row in self._layout.rows for cell in row.when if shown in str(cell)]
        return next((found for fact in facts if (found := self._span(fact)) is not None), None)

    def _span(self, fact: str) -> tuple[str, str] | None:
        span = self._spans.get(fact)
        return None if span is None else (str(span.low), str(span.high))


def _slider(kind: str, bounds: tuple[str, str] | None, *values: str) -> Slider | None:
    """Return a slider between bounds that has all values on it; None for what is no number."""
    if kind not in ("integer", "decimal") or bounds is None:
        return None
    try:
        numbers = [Decimal(each) for each in (*bounds, *values)]
    except InvalidOperation:
        return None
    if not all(each.is_finite() for each in numbers):
        return None
    low, high = min(numbers), max(numbers)
    places = 0 if kind == "integer" else max(0, *(-int(each.as_tuple().exponent) for each in numbers))
    step = Decimal(1).scaleb(-places)
    return None if low == high else Slider(low=format(low, "f"), high=format(high, "f"), step=format(step, "f"))
