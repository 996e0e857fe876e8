"""The keys of cases, computed a second time: from a rule's declaration alone, with nothing but the standard library.

It shares no line with loom and reads like the definition, so it can be run by a Python that has no loom:
`python independent.py < cases.json` prints the keys of every case.
"""

from __future__ import annotations

import hashlib
import json
import sys
from fractions import Fraction
from typing import Any

SAFE = 2**53 - 1


def digest(domain: str, document: Any) -> str:
    # RFC 8785 for what occurs here: no floats, and names that sort alike by code point and by UTF-16.
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(domain.encode() + b"\n" + text.encode("utf-8")).hexdigest()


def exact(value: Any) -> Any:
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, float):
        return int(value) if value == int(value) and abs(value) <= SAFE else {"$number": repr(value)}
    return value


def looked_up(facts: Any, name: str) -> Any:
    if name in facts:
        return facts[name]
    for part in name.split("."):
        facts = facts[part]
    return facts


def part(attribute: Any, value: Any) -> int:
    number = Fraction(value if isinstance(value, str) else repr(value))
    low, high = Fraction(attribute["low"]), Fraction(attribute["high"])
    bins: int = attribute["bins"]
    for index in range(bins):
        if number < low + (high - low) * (index + 1) / bins:
            return index
    return bins - 1


def members(values: Any) -> Any:
    texts = {json.dumps(exact(value), separators=(",", ":"), ensure_ascii=False) for value in values}
    return [json.loads(text) for text in sorted(texts, key=lambda text: text.encode("utf-8"))]


def material(attributes: Any, values: Any) -> Any:
    found = {}
    for attribute in attributes:
        [(how, name)] = [(how, attribute[how]) for how in ("exact", "bin", "set") if how in attribute]
        value = looked_up(values, name)
        found[name] = part(attribute, value) if how == "bin" else members(value) if how == "set" else exact(value)
    return found


def keys(rule: Any, facts: Any, outcome: Any) -> dict[str, str]:
    full_hash = digest("loom/equivalence/v1", rule)
    alike = material(rule["attributes"], facts)
    decided = material(rule["outcome"], outcome)
    return {
        "rule": full_hash,
        "situation": digest("loom/situation/v1", {"rule": full_hash, "facts": alike}),
        "precedent": digest("loom/precedent/v1", {"rule": full_hash, "facts": alike, "outcome": decided}),
    }


if __name__ == "__main__":
    given = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    sys.stdout.write(json.dumps([keys(each["rule"], each["facts"], each["outcome"]) for each in given]))
