"""`${VAR}` and `${VAR:-default}`: filled in after parsing, so that a variable can never add a key.

Only in values that are text, never in keys, and once: what a variable holds is not filled in again.
`$${` gives `${`. The default applies, as in a shell, when the variable is not set or is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from loom.config.reading import Document, KeyPath, Problem, dotted, is_text

__all__ = ["Environment"]

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<has_default>:-(?P<default>[^{}]*))?\}|\$\{")


class Environment:
    """Fills the variables into one document.

    `used_at` holds the keys where a variable was filled in: their values may be secret and are never shown.
    """

    def __init__(self, variables: Mapping[str, str], *, source: str) -> None:
        self._variables = variables
        self._source = source
        self.used_at: set[KeyPath] = set()
        self.problems: dict[KeyPath, Problem] = {}
        self.unset: set[KeyPath] = set()
        """The keys whose only problem is a variable that is not set."""

    def fill(self, document: Document) -> dict[str, object]:
        """Return the document's values with every reference replaced; note each variable that is not set."""
        return {key: self._walk(value, (key,)) for key, value in document.values.items()}

    def _walk(self, value: object, path: KeyPath) -> object:
        if isinstance(value, dict):
            return {key: self._walk(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._walk(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _REFERENCE.sub(lambda match: self._text_of(match, path), value)
        return value

    def _text_of(self, match: re.Match[str], path: KeyPath) -> str:
        if match[0] == "$${":
            return "${"
        self.used_at.add(path)
        name = match["name"]
        at = f"at [{dotted(path)}] in [{self._source}]"
        if name is None:
            rest = "has a ${ that begins no variable; expected [${NAME} or ${NAME:-default}]: correct it, or write $${"
            return self._refuse(path, f"value {at}", rest)
        text = self._variables.get(name)
        if not text and match["has_default"]:
            return match["default"]
        if text is None:
            rest = f"is not set; it is used {at}: set it, or write ${{{name}:-default}}"
            if path not in self.problems:
                self.unset.add(path)
            self.problems.setdefault(path, Problem(f"environment variable [{name}]", rest))
            return ""
        if not is_text(text):
            rest = f"is not text; it is used {at}; expected [UTF-8]: set it again"
            return self._refuse(path, f"environment variable [{name}]", rest)
        return text

    def _refuse(self, path: KeyPath, where: str, rest: str) -> str:
        if path in self.unset:  # it has more than one problem, and this is the one that stays
            self.unset.discard(path)
            del self.problems[path]
        self.problems.setdefault(path, Problem(where, rest))
        return ""
