"""Long lines of the language of rules, broken before their operands, so that versions compare line by line.

The layout is part of the version hash. Nothing is lost in it: the lines without their indent, joined by blanks,
are the line.
"""

from __future__ import annotations

__all__ = ["laid_out"]

_WIDTH = 100


def laid_out(line: str) -> list[str]:
    """Return the lines that a line is written as."""
    head, bracket, rest = line.partition("(")
    if len(line) <= _WIDTH or not bracket:
        return [line]
    operands = _operands(rest)
    if len(operands) < 2:
        return [line]
    first = 1 if "(" in operands[1] or '"' in operands[1] else 2
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    lines = [head + bracket + " ".join(operands[:first])]
    for operand in operands[first:]:
        lines.extend(laid_out(indent + operand))
    return [*lines[:-1], lines[-1] + ")"]


def _operands(text: str) -> list[str]:
    """Return what stands before the bracket that ends the text; nothing if that bracket does not end it."""
    operands, start, depth, quoted, escaped = [], 0, 0, False, False
    for index, sign in enumerate(text):
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign == "(":
            depth += 1
        elif depth == 0 and sign in " )":
            operands.append(text[start:index])
            start = index + 1
            if sign == ")":
                return operands if start == len(text) else []
        elif sign == ")":
            depth -= 1
    return []
