"""`@policy`: a pure function in Python → a policy, with its document and the hash that identifies its version."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, DivisionByZero, InvalidOperation, Overflow, localcontext
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from loom.errors import AdmissionError, PolicyCodeChangedError, PolicyRuleError
from loom.policies.canonical import FORMAT, Document, Json, canonical, tagged, untagged, version_hash
from loom.policies.contract import AnyPolicy
from loom.policies.describe import describe_model, field_names
from loom.policies.evaluation import BAD_FACTS, RULE_FAILED, Evaluation, Facts, Params
from loom.policies.naming import check_policy_name
from loom.policies.probing import check_calls
from loom.policies.purity import SEMANTICS
from loom.policies.rule import Rule, plain_function, snapshot

__all__ = ["Policy", "policy"]

P = TypeVar("P", bound=Params)
F = TypeVar("F", bound=Facts)

_MAX_DOCUMENT = 262_144
_MAX_CAUSE = 500
# A rule computes with loom's decimal context, whatever the process has set.
_DECIMALS = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow],
)


class Policy(AnyPolicy, Generic[P, F]):
    """One version of a policy, with its code: rule, parameters, facts, document and hash."""

    def __init__(
        self,
        *,
        name: str,
        params: P,
        facts_model: type[F],
        rule: Rule,
        examples: Sequence[F] = (),
        description: str = "",
        author: str = "",
    ) -> None:
        self.name = check_policy_name(name)
        self.params = params
        self.facts_model = facts_model
        self.rule = rule
        self.description = description
        self.author = author
        self._examples = tuple(examples)
        self._document = self._written()
        self.version_hash = version_hash(self._document)

    def evaluate(self, facts: BaseModel | Mapping[str, object] | str | bytes) -> Evaluation:
        """Return the evaluation. Facts may be the model, or JSON as for `evaluate_json`.

        A rule that raises, or returns another type, gives an indeterminate evaluation with the rule `error`.
        """
        if not isinstance(facts, BaseModel):
            return self.evaluate_json(facts)
        if type(facts) is not self.facts_model:
            raise PolicyRuleError(
                f"policy [{self.name}] was given facts of type [{type(facts).__name__}]; expected "
                f"[{self.facts_model.__name__}]: pass that model"
            )
        try:
            return self._run_rule(facts)
        except (MemoryError, RecursionError):
            raise  # these are about the machine, not about the case
        except Exception as error:  # noqa: BLE001, RUF100 — for any error of a rule, nothing is executed
            return _raised(error)

    def evaluate_json(self, facts: Mapping[str, object] | str | bytes, *, ignore_unknown: bool = False) -> Evaluation:
        """Return the evaluation of recorded facts.

        A missing, null or ill-typed fact gives an indeterminate evaluation with the rule `facts`, which names it. So
        does an unknown fact, unless `ignore_unknown` is set: a version with fewer facts can judge a case that was
        recorded for a version with more.
        """
        try:
            value = json.loads(facts) if isinstance(facts, str | bytes) else facts
            if ignore_unknown and isinstance(value, Mapping):
                value = {key: item for key, item in value.items() if key in self.facts_model.model_fields}
            text = json.dumps(dict(value) if isinstance(value, Mapping) else value)
        except (TypeError, ValueError, RecursionError):
            return _indeterminate(BAD_FACTS, "the facts are not JSON")
        try:
            model = self.facts_model.model_validate_json(text)
        except ValidationError as error:
            return _bad_facts(error)
        return self.evaluate(model)

    @property
    def document(self) -> Document:
        """A copy of everything that can change an answer. The version hash is computed from it."""
        return copy.deepcopy(self._document)

    @property
    def about(self) -> dict[str, Json]:
        """What belongs to the version and does not count: source, description, author."""
        return {"source": self.rule.source, "description": self.description, "author": self.author}

    @property
    def parameters(self) -> dict[str, object]:
        """The values of its parameters, in JSON form."""
        plain: dict[str, object] = self.params.model_dump(mode="json")
        return plain

    def with_params(self, params: P) -> Policy[P, F]:
        """Return the same rule with other parameters: another version."""
        return Policy(
            name=self.name,
            params=params,
            facts_model=self.facts_model,
            rule=self.rule,
            examples=self._examples,
            description=self.description,
            author=self.author,
        )

    def under(self, document: Mapping[str, object]) -> Policy[P, F]:
        """Return the policy that gives this version, from this code and the parameters of the document.

        Rule, constants, helpers, fact schema and semantics must be equal, the parameters must be valid, and every
        golden vector must give the recorded result; otherwise `PolicyCodeChangedError`. Newer code never runs under the
        name of an older version.
        """
        if (reason := self.departure(document)) is not None:
            raise PolicyCodeChangedError(
                f"policy [{self.name}] does not give version [{version_hash(document)[:12]}]: {reason}; expected [the "
                "code it was registered with]: restore that code, or use a version that this code gives"
            )
        return self if version_hash(document) == self.version_hash else self._from(document)

    def departure(self, document: Mapping[str, object]) -> str | None:
        """Return how this code differs from a version, or None if it gives that version."""
        try:
            for part in ("format", "language", "semantics", "name", "facts", "rule", "helpers"):
                if canonical(document.get(part)) != canonical(self._document.get(part)):
                    return f"its {part} {'differ' if part.endswith('s') else 'differs'}"
            if self._from(document).version_hash != version_hash(document):
                return "its parameters or its golden vectors give other results"
        except ValidationError:
            return "its parameters or examples are no longer valid"
        except (AdmissionError, PolicyRuleError, AttributeError, KeyError, TypeError) as error:
            return f"it cannot be read [{error}]"
        return None

    def _from(self, document: Any) -> Policy[P, F]:
        """Return this rule with the parameters and examples of a document, and run its vectors again."""
        described, values = document["parameters"]["description"], document["parameters"]["values"]
        again: Policy[P, F] = Policy(
            name=self.name,
            params=type(self.params).model_validate_json(json.dumps(untagged(values))),
            facts_model=self.facts_model,
            rule=self.rule,
            examples=[
                self.facts_model.model_validate_json(json.dumps(untagged(vector["facts"])))
                for vector in document["vectors"]
            ],
            description=self.description,
            author=self.author,
        )
        mine: Any = again._document["parameters"]
        if _types(mine["description"]) == _types(described):
            # Bounds and defaults limit the possible parameters: with given values, they change no answer.
            mine["description"] = described
        again.version_hash = version_hash(again._document)
        return again

    def _run(self, facts: F) -> object:
        with localcontext(_DECIMALS):
            return self.rule.run(self.params, facts)

    def _run_rule(self, facts: F) -> Evaluation:
        said = self._run(facts)
        if not isinstance(said, Evaluation):
            return _indeterminate(RULE_FAILED, f"the rule returned {type(said).__name__} instead of an evaluation")
        return said

    def _written(self) -> Document:
        document: Document = {
            "format": FORMAT,
            "language": "python",
            "semantics": SEMANTICS,
            "name": self.name,
            "parameters": {"description": describe_model(type(self.params)), "values": tagged(self.params)},
            "facts": describe_model(self.facts_model),
            "rule": self.rule.tree,
            "helpers": self.rule.helpers,
            "vectors": [self._vector(number, facts) for number, facts in enumerate(self._examples, start=1)],
        }
        if (size := len(canonical(document))) > _MAX_DOCUMENT:
            raise PolicyRuleError(
                f"policy [{self.name}] has a document of [{size}] bytes; expected at most [{_MAX_DOCUMENT}]: "
                "give fewer examples, or make long constants shorter"
            )
        return document

    def _vector(self, number: int, facts: F) -> Json:
        evaluation = self.evaluate(facts)
        if evaluation.rule == RULE_FAILED:
            raise PolicyRuleError(
                f"example [{number}] of policy [{self.name}] breaks the rule [{evaluation.why}]; expected [an "
                "evaluation]: correct the rule or the example"
            )
        said = {
            name: getattr(evaluation, name)
            for name in sorted(Evaluation.model_fields)
            if getattr(evaluation, name) != Evaluation.model_fields[name].get_default(call_default_factory=True)
        }
        if "why_not" in said:  # a field that a later loom added, and that is not set, is not part of a vector
            said["why_not"] = [each.model_dump() for each in evaluation.why_not]
        return {"facts": tagged(facts), "evaluation": tagged(said)}

    def __repr__(self) -> str:
        return f"<Policy {self.name} {self.version_hash[:8]}>"


def policy(
    name: str,
    params: P,
    *,
    examples: Sequence[Facts] = (),
    uses: Sequence[Callable[..., object]] = (),
    description: str = "",
    author: str = "",
) -> Callable[[Callable[[P, F], Evaluation]], Policy[P, F]]:
    """Make a pure function of (params, facts) a policy; raise `PolicyRuleError` if it depends on anything else.

    `uses` declares the helper functions that it calls. `examples` become golden vectors: their evaluations are part of
    the version. Description and author do not count.
    """

    def decorate(function: Callable[[P, F], Evaluation]) -> Policy[P, F]:
        plain_function(function)
        facts_model: Any = _facts_model(function, examples)
        if not isinstance(params, Params):
            raise PolicyRuleError(
                f"policy [{name}] has parameters of type [{type(params).__name__}]; expected [an instance of "
                "a subclass of Params]: derive one"
            )
        fields = field_names(type(params)) | field_names(facts_model)
        rule = snapshot(function, uses=uses, fields=fields)
        made = Policy(
            name=name,
            params=params,
            facts_model=facts_model,
            rule=rule,
            examples=examples,
            description=description,
            author=author,
        )
        check_calls(name, made._run, facts_model)
        return made

    return decorate


def _facts_model(function: Callable[..., object], examples: Sequence[Facts]) -> type[Facts]:
    """Return the class of the facts: that of the second parameter's annotation, and of every example."""
    named = _annotation(function)
    found = named if isinstance(named, type) else type(examples[0]) if examples else None
    if found is None or not issubclass(found, Facts) or found is Facts:
        raise PolicyRuleError(
            f"rule [{getattr(function, '__name__', function)}] does not say what its facts are [{named}]; expected [a "
            "subclass of Facts as the annotation of its second parameter]: annotate it, or give an example"
        )
    for number, example in enumerate(examples, start=1):
        if type(example) is not found:
            raise PolicyRuleError(
                f"example [{number}] is of type [{type(example).__name__}]; expected [{found.__name__}]: "
                "give facts of the rule's own type"
            )
    return found


def _annotation(function: Callable[..., object]) -> object:
    code = getattr(function, "__code__", None)
    if code is None or code.co_argcount < 2:
        return None
    try:
        written = function.__annotations__.get(code.co_varnames[1])
        if not isinstance(written, str):
            return written
        # The annotation is the author's own source, made text by `from __future__ import annotations`.
        return eval(written, dict(function.__globals__))  # noqa: S307
    except Exception:  # noqa: BLE001, RUF100 — a name from the scope around the function: the examples have the type
        return None


def _types(description: Any) -> dict[str, Json]:
    return {name: field["type"] for name, field in description["fields"].items()}


def _indeterminate(rule: str, why: str, details: dict[str, Any] | None = None) -> Evaluation:
    return Evaluation(effect="indeterminate", rule=rule, why=why, details=details or {})


def _raised(error: Exception) -> Evaluation:
    """Return the evaluation for facts on which the rule raised, with the cause: the rule has to be corrected."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001, RUF100 — its __str__ is foreign code
        words = ""
    cause = words[:_MAX_CAUSE].replace("\0", "\ufffd").encode(errors="replace").decode()
    name = type(error).__name__
    why = f"the rule raised {name} [{cause}]" if cause else f"the rule raised {name}"
    return _indeterminate(RULE_FAILED, why, {"error": name, "cause": cause} if cause else {"error": name})


def _bad_facts(error: ValidationError) -> Evaluation:
    """Return the evaluation for facts that their model refuses, with a text that does not depend on pydantic's."""
    found: dict[str, set[str]] = {}
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"])
        if not place:
            return _indeterminate(BAD_FACTS, "the facts are not an object of JSON")
        if item["type"] == "missing":
            problem = "missing"
        elif item["type"] == "extra_forbidden":
            problem = "unknown"
        else:
            problem = "null" if item["input"] is None else "ill_typed"
        found.setdefault(problem, set()).add(place)
    details = {problem: ", ".join(sorted(places)) for problem, places in sorted(found.items())}
    words = {"ill_typed": "not of its type or out of its bounds"}
    why = "; ".join(f"fact [{places}] is {words.get(problem, problem)}" for problem, places in details.items())
    return _indeterminate(BAD_FACTS, why, details)
