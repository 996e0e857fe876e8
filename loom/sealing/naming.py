"""The name of a subject: the person, or other party, that values are sealed for.

It is in headers that are hashed and in values that anyone may read, so it must not be personal itself.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from loom.errors import InvalidNameError

__all__ = ["check_subject"]

_LONGEST = 200


def check_subject(subject: object) -> str:
    """Return the name of a subject if it is one: 1 to 200 printable characters in the normal form NFC.

    Raises `InvalidNameError`. Two spellings of one name would be two subjects, of whom one is erased and one is not.
    """
    if not isinstance(subject, str):
        raise InvalidNameError(
            f"subject is a [{type(subject).__name__}]; expected [1 to {_LONGEST} printable characters]: name one"
        )
    return _checked(subject)


@lru_cache(maxsize=4_096)
def _checked(subject: str) -> str:
    problem = None
    if not subject or len(subject) > _LONGEST:
        problem = f"has {len(subject)} characters"
    elif not subject.isprintable():
        problem = "contains control or invisible characters"
    elif subject != subject.strip():
        problem = "begins or ends with white space"
    elif not unicodedata.is_normalized("NFC", subject):
        problem = "is not in the normal form NFC"
    if problem is None:
        return subject
    raise InvalidNameError(
        f"subject [{subject[:60]!a}] {problem}; expected [1 to {_LONGEST} printable characters in NFC]: choose another"
    )
