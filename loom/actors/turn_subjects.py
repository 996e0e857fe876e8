"""The protected values that a turn has handled, and their subjects: free text and messages must not repeat them."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel

from loom.sealing import declaration_of, plain_of, redacted, subjects_in, texts_in

__all__ = ["TurnSubjects"]


class TurnSubjects:
    """The protected values of one turn: those of its command, and what its steps add.

    They are held in memory only. A resumed turn adds the same values in the same order of its steps.
    """

    __slots__ = ("_subjects", "_texts", "_touched")

    def __init__(self) -> None:
        self._subjects: set[str] = set()
        self._texts: set[str] = set()
        self._touched = False

    @classmethod
    def of(cls, model: BaseModel, *, subject: str | None) -> TurnSubjects:
        """Return those of a model, such as a command, whose values are its own plain ones. `subject` is its default."""
        found = cls()
        found.add_model(model, subject=subject)
        return found

    @property
    def subjects(self) -> frozenset[str]:
        """The subjects whose values were handled."""
        return frozenset(self._subjects)

    @property
    def texts(self) -> frozenset[str]:
        """The protected values as plain text, parts of objects and lists included."""
        return frozenset(self._texts)

    @property
    def touched(self) -> bool:
        """Whether the turn has handled declared values: then the messages of its errors are not kept."""
        return self._touched

    def add(self, subjects: Collection[str], texts: Collection[str]) -> None:
        """Note protected values, and their subjects: none for values that were masked or dropped."""
        self._touched = True
        self._subjects.update(subjects)
        self._texts.update(texts)

    def add_model(self, model: BaseModel, *, subject: str | None) -> None:
        """Note the declared values of a model; one without declarations adds nothing."""
        declared = declaration_of(type(model))
        if not declared:
            return
        plain = plain_of(model)
        self.add(subjects_in(plain, declared, subject=subject), texts_in(plain, declared, subject=subject))

    def redact(self, text: str) -> str:
        """Return free text with exact occurrences of the protected values, of 4 characters or more, as `[sealed]`."""
        return redacted(text, self._texts) if self._texts else text
