"""The format `loom.table/1`: what may be written in a table, and the form from which its version hash is computed.

Facts are integers, decimals (written as text), booleans and text. There are no floats and no expressions: a condition
is a fact, one of ten operators, and a value or a parameter.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from loom.journal.admission import MAX_INTEGER
from loom.policies.evaluation import BAD_FACTS, NO_MATCH, RULE_FAILED, EffectName

__all__ = [
    "OPERATORS",
    "Condition",
    "FactType",
    "Parameter",
    "ParameterRef",
    "Row",
    "TableFact",
    "TableLayout",
    "number",
]

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "between", "starts with")
"""All operators."""

_ORDERED = frozenset({"<", "<=", ">", ">=", "between"})
_DECIMAL = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")

Kind: TypeAlias = Literal["integer", "decimal", "boolean", "string"]
_SEVERAL = "several"
"""The rule of an evaluation over gaps that several rules give: see `loom.policies.tables.missing`."""

Scalar: TypeAlias = StrictBool | StrictInt | StrictStr


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def number(text: str) -> Decimal | None:
    """Return the decimal of a text, or None: exponents, blanks and a sign alone are not valid."""
    return Decimal(text) if _DECIMAL.match(text) else None


def fits(kind: Kind, value: object) -> bool:
    """Return whether a value is of a type, as JSON writes it: `true` is no integer, 1 is no decimal."""
    if kind == "integer":
        return type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER
    if kind == "decimal":
        return type(value) is str and number(value) is not None
    return type(value) is (bool if kind == "boolean" else str)


def read(kind: Kind, value: Any) -> Any:
    """Return the compared form of a valid value."""
    return Decimal(value) if kind == "decimal" else value


class _Typed(_Frozen):
    type: Kind
    min: Scalar | None = None
    max: Scalar | None = None

    @model_validator(mode="after")
    def _bounds_fit(self) -> _Typed:
        for name in ("min", "max"):
            bound = getattr(self, name)
            if bound is not None and (self.type not in ("integer", "decimal") or not fits(self.type, bound)):
                raise ValueError(f"{name} [{bound!r}] does not fit the type [{self.type}]")
        if self.min is not None and self.max is not None and read(self.type, self.min) > read(self.type, self.max):
            raise ValueError(f"min [{self.min}] is above max [{self.max}]")
        return self

    def problem(self, value: object) -> str | None:
        """Return what is wrong with a value, or None."""
        if not fits(self.type, value):
            return f"is not of type [{self.type}]"
        if self.min is not None and read(self.type, value) < read(self.type, self.min):
            return f"is below [{self.min}]"
        if self.max is not None and read(self.type, value) > read(self.type, self.max):
            return f"is above [{self.max}]"
        return None


class TableFact(_Typed):
    """A fact that the table asks for: its type, and its limits."""

    values: tuple[StrictStr, ...] | None = None
    """For text: the only valid values."""

    @model_validator(mode="after")
    def _values_are_text(self) -> TableFact:
        if self.values is not None and (self.type != "string" or not self.values):
            raise ValueError(
                f"values are set for the type [{self.type}]; expected values, not empty, for [string] only"
            )
        return self

    def problem(self, value: object) -> str | None:
        """Return what is wrong with a value, or None."""
        found = super().problem(value)
        if found is None and self.values is not None and value not in self.values:
            return f"is none of [{', '.join(self.values)}]"
        return found


FactType = TableFact


class Parameter(_Typed):
    """A value that can be changed, within its bounds, to make another version."""

    value: Scalar

    @model_validator(mode="after")
    def _within_bounds(self) -> Parameter:
        if (problem := self.problem(self.value)) is not None:
            raise ValueError(f"value [{self.value!r}] {problem}")
        return self


class ParameterRef(_Frozen):
    """Stands for a parameter in a condition: `{param: limit}`."""

    param: str


Operand: TypeAlias = Scalar | ParameterRef


class Condition(_Frozen):
    """One cell of a row: a fact, an operator, and what it is compared with."""

    fact: str
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "between", "starts with"]
    operands: tuple[Operand, ...]
    many: bool = False
    """Whether the operands are a list, as after `in`."""

    def __str__(self) -> str:
        shown = [f"{{{each.param}}}" if isinstance(each, ParameterRef) else _as_text(each) for each in self.operands]
        return f"{self.fact} {self.operator} " + (f"[{', '.join(shown)}]" if self.many else shown[0])


def _cell(written: Any) -> Any:
    """Return a condition from `[fact, operator, value]`."""
    if isinstance(written, Condition):
        return written
    if not isinstance(written, list | tuple) or len(written) != 3:
        raise ValueError(f"condition [{written!r:.80}] is not of the form [fact, operator, value]")
    fact, operator, value = written
    many = isinstance(value, list | tuple)
    if operator not in OPERATORS:
        raise ValueError(f"operator [{operator!s:.40}] is unknown; expected one of [{', '.join(OPERATORS)}]")
    if many != (operator in ("in", "not in", "between")):
        raise ValueError(f"[{operator}] stands before {'a list' if many else 'one value'}; expected the other")
    if many and (not value or (operator == "between" and len(value) != 2)):
        raise ValueError(f"[{operator}] has [{len(value)}] values; expected {'2' if operator == 'between' else 'some'}")
    for each in value if many else (value,):
        if isinstance(each, float):
            raise ValueError(f"value [{each!r}] is a float; expected an integer, or a decimal as text")  # noqa: TRY004
    return {"fact": fact, "operator": operator, "operands": tuple(value) if many else (value,), "many": many}


Cell: TypeAlias = Annotated[Condition, BeforeValidator(_cell)]


class Row(_Frozen):
    """One rule: if all of its conditions hold, its effect, for this reason."""

    name: str = Field(min_length=1, max_length=64)
    when: tuple[Cell, ...] = ()
    effect: EffectName
    tier: str | None = Field(default=None, min_length=1)
    exception: str | None = Field(default=None, min_length=1)
    why: str = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Row:
        if self.name in (NO_MATCH, BAD_FACTS, RULE_FAILED):
            raise ValueError(f"rule name [{self.name}] is taken by loom")
        if self.tier is not None and self.effect != "require_approval":
            raise ValueError(f"tier [{self.tier}] is set for [{self.effect}]; expected [require_approval]")
        return self


class TableLayout(_Frozen):
    """A whole table as it is written. `description` and `author` do not count as behaviour."""

    format: Literal["loom.table/1"]
    name: str
    description: str = ""
    author: str = ""
    facts: dict[str, TableFact]
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    limits: tuple[Row, ...] = ()
    """Hard limits: evaluated before any rule, and without parameters."""
    hit_policy: Literal["first", "unique"] = "first"
    rules: tuple[Row, ...]
    otherwise: Row | None = None
    """The row for cases without a matching rule; without it such a case is indeterminate."""
    missing: Literal["indeterminate", "three_valued"] = "indeterminate"
    """The effect of a missing fact; `three_valued` answers where the answer is the same for all its values."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row in the order of evaluation."""
        return (*self.limits, *self.rules, *(() if self.otherwise is None else (self.otherwise,)))

    @model_validator(mode="after")
    def _consistent(self) -> TableLayout:
        for name in (*self.facts, *self.parameters):
            if not _NAME.match(name):
                raise ValueError(f"[{name!r:.80}] is not a name; expected [letters, digits, _]")
        names = [row.name for row in self.rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rules [{', '.join(twice)}] are there twice; expected each name once")
        if self.missing == "three_valued" and _SEVERAL in names:
            raise ValueError(f"rule name [{_SEVERAL}] is taken by loom where a missing fact is [three_valued]")
        if not self.rules and self.otherwise is None:
            raise ValueError("there is no rule; expected one at least")
        if self.otherwise is not None and self.otherwise.when:
            raise ValueError("otherwise has conditions; expected none: make it a rule")
        for row in self.limits:
            if row.effect not in ("deny", "indeterminate"):
                raise ValueError(f"limit [{row.name}] has the effect [{row.effect}]; expected deny or indeterminate")
        for row in self.rows:
            for condition in row.when:
                self._check(row, condition)
        return self

    def _check(self, row: Row, condition: Condition) -> None:
        where = f"condition [{condition}] of rule [{row.name}]"
        fact = self.facts.get(condition.fact)
        if fact is None:
            raise ValueError(f"{where} is about an unknown fact; expected one of [{', '.join(self.facts)}]")
        if condition.operator in _ORDERED and fact.type not in ("integer", "decimal"):
            raise ValueError(f"{where} puts a {fact.type} in order; expected an integer or a decimal")
        if condition.operator == "starts with" and fact.type != "string":
            raise ValueError(f"{where} looks at the beginning of a {fact.type}; expected a string")
        for operand in condition.operands:
            self._check_operand(row, fact, operand, where)
        if condition.operator == "between":
            low, high = (read(fact.type, self.value(each)) for each in condition.operands)
            if low > high:
                raise ValueError(f"{where} ends before it begins; expected [low, high]")

    def _check_operand(self, row: Row, fact: TableFact, operand: Operand, where: str) -> None:
        if isinstance(operand, ParameterRef):
            parameter = self.parameters.get(operand.param)
            if parameter is None:
                raise ValueError(f"{where} names an unknown parameter; expected one of [{', '.join(self.parameters)}]")
            if row in self.limits:
                raise ValueError(f"{where} depends on a parameter; expected a value: a hard limit cannot be tuned")
            if parameter.type != fact.type:
                raise ValueError(f"{where} compares [{fact.type}] with a parameter of type [{parameter.type}]")
        elif not fits(fact.type, operand):
            raise ValueError(f"{where} compares with [{operand!r}]; expected a value of type [{fact.type}]")

    def value(self, operand: Operand) -> Scalar:
        """Return the value of an operand."""
        return self.parameters[operand.param].value if isinstance(operand, ParameterRef) else operand


def _as_text(value: Scalar) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
