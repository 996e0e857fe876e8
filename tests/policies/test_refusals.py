"""What a rule may not lean on, and how each refusal names the place and the cure."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest

from loom.errors import PolicyRuleError
from loom.policies import Evaluation, Facts, Params, policy
from loom.policies.probing import probes
from tests.policies.sources import HEADER, load, plain, rule

OK = 'return first_match(otherwise("r", allow(), why="w"))'
HELPER = "def helper(x):\n    return x\n"
REFUSED = {
    "a module": (rule("return time.time()"), "calls a value|reads|uses the module \\[time\\]"),
    "a module's function": (
        rule("x = math.floor(1.5)\n" + OK),
        "uses the module \\[math\\].*import the pure name itself",
    ),
    "a module as a value": (
        rule("x = random\n" + OK),
        "uses the module \\[random\\].*pass the module's answer as a fact",
    ),
    "open": (rule("open('x')\n" + OK), "uses \\[Expr\\]"),
    "open with its value used": (rule("x = open('x')\n" + OK), "calls \\[open\\].*pass its answer as a fact"),
    "print": (rule("x = print(1)\n" + OK), "calls \\[print\\]"),
    "eval": (rule("x = eval('1')\n" + OK), "calls \\[eval\\]"),
    "a clock": (rule("x = date.today()\n" + OK), "uses the function or class \\[date\\] as a value"),
    "a clock behind a fact": (rule("x = facts.today.today()\n" + OK), "calls the method \\[today\\]"),
    "a class not known": (rule("x = datetime(2020, 1, 1)\n" + OK), "calls \\[datetime\\]"),
    "a mutable list": (
        rule("x = L\n" + OK, before="L = [1]"),
        "depends on \\[L\\] of type \\[list\\], which may change",
    ),
    "a mutable dict": (rule("x = D['a']\n" + OK, before="D = {'a': 1}"), "depends on \\[D\\] of type \\[dict\\]"),
    "a list in a tuple": (rule("x = T\n" + OK, before="T = (1, [2])"), "depends on \\[T\\] of type \\[list\\]"),
    "NaN": (rule("x = N\n" + OK, before="N = float('nan')"), "depends on \\[N\\], which holds \\[nan\\]"),
    "infinity": (rule("x = 1e999\n" + OK), "writes the constant \\[inf\\]"),
    "bytes": (rule("x = b'a'\n" + OK), "writes the constant"),
    "a complex number": (rule("x = 1j\n" + OK), "writes the constant"),
    "a lone surrogate": (rule("x = '\\ud800'\n" + OK), "lone surrogates"),
    "a null character": (rule("x = 'a\\0'\n" + OK), "U\\+0000"),
    "a captured null character": (rule("x = Z\n" + OK, before="Z = 'a\\0'"), "captures \\[Z\\]"),
    "an instance": (rule("x = Q\n" + OK, before="Q = P()"), "depends on \\[Q\\] of type \\[P\\]"),
    "a class attribute": (rule("x = P.limit\n" + OK), "uses the function or class \\[P\\] as a value"),
    "a function as a value": (rule("x = len\n" + OK), "uses the function or class \\[len\\] as a value"),
    "an undeclared helper": (
        rule("x = helper(1)\n" + OK, before=HELPER),
        "declare it: @policy\\(..., uses=\\[helper\\]",
    ),
    "an unused helper": (rule(OK, before=HELPER, uses="helper"), "declares \\[helper\\].*drop it"),
    "a name not defined yet": (rule("x = later\n" + OK) + "later = 1", "\\[later\\], which is not defined"),
    "a call not defined yet": (rule("x = later(1)\n" + OK), "\\[later\\], which is not defined"),
    "recursion": (
        rule("x = loop(1)\n" + OK, before="def loop(n):\n    return loop(n)", uses="loop"),
        "calls \\[loop\\], which is running already",
    ),
    "a dunder name": (rule("x = __name__\n" + OK), "uses the name \\[__name__\\]"),
    "a dunder attribute": (rule("x = facts.__class__\n" + OK), "reads the attribute \\[__class__\\]"),
    "an unknown attribute": (rule("x = facts.y\n" + OK), "reads the attribute \\[y\\].*declare it as a fact"),
    "a mutating method": (rule("x = facts.items.append(1)\n" + OK), "calls the method \\[append\\]"),
    "str.format": (rule("x = '{}'.format(1)\n" + OK), "write an f-string"),
    "a changed attribute": (rule("facts.x = 1\n" + OK), "changes a value in place"),
    "a changed item": (rule("facts.items[0] = 1\n" + OK), "changes a value in place"),
    "an item added up in place": (rule("facts.items[0] += 1\n" + OK), "uses \\[AugAssign\\]"),
    "import": (rule("import os\n" + OK), "uses \\[Import\\].*import at the top"),
    "import from": (rule("from os import path\n" + OK), "uses \\[ImportFrom\\]"),
    "global": (rule("global G\nG = 1\n" + OK), "uses \\[Global\\]"),
    "while": (rule("while True:\n    pass\n" + OK), "uses \\[While\\].*`for`"),
    "try": (rule("try:\n    x = 1\nexcept ValueError:\n    x = 2\n" + OK), "uses \\[Try\\]"),
    "raise": (rule("raise ValueError"), "uses \\[Raise\\].*indeterminate"),
    "assert": (rule("assert facts.x\n" + OK), "uses \\[Assert\\]"),
    "with": (rule("with facts.x:\n    pass\n" + OK), "uses \\[With\\]"),
    "match": (rule("match facts.x:\n    case 1:\n        pass\n" + OK), "uses \\[Match\\]"),
    "del": (rule("x = 1\ndel x\n" + OK), "uses \\[Delete\\]"),
    "a nested function": (rule("def f():\n    pass\n" + OK), "uses \\[FunctionDef\\]"),
    "a nested class": (rule("class C:\n    pass\n" + OK), "uses \\[ClassDef\\]"),
    "a lambda inside": (rule("x = lambda: 1\n" + OK), "uses \\[Lambda\\]"),
    "yield": (rule("x = yield 1\n" + OK), "uses \\[Yield\\]"),
    "an effect without a value": (rule("facts.x\n" + OK), "uses \\[Expr\\]"),
    "a set in order": (rule("x = [n for n in S]\n" + OK, before="S = frozenset({1})"), "order that differs"),
    "a set as a value": (rule("x = {1, 2}\n" + OK), "uses \\[Set\\]"),
    "a set comprehension": (rule("x = {n for n in (1,)}\n" + OK), "uses \\[SetComp\\]"),
    "a generator as a value": (rule("x = (n for n in (1,))\n" + OK), "uses \\[GeneratorExp\\]"),
    "identity": (rule("x = facts.x is facts.name\n" + OK), "compares identity"),
    "a called value": (rule("x = (len)(1)\ny = x()\n" + OK), "calls a value"),
    "unpacked keywords": (rule("x = max(1, **{'a': 1})\n" + OK), "passes \\[\\*\\*\\]"),
    "a sorting key": (rule("x = sorted((1,), key=facts.x)\n" + OK), "passes \\[key=\\]"),
    "matrix multiplication": (rule("x = facts.x @ 1\n" + OK), "uses \\[MatMult\\]"),
    "unpacking into a dict": (rule("x = {**facts.x}\n" + OK), "unpacks \\[\\*\\*\\]"),
    "an enum that does more": (
        rule("x = E.A.value\n" + OK, before="class E(Enum):\n    A = 1\n    def f(self): ..."),
        "reads \\[E.A\\].*only data",
    ),
    "an enum that is called": (rule("x = E(1)\n" + OK, before="class E(Enum):\n    A = 1"), "calls \\[E\\]"),
    "an example that breaks the rule": (rule("x = 1 // facts.x\n" + OK, examples="F(x=0)"), "ZeroDivisionError"),
    "an example that gives nothing": (rule("pass", examples="F(x=0)"), "returned NoneType"),
    "a rule without facts": ('@policy("plain", P())\ndef plain(params: P): ...', "does not say what its facts are"),
    "a third parameter": (
        f'@policy("plain", P())\ndef plain(params: P, facts: F, more: int):\n    {OK}',
        "expected \\[two parameters",
    ),
    "any number of parameters": (
        f'@policy("plain", P())\ndef plain(params: P, facts: F, *more):\n    {OK}',
        "takes any number of arguments",
    ),
    "facts that are not annotated": (
        f'@policy("plain", P())\ndef plain(params, facts):\n    {OK}',
        "does not say what",
    ),
    "an async rule": (f'@policy("plain", P())\nasync def plain(params: P, facts: F):\n    {OK}', "is async"),
    "a lambda": ('plain = policy("plain", P())(lambda params, facts: None)', "has no name"),
    "a policy name with a blank": (f'@policy("a b", P())\ndef plain(params: P, facts: F):\n    {OK}', "policy name"),
    "parameters that are a class": (f'@policy("a", P)\ndef plain(params: P, facts: F):\n    {OK}', "instance of a sub"),
    "a default that is mutable": (
        rule("x = helper(1)\n" + OK, before="def helper(x, y=[]):\n    return x", uses="helper"),
        "default for \\[y\\]",
    ),
    "an undeclared global in a helper": (
        rule("x = helper(1)\n" + OK, before="def helper(x):\n    return time.time()", uses="helper"),
        "rule \\[helper\\] at line",
    ),
}

WRONG_CALLS = {
    "a case without its why": (rule('return first_match(case("a", facts.x > 1, allow()))'), "missing a required .*why"),
    "a case with a word too many": (
        rule('return first_match(case("a", facts.x > 1, allow(), "w", why="w", why_not="n"))'),
        "calls \\[case\\] in a way that always raises TypeError \\[too many positional",
    ),
    "a keyword that there is not": (
        rule('return first_match(otherwise("a", allow(), why="w", because="b"))'),
        "unexpected keyword argument 'because'",
    ),
    "an effect with a number": (
        rule('return first_match(otherwise("a", require_approval(3), why="w"))'),
        "calls \\[require_approval\\] with \\[tier\\] of type \\[int\\]; it is str or None",
    ),
    "an effect that is a text": (
        rule('return first_match(otherwise("a", "allow", why="w"))'),
        "calls \\[otherwise\\] with \\[effect\\] that is a \\[Constant\\]; it is made by allow",
    ),
    "an effect that is a row": (
        rule('return first_match(otherwise("a", otherwise("b", deny(), why="w"), why="w"))'),
        "\\[effect\\] made by \\[otherwise\\]",
    ),
    "a condition that is a text": (
        rule('return first_match(case("a", "facts.x > 1", allow(), why="w", why_not="n"))'),
        "\\[holds\\] of type \\[str\\]; it is bool",
    ),
    "rows in a list": (
        rule('return first_match([otherwise("a", allow(), why="w")])'),
        "\\[cases\\] that is a \\[List\\]",
    ),
    "effects instead of rows": (rule("return first_match(allow(), deny())"), "\\[cases\\] made by \\[allow\\]"),
    "two rows of one name": (
        rule(
            'return first_match(case("a", facts.x > 1, allow(), why="w", why_not="n"), otherwise("a", deny(), why="w"))'
        ),
        "two rules that are both named \\[a\\]",
    ),
    "a row with a name of loom's": (rule('return first_match(otherwise("none", allow(), why="w"))'), "taken by loom"),
    "a row without a name": (rule('return first_match(otherwise(" ", allow(), why="w"))'), "blank or taken"),
    "an evaluation without a why": (rule('return Evaluation(effect="allow", rule="r")'), "missing a required .*why"),
    "an evaluation with a field that there is not": (
        rule('return Evaluation(effect="allow", rule="r", why="w", wy="w")'),
        "unexpected keyword argument 'wy'",
    ),
    "an effect as the answer": (rule("return allow()"), "returns what \\[allow\\] makes"),
    "a row as the answer": (rule('return otherwise("a", allow(), why="w")'), "returns what \\[otherwise\\] makes"),
    "a wrong call in a helper": (
        rule(
            "return first_match(row(facts.x))",
            before='def row(x):\n    return otherwise("a", allow())',
            uses="row",
        ),
        "rule \\[row\\] at line",
    ),
    # What can only be seen when it runs, on whatever facts:
    "a condition that is a number": (
        rule('return first_match(case("a", facts.x, allow(), why="w", why_not="n"))'),
        "calls loom wrongly whatever its facts are \\[TypeError: condition of rule \\[a\\] is of type \\[int\\]",
    ),
    "rows in a local list": (
        rule('rows = [otherwise("a", allow(), why="w")]\nreturn first_match(rows)'),
        "calls loom wrongly whatever its facts are \\[AttributeError",
    ),
    "the same row twice": (
        rule('c = otherwise("a", deny(), why="w")\nreturn first_match(c, c)'),
        "are not all different",
    ),
    "an evaluation of an effect that there is not": (
        rule('return Evaluation(effect="maybe", rule="r", why="w")'),
        "calls loom wrongly.*Evaluation",
    ),
    "a why that is empty": (
        rule('return first_match(otherwise("a", deny(), why=""))'),
        "calls loom wrongly.*at least 1",
    ),
    "an effect as the answer, by a branch": (
        rule("return allow() if facts.x > 3 else deny()"),
        "it returns what makes no evaluation, Effect",
    ),
    "rows as the answer": (
        rule('return [otherwise("a", allow(), why="w")]'),
        "it returns what makes no evaluation, list",
    ),
}
REFUSED |= WRONG_CALLS


@pytest.mark.parametrize("what", REFUSED)
def test_a_rule_is_refused_for(what: str, tmp_path: Path) -> None:
    text, message = REFUSED[what]
    with pytest.raises(PolicyRuleError, match=message) as caught:
        plain(tmp_path, text)
    assert re.search(r"expected \[.+\]: \w", str(caught.value)), "a message says what was expected, and the cure"


def test_a_refusal_names_the_line_of_the_file(tmp_path: Path) -> None:
    text = rule("a = 1\nb = open(a)\n" + OK)
    line = (HEADER + text).splitlines().index("    b = open(a)") + 1
    with pytest.raises(PolicyRuleError, match=rf"rule \[plain\] at line \[{line}\] calls \[open\]"):
        plain(tmp_path, text)


def test_a_refusal_names_the_line_inside_a_function_too(tmp_path: Path) -> None:
    text = HEADER + "def make():\n" + "".join(f"    {line}\n" for line in rule("b = open(1)\n" + OK).splitlines())
    line = text.splitlines().index("        b = open(1)") + 1
    module = load(tmp_path, text)
    with pytest.raises(PolicyRuleError, match=rf"at line \[{line}\]"):
        module.make()


def test_a_rule_without_a_source_is_refused() -> None:
    space: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef f(params, facts): return None", space)
    with pytest.raises(PolicyRuleError, match="has no source that can be read"):
        policy("f", NoParams(), examples=[NoFacts()])(space["f"])


class NoParams(Params):
    pass


class NoFacts(Facts):
    pass


class OtherFacts(Facts):
    pass


def named(params: NoParams, facts: NoFacts) -> Evaluation:
    return Evaluation(effect="allow", rule="r", why="w")


def test_what_is_not_a_plain_function_is_refused() -> None:
    wrapped = functools.wraps(named)(lambda params, facts: named(params, facts))
    others: list[Any] = [functools.partial(named), wrapped, print, NoParams]
    for what in others:
        with pytest.raises(PolicyRuleError, match="a plain function"):
            policy("named", NoParams())(what)


def test_an_example_of_another_type_is_refused() -> None:
    with pytest.raises(PolicyRuleError, match=r"example \[2\] is of type \[OtherFacts\]"):
        policy("named", NoParams(), examples=[NoFacts(), OtherFacts()])(named)


@pytest.mark.parametrize(("old", "new"), [('"w"', '"other"'), ("def plain", "def plane"), ("facts: F", "them: F")])
def test_a_rule_whose_file_was_edited_since_it_was_imported_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = HEADER + 'def plain(params: P, facts: F):\n    return first_match(otherwise("r", allow(), why="w"))\n'
    module = load(tmp_path, text)
    Path(str(module.__file__)).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PolicyRuleError, match="is not what its file now says"):
        policy("plain", module.P())(module.plain)


def test_too_long_and_too_deep_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyRuleError, match="more than 5000 parts"):
        plain(tmp_path, rule(f"x = [{', '.join(['1'] * 5_001)}]\n{OK}"))
    with pytest.raises(PolicyRuleError, match="more than 60 levels deep"):
        plain(tmp_path, rule(f"x = {'-' * 70}1\n{OK}"))
    with pytest.raises(PolicyRuleError, match="1001 items"):
        plain(tmp_path, rule(f"x = T[0]\n{OK}", before="T = tuple(range(1001))"))
    with pytest.raises(PolicyRuleError, match="document of"):
        plain(tmp_path, rule(OK, examples="*[F(x=n, name='n' * 3000) for n in range(100)]"))


SOUND = {
    "rows that are unpacked": 'rows = [otherwise("a", allow(), why="w")]\nreturn first_match(*rows)',
    "a condition by a name": 'ok = facts.x > 1\nreturn first_match(case("a", ok, allow(), why="w", why_not="n"))',
    "an effect by a name": 'e = allow() if facts.x > 1 else deny()\nreturn first_match(otherwise("a", e, why="w"))',
    "a name from the facts": 'return first_match(otherwise(facts.name, allow(), why="w"))',
    "a wrong call on one branch that only runs shows": (
        "holds = facts.x if facts.x > 100 else facts.x > 1\n"
        'return first_match(case("a", holds, allow(), why="w", why_not="n"))'
    ),
    "a rule that raises something of its own on everything": "x = facts.items[9]\nreturn first_match()",
    "a local name that is one of loom's": 'allow = facts.x\nreturn first_match(otherwise("a", deny(), why="w"))',
}


@pytest.mark.parametrize("what", SOUND)
def test_a_rule_is_not_refused_for(what: str, tmp_path: Path) -> None:
    plain(tmp_path, rule(SOUND[what]))


def test_a_rule_whose_facts_cannot_be_made_up_is_not_tried(tmp_path: Path) -> None:
    facts = 'class G(Facts):\n    code: str = Field(pattern="^[A-Z]{40}[0-9]{7}$")\n'
    text = (
        f'{facts}@policy("plain", P())\ndef plain(params: P, facts: G) -> Evaluation:\n'
        '    return first_match(case("a", facts.code, allow(), why="w", why_not="n"))\n'
    )
    assert plain(tmp_path, text).evaluate({"code": "A" * 40 + "1" * 7}).details["error"] == "TypeError"


def test_facts_are_made_up_for_every_type_that_facts_may_have(tmp_path: Path) -> None:
    text = """
class Level(StrEnum):
    LOW = "low"
class Item(Facts):
    price: Decimal = Field(gt=0, le=10)
    count: int = Field(ge=3, multiple_of=3)
class G(Facts):
    flag: bool
    ratio: float = Field(ge=0, lt=1)
    name: str = Field(min_length=2, max_length=3)
    on: date
    at: datetime
    level: Level
    word: Literal["a", "b"]
    maybe: Item | None
    items: tuple[Item, ...]
    pair: tuple[int, str]
    many: list[int] = Field(min_length=2)
@policy("plain", P())
def plain(params: P, facts: G) -> Evaluation:
    return first_match(otherwise("a", allow(), why="w"))
"""
    found = list(probes(plain(tmp_path, "from typing import Literal\n" + text).facts_model))
    assert len(found) == 4
    assert len({each.model_dump_json() for each in found}) == 4
