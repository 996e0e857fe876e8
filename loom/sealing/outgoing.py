"""Values that leave loom for a recipient that is not a reader: a model, a critic, a notice. Sealed values stay sealed.

The config names the paths that a recipient may see in plain. Each opening for it is journaled first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pydantic import JsonValue

from loom.errors import ErasedError
from loom.identity import Identity
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalStore, draft
from loom.sealing.access import AccessJournal, SealedOpenedEntry
from loom.sealing.facts import placeholders_in
from loom.sealing.markers import WITHHELD_AS, Erased, SealedValue, Withheld
from loom.sealing.pointers import names_in, replaced
from loom.sealing.subjects import Subjects

__all__ = ["Outgoing"]


class Outgoing:
    """Prepares plain JSON for a place outside: `to` says which, `plain_fields` what of it goes there opened.

    A field is a path of names joined by dots, `*` for any: `facts.industry`, `inputs.*.result.plan`. Without a vault,
    nothing is opened. What is not named is `sealed`, `erased`, `masked`, `hashed` or `dropped` on its way.
    """

    def __init__(
        self,
        store: JournalStore,
        subjects: Subjects | None,
        *,
        to: str,
        plain_fields: Collection[str] = (),
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._store = store
        self._subjects = subjects
        self._to = to
        self._plain = [tuple(each.split(".")) for each in plain_fields]
        self._access = AccessJournal(store, make_draft=make_draft)

    async def shown(self, value: JsonValue, *, what: str) -> JsonValue:
        """Return JSON as it may leave; `what` names it where the opening is journaled, such as a decision by its id."""
        words: dict[str, JsonValue] = {path: self._word(each) for path, each in placeholders_in(value, "")}
        return replaced(value, words | (await self._opened(value, what) if self._plain else {}))

    async def _opened(self, value: JsonValue, what: str) -> dict[str, JsonValue]:
        """Return path → plain value of the sealed values that are named, once that is journaled."""
        vault = None if self._subjects is None else self._subjects.vault
        if vault is None:
            return {}
        named = {
            path: each
            for path, each in placeholders_in(value, "")
            if isinstance(each, SealedValue)
            and self._is_named(path)
            and not vault.is_erased(each.subject, each.generation)
        }
        if not named:
            return {}
        fields: list[JsonValue] = [*sorted(_in_words(path) for path in named)]
        entry = SealedOpenedEntry(
            **Identity.of_system(self._to).written(),
            subjects=tuple(sorted({each.subject for each in named.values()})),
            purpose=self._to,
            what={"shown": what, "fields": fields},
            until=self._store.acknowledged,
            reason="the config names these fields",
        )
        await self._access.write(entry)
        opened: dict[str, JsonValue] = {}
        for path, each in named.items():
            try:
                opened[path] = await vault.open(each.as_json(), subject=each.subject)
            except ErasedError:  # since; or its key is lost
                continue
        return opened

    def _word(self, stands: SealedValue | Erased | Withheld) -> str:
        match stands:
            case Withheld(how=how):
                return WITHHELD_AS[how]
            case SealedValue(subject, generation):
                erased = self._subjects is not None and self._subjects.erasures.is_ended(subject, generation)
                return "erased" if erased else "sealed"
        return "erased"

    def _is_named(self, path: str) -> bool:
        return any(_matches(pattern, names_in(path)) for pattern in self._plain)


def _matches(pattern: Sequence[str], steps: Sequence[str]) -> bool:
    return len(pattern) == len(steps) and all(each in ("*", step) for each, step in zip(pattern, steps, strict=True))


def _in_words(path: str) -> str:
    return ".".join(names_in(path))
