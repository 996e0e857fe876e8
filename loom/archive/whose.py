"""The subjects that a body concerns: by its own sealed values, those of its turn, and the name of its journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from loom.errors import InvalidNameError
from loom.identity import parse_journal_name
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry
from loom.sealing import Erasures, Vault, check_subject
from loom.sealing.concerning import sealed_in

__all__ = ["Whose"]


class Whose:
    """Finds the subjects that bodies concern: give it all entries by `take` first, then call `of`.

    A body concerns the subjects for whom something in its turn is sealed, the subject that its command names, and the
    subject whose name is the key of the journal, if the vault has keys of that name, or had them.
    """

    def __init__(self, vault: Vault, erasures: Erasures) -> None:
        self._vault = vault
        self._erasures = erasures
        self._turns: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self._generations: dict[str, int | None] = {}

    def take(self, recorded: Recorded) -> None:
        """Collect the subjects that an entry adds to its turn."""
        if recorded.command_id is None or recorded.body is None:
            return
        found = self._own(recorded)
        if found:
            turn = self._turns[recorded.journal, recorded.command_id]
            for name, generation in found.items():
                turn[name] = max(generation, turn.get(name, 0))

    async def of(self, recorded: Recorded) -> dict[str, int]:
        """Return subject → the newest valid generation of its keys, for all subjects that a body concerns."""
        found = self._own(recorded)
        if recorded.command_id is not None:
            for name, generation in self._turns.get((recorded.journal, recorded.command_id), {}).items():
                found[name] = max(generation, found.get(name, -1))
        key = parse_journal_name(recorded.journal).key
        if key not in found and await self._generation(key) is not None:
            found[key] = -1
        return {name: await self.generation(name) if each < 0 else each for name, each in found.items()}

    def is_erased(self, subjects: Mapping[str, int]) -> bool:
        """Tell whether one of the subjects of a body was erased."""
        return any(self._erasures.is_ended(name, generation) for name, generation in subjects.items())

    def _own(self, recorded: Recorded) -> dict[str, int]:
        """Return the subjects that a body names; -1 is a generation that is still to be found."""
        found: dict[str, int] = {}
        for sealed in sealed_in(recorded):
            found[sealed.subject] = max(sealed.generation, found.get(sealed.subject, 0))
        if recorded.kind == CommandReceivedEntry.kind and (body := recorded.plain) is not None:
            named = body.get("subject")
            if isinstance(named, str):
                found.setdefault(named, -1)
        return found

    async def generation(self, subject: str) -> int:
        """Return the newest valid generation of a subject's keys; 1 for a subject that has none yet."""
        generation = await self._generation(subject)
        return 1 if generation is None else generation

    async def _generation(self, subject: str) -> int | None:
        """Return the generation of a subject's newest keys, or the last one that an erasure ended; None for neither."""
        if subject not in self._generations:
            self._generations[subject] = await self._looked_up(subject)
        return self._generations[subject]

    async def _looked_up(self, subject: str) -> int | None:
        try:
            check_subject(subject)
        except InvalidNameError:
            return None
        keys = await self._vault.known(subject)
        return self._erasures.ended(subject) if keys is None else keys.generation
