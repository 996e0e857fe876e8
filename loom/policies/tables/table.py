"""A table as a policy: read from a file or a document, compiled once, evaluated with why and why-not."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ValidationError

from loom.errors import AdmissionError, PolicyCodeChangedError, PolicyTableError
from loom.journal.admission import parse_json
from loom.policies.canonical import Document, Json, version_hash
from loom.policies.contract import AnyPolicy, Verdict
from loom.policies.evaluation import BAD_FACTS, NO_MATCH, EffectName, Evaluation, FailedCondition, RuleMiss
from loom.policies.naming import check_policy_name
from loom.policies.tables.classes import ValueClasses
from loom.policies.tables.compiled import Bad, CompiledTable, condition_test
from loom.policies.tables.document import LANGUAGE, document_of, semantics_known
from loom.policies.tables.gaps import Partial, PartialTable
from loom.policies.tables.layout import Condition, ParameterRef, Row, Scalar, TableLayout
from loom.policies.tables.lint import lint
from loom.policies.tables.missing import SEVERAL, Answer, ThreeValued
from loom.policies.tables.nearest import Nearest, NearestCases
from loom.policies.tables.values import canonical_facts

__all__ = ["Table", "table_of"]

_LONGEST_SHOWN = 80
_MAX_DEPTH = 20


class Table(AnyPolicy):
    """One version of a policy that is a table. It can be run from its document alone, without code."""

    def __init__(self, layout: TableLayout, *, source: str = "", checked: bool = True) -> None:
        """Make a policy from a layout; with `checked`, an error of the linter is a `PolicyTableError`."""
        self.name = check_policy_name(layout.name)
        self.layout = layout
        self._source = source
        self._document = document_of(layout)
        self._compiled = CompiledTable(layout)
        self._partial: PartialTable | None = None
        self._nearest: NearestCases | None = None
        self._three_valued: ThreeValued | None = None
        try:
            self.version_hash = version_hash(self._document)
        except AdmissionError as error:
            raise PolicyTableError(f"table [{self.name}] cannot be kept: {error}") from error
        errors = [finding for finding in lint(layout) if finding.severity == "error"] if checked else []
        if errors:
            raise PolicyTableError(
                f"table [{self.name}] has errors [{'; '.join(str(each) for each in errors)}]; expected [none]: "
                "correct them, see `loom policies lint`"
            )

    @classmethod
    def of(cls, written: Mapping[str, object], *, source: str = "", checked: bool = True) -> Table:
        """Return a table from plain data; raise `PolicyTableError`, with the place, for invalid data."""
        return cls(_layout(written), source=source, checked=checked)

    @property
    def document(self) -> Document:
        """A copy of everything that can change an answer. The version hash is computed from it."""
        return copy.deepcopy(self._document)

    @property
    def about(self) -> dict[str, Json]:
        """What belongs to the version and does not count: source, description, author."""
        return {"source": self._source, "description": self.layout.description, "author": self.layout.author}

    @property
    def parameters(self) -> Mapping[str, Scalar]:
        """The values of its parameters."""
        return {name: parameter.value for name, parameter in self.layout.parameters.items()}

    def with_params(self, **values: Scalar) -> Table:
        """Return the same table with other values of some parameters: another version."""
        unknown = sorted(set(values) - set(self.layout.parameters))
        if unknown:
            raise PolicyTableError(
                f"table [{self.name}] has no parameters [{', '.join(unknown)}]; expected some of "
                f"[{', '.join(self.layout.parameters)}]: check the names"
            )
        written = self.written()
        for name, value in values.items():
            written["parameters"][name]["value"] = value
        return Table.of(written, source=self._source)

    def written(self) -> dict[str, Any]:
        """Return the table as plain data, in the form of a file."""
        body = copy.deepcopy(self._document)
        plain: dict[str, Any] = {key: value for key, value in body.items() if key not in ("language", "semantics")}
        return {**plain, "description": self.layout.description, "author": self.layout.author}

    # --- evaluating -----------------------------------------------------------------------------

    def evaluate(self, facts: BaseModel | Mapping[str, object] | str | bytes) -> Evaluation:
        """Return the evaluation. Facts may be any model whose fields are the facts, or JSON."""
        if isinstance(facts, BaseModel):
            return self.evaluate_json(facts.model_dump(mode="json"))
        return self.evaluate_json(facts)

    def evaluate_json(self, facts: Mapping[str, object] | str | bytes, *, ignore_unknown: bool = False) -> Evaluation:
        """Return the evaluation of recorded facts.

        A missing, null, ill-typed or, unless `ignore_unknown`, unknown fact gives an indeterminate evaluation with the
        rule `facts`, which names it: never the row for everything else.
        """
        try:
            given = parse_json(facts) if isinstance(facts, str | bytes) else facts
        except AdmissionError:
            given = None
        if not isinstance(given, Mapping):
            return Evaluation(effect="indeterminate", rule=BAD_FACTS, why="the facts are not an object of JSON")
        values = self._compiled.values(given, ignore_unknown=ignore_unknown)
        if not isinstance(values, Bad):
            return self._evaluation(values)
        answer = self._over_gaps(given) if set(values.problems) == {"missing"} else None
        if answer is None:
            return _bad_facts(values)
        return self._filled(given, answer) if answer.is_decided else answer.undecided()

    def facts(self, raw: Mapping[str, object]) -> dict[str, object]:
        """Return facts with every exact value in the form that the table asks for, to be recorded and judged.

        An integral number becomes an integer, a `Decimal` or an integer plain decimal text, 0 and 1 a boolean, where
        the table asks for that. Raises `AdmissionError` for a float in place of a decimal.
        """
        return canonical_facts(self.layout, raw)

    def partial(self, facts: Mapping[str, object]) -> Partial:
        """Return the answer for facts with missing ones: decided whatever they are, or open."""
        if self._partial is None:
            self._partial = PartialTable(self._compiled, ValueClasses(self.layout))
        return self._partial.partial(facts)

    def nearest(
        self,
        facts: Mapping[str, object],
        *,
        want: EffectName = "allow",
        free: Collection[str] | None = None,
        step: Mapping[str, int | Decimal] | None = None,
    ) -> Nearest:
        """Return the nearest case that the table would answer with `want`: fewest facts changed, then by distance.

        `free` are the facts that may change, all by default. `step` is by how much a number can change: 1 for integers;
        a decimal without a step may be anything, and where the limit is not included its bound is given. Distances of
        several facts are added as shares of their span. Raises `AdmissionError` for a fact that the table does not ask.
        """
        if self._nearest is None:
            self._nearest = NearestCases(self._compiled, ValueClasses(self.layout))
        return self._nearest.nearest(facts, want=want, free=free, step=step or {})

    def verdict(self, facts: Mapping[str, object]) -> Verdict:
        """Return effect, rule and tier alone, for recorded facts that may be more than this version asks for."""
        said = self._compiled.verdict(facts)
        answer = self._over_gaps(facts) if said.rule == BAD_FACTS else None
        if answer is None or not answer.is_decided:
            return said
        row = answer.rows[0]
        return Verdict(row.effect, row.name if len(answer.rows) == 1 else SEVERAL, row.tier)

    def _over_gaps(self, facts: Mapping[str, object]) -> Answer | None:
        """Return the answer of semantics 2 for a case with gaps; None for another case, and under semantics 1."""
        if self.layout.missing != "three_valued":
            return None
        if self._three_valued is None:
            self._three_valued = ThreeValued(self._compiled, ValueClasses(self.layout))
        return self._three_valued.answer(facts)

    def _filled(self, facts: Mapping[str, object], answer: Answer) -> Evaluation:
        """Return the evaluation that is the same whatever is missing."""
        known = self._compiled.read(facts)
        row, missing = answer.rows[0], ", ".join(answer.missing)
        names = ", ".join(each.name for each in answer.rows)
        whatever = f"whatever [{missing}] {'is' if len(answer.missing) == 1 else 'are'}"
        alone = len(answer.rows) == 1
        misses = tuple(
            self._miss_over_gaps(each, {} if isinstance(known, Bad) else known, missing)
            for each in self.layout.rows
            if each not in answer.rows
        )
        return Evaluation(
            effect=row.effect,
            rule=row.name if alone else SEVERAL,
            tier=row.tier,
            why_not=misses,
            why=f"{row.why}, {whatever}" if alone else f"one of [{names}] holds, {whatever}",
            is_exception=row.exception is not None,
            exception_reason=row.exception,
            details={"missing": missing, **({} if alone else {"rules": names})},
        )

    def _miss_over_gaps(self, row: Row, known: Mapping[str, Any], missing: str) -> RuleMiss:
        for condition in row.when:
            if condition.fact in known and not condition_test(self.layout, condition)(known[condition.fact]):
                return self._failed(row, condition, known[condition.fact])
        return RuleMiss(rule=row.name, why=f"it does not come first, whatever [{missing}] may be")

    def _evaluation(self, values: list[Any]) -> Evaluation:
        hit, clash = self._compiled.hit(values)
        misses = tuple(self._miss(row, values, hit) for row in self.layout.rows if row is not hit)
        if hit is None:
            why = f"rules [{clash}] hold at once" if clash else "no rule matches these facts"
            return Evaluation(effect="indeterminate", rule=NO_MATCH, why=why, why_not=misses)
        return Evaluation(
            effect=hit.effect,
            rule=hit.name,
            why=hit.why,
            why_not=misses,
            tier=hit.tier,
            is_exception=hit.exception is not None,
            exception_reason=hit.exception,
        )

    def _miss(self, row: Row, values: list[Any], hit: Row | None) -> RuleMiss:
        failed = self._compiled.failed(row, values)
        if failed is not None:
            return self._failed(row, *failed)
        if row is self.layout.otherwise:
            return RuleMiss(rule=row.name, why="a rule before it holds" if hit is not None else "several rules hold")
        why = "it holds too, and only one rule may" if hit is None else f"[{hit.name}] holds and comes first"
        return RuleMiss(rule=row.name, why=why)

    def _failed(self, row: Row, condition: Condition, value: object) -> RuleMiss:
        operands = tuple(self.layout.value(each) for each in condition.operands)
        compared = operands if condition.many else operands[0]
        return RuleMiss(
            rule=row.name,
            why=f"{condition.fact} is {_as_text(value)}, not {self._operands_in_words(condition)}",
            condition=FailedCondition(condition.fact, condition.operator, compared),
        )

    def _operands_in_words(self, condition: Condition) -> str:
        shown = [
            f"{_as_text(self.layout.value(each))} ({each.param})" if isinstance(each, ParameterRef) else _as_text(each)
            for each in condition.operands
        ]
        operator = "" if condition.operator == "=" else f"{condition.operator} "
        if condition.operator == "between":
            return f"between {shown[0]} and {shown[1]}"
        return operator + (f"[{', '.join(shown)}]" if condition.many else shown[0])

    # --- other versions -------------------------------------------------------------------------

    def departure(self, document: Mapping[str, object]) -> str | None:
        """Return why a version cannot be run as a table, or None: a table needs nothing but its document."""
        if document.get("language") != LANGUAGE:
            return "it is not a table"
        if not semantics_known(document):
            return "its semantics are of a newer loom"
        return None if document.get("name") == self.name else "it is another policy"

    def under(self, document: Mapping[str, object]) -> Table:
        """Return the table of a document of the same policy."""
        if (reason := self.departure(document)) is not None:
            raise PolicyCodeChangedError(
                f"policy [{self.name}] does not give version [{version_hash(document)[:12]}]: {reason}; expected [a "
                "table of that name]: restore the code of that version, or use another version"
            )
        return table_of(document)

    def __repr__(self) -> str:
        return f"<Table {self.name} {self.version_hash[:8]}>"


def table_of(document: Mapping[str, object]) -> Table:
    """Return the table of a registered document; it was checked when it was registered."""
    if not semantics_known(document):
        raise PolicyCodeChangedError(
            f"table [{document.get('name')}] has semantics [{document.get('semantics')}] and missing "
            f"[{document.get('missing', 'indeterminate')}]; expected [1], or [2] for three_valued: "
            "evaluate it with the loom that registered it"
        )
    return Table.of({k: v for k, v in document.items() if k not in ("language", "semantics")}, checked=False)


def _layout(written: object) -> TableLayout:
    if isinstance(written, Mapping) and (foreign := _foreign(written, "$")) is not None:
        raise PolicyTableError(
            f'table has {foreign}; expected [an integer, or a decimal as text]: quote it, as in "0.25"'
        )
    try:
        return TableLayout.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = written.get("name", "?") if isinstance(written, Mapping) else "?"
        where = ".".join(str(part) for part in first["loc"]) or "$"
        what = first["msg"].removeprefix("Value error, ")
        raise PolicyTableError(
            f"table [{name}] is not of the format [loom.table/1] at [{where}]: {what}; expected what "
            "`loom docs policy-tables` describes: change it"
        ) from error


def _foreign(value: object, place: str, depth: int = 0) -> str | None:
    """Return what a table cannot hold, and where: a float, a date, a set without an order."""
    if value is None or isinstance(value, bool | int | str | BaseModel):
        return None
    if not isinstance(value, Mapping | list | tuple):
        return f"a {type(value).__name__} at [{place}]"
    if depth > _MAX_DEPTH:
        return f"something too deep at [{place:.40}]"
    items: Any = value.items() if isinstance(value, Mapping) else enumerate(value)
    found = (_foreign(item, f"{place}.{key}", depth + 1) for key, item in items)
    return next((each for each in found if each is not None), None)


def _bad_facts(bad: Bad) -> Evaluation:
    details = {problem: ", ".join(sorted(names)) for problem, names in sorted(bad.problems.items())}
    words = {"ill_typed": "not of its type or out of its bounds"}
    why = "; ".join(f"fact [{names}] is {words.get(problem, problem)}" for problem, names in details.items())
    return Evaluation(effect="indeterminate", rule=BAD_FACTS, why=why, details=dict(details))


def _as_text(value: object) -> str:
    """Return a value for a why-not, in its written form, and cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
