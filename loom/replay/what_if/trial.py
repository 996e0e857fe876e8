"""A trial: recorded cases judged under an edited table, with the edits that flipped each.

The result is that of `Replay.judge` on the same cases; a test holds both together on random tables and facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

from loom.errors import AdmissionError
from loom.policies.tables.lint import lint
from loom.policies.tables.table import Table
from loom.replay.judging import Transition
from loom.replay.what_if.bits import FailedBits, Shape
from loom.replay.what_if.columns import Alive, Columns
from loom.replay.what_if.edits import Undoing, edits_of, same_rows
from loom.replay.what_if.results import Case, CellFlips, Flip, Linted, MatrixCell, TrialResult
from loom.replay.what_if.saying import KindSaid, Saying

__all__ = ["Dropped", "Trial"]

_LISTED = 50
_MOST_LISTED = 1_000
_EXAMPLES = 5
_BLOCK = 20_000

_Kind: TypeAlias = tuple[int, int, int]
"""Cases with the same record that fail the same conditions of both tables: the code of the record, and the bits."""


class Dropped(Exception):  # noqa: N818 - it is no error: a newer question came
    """The result is no longer wanted."""


class _Flipped(NamedTuple):
    old: str
    said: KindSaid
    edits: tuple[str, ...]


def _always() -> None:
    """Go on."""


class Trial:
    """Judges the cases of columns under edited versions of one table."""

    def __init__(self, columns: Columns, base: Table) -> None:
        """Begin with the table `base`, from which edits are counted."""
        self.columns = columns
        self.base = base
        self.bits = FailedBits(columns)
        self._shape = Shape(base.layout)
        self._base_fails: list[int] | None = None

    def judge(self, edited: Table, *, listed: int = _LISTED, alive: Alive = _always) -> TrialResult:
        """Return what an edited table says about all cases, with `listed` flips at most, and never over 1,000.

        `alive` is called between steps, and raises `Dropped` if the result is no longer wanted. Raises `AdmissionError`
        if the table is of another policy, or asks for other facts than the columns have.
        """
        self.check(edited)
        shape = Shape(edited.layout)
        if self._base_fails is None:
            self._base_fails = self.bits.of(self._shape, alive)
        fails = self.bits.of(shape, alive)
        counts = self._counted(fails, alive)
        undoing = self._undoing(shape)
        was, now = Saying(self.base, self._shape, self.columns), Saying(edited, shape, self.columns)
        tally, flipped, refused = _Tally(), dict[_Kind, _Flipped](), set[_Kind]()
        for kind, cases in counts.items():
            alive()
            code, old_fails, new_fails = kind
            said, old = now.said(code, new_fails, fails), self.columns.recorded[code].label
            tally.add(old, said, cases)
            if said.label is not None and old is not None and said.label != old:
                before = was.said(code, old_fails, self._base_fails)
                edits = () if before.label == said.label else _words(undoing, old_fails, new_fails, said)
                flipped[kind] = _Flipped(old, said, edits)
            elif said.label == "deny":
                refused.add(kind)
        alive()
        found = _Found(tally, flipped, refused, counts, fails, undoing)
        return self._result(edited, found, listed=min(listed, _MOST_LISTED))

    def check(self, edited: Table) -> None:
        """Raise `AdmissionError` if a table is of another policy, or asks for other facts than the columns have."""
        same = self.base.layout
        if edited.name != same.name or edited.layout.facts != same.facts or edited.layout.missing != same.missing:
            raise AdmissionError(
                f"table [{edited.name}] asks for [{', '.join(edited.layout.facts)}]; expected another version of "
                f"[{same.name}] with the facts [{', '.join(same.facts)}] as they are: edit its rules only"
            )

    def _undoing(self, shape: Shape) -> Undoing | None:
        """Return what finds the edits of a flip; None if rows were added, removed or moved."""
        if not same_rows(self.base.layout, shape.layout):
            return None
        return Undoing(self._shape, shape, edits_of(self.base.layout, shape.layout))

    def _counted(self, fails: list[int], alive: Alive) -> Counter[_Kind]:
        counts: Counter[_Kind] = Counter()
        kinds = self._kinds(fails)
        while block := list(islice(kinds, _BLOCK)):
            alive()
            counts.update(block)
        return counts

    def _kinds(self, fails: list[int]) -> Iterator[_Kind]:
        return zip(self.columns.recorded_codes, self._base_fails or (), fails, strict=True)

    def _result(self, edited: Table, found: _Found, *, listed: int) -> TrialResult:
        tally, flipped, _, counts, fails, undoing = found
        places = self._places(flipped, fails, listed=listed)
        examples = {
            pair: tuple(self.columns.ids[place] for place, _ in some[:_EXAMPLES]) for pair, some in places.items()
        }
        changes = _transitions(flipped, counts, examples)
        cells: Counter[tuple[str, ...]] = Counter()
        for kind, flip in flipped.items():
            cells[flip.edits] += counts[kind]
        in_order = (one for each in changes for one in places[each.old, each.new])
        return TrialResult(
            policy=edited.name,
            hash=edited.version_hash,
            position=self.columns.position,
            cases=len(self.columns),
            older=self.columns.older,
            left_out=self.columns.left_out,
            unchanged=tally.unchanged,
            flipped=sum(counts[kind] for kind in flipped),
            indeterminate=tally.indeterminate,
            not_replayable=dict(sorted(tally.reasons.items())),
            matrix=tuple(
                MatrixCell(old=old, new=new, cases=cases) for (old, new), cases in sorted(tally.matrix.items())
            ),
            transitions=tuple(changes),
            cells=tuple(CellFlips(edits=edits, cases=cases) for edits, cases in cells.most_common()),
            edits=() if undoing is None else tuple(each.words for each in undoing.edits),
            rows_changed=undoing is None,
            listed=tuple(self._flip(place, flip) for place, flip in islice(in_order, listed)),
            refused=tuple(self._refused(found)),
            spans=self.bits.spans(edited.layout),
            findings=tuple(Linted(**finding._asdict()) for finding in lint(edited.layout)),
        )

    def _places(
        self, flipped: Mapping[_Kind, _Flipped], fails: list[int], *, listed: int
    ) -> dict[tuple[str, str], list[tuple[int, _Flipped]]]:
        """Return some cases of each change, the newest first."""
        found: dict[tuple[str, str], list[tuple[int, _Flipped]]] = {
            (each.old, str(each.said.label)): [] for each in flipped.values()
        }
        if not found:
            return found
        most, full = max(listed, _EXAMPLES), 0
        place = len(self.columns)
        reverse = zip(
            reversed(self.columns.recorded_codes), reversed(self._base_fails or ()), reversed(fails), strict=True
        )
        for kind in reverse:
            place -= 1
            flip = flipped.get(kind)
            if flip is None:
                continue
            places = found[flip.old, str(flip.said.label)]
            if len(places) < most:
                places.append((place, flip))
                full += len(places) == most
                if full == len(found):
                    break
        return found

    def _refused(self, found: _Found) -> Iterator[Case]:
        """Yield a few of the newest cases that stay refused."""
        places = range(len(self.columns) - 1, -1, -1) if found.refused else ()
        codes, old = self.columns.recorded_codes, self._base_fails or []
        kept = (each for each in places if (codes[each], old[each], found.fails[each]) in found.refused)
        for place in islice(kept, _EXAMPLES):
            columns = self.columns
            yield Case(decision_id=columns.ids[place], journal=columns.journals[place], facts=columns.facts_at(place))

    def _flip(self, place: int, flip: _Flipped) -> Flip:
        recorded = self.columns.recorded[self.columns.recorded_codes[place]]
        return Flip(
            decision_id=self.columns.ids[place],
            journal=self.columns.journals[place],
            version=recorded.version,
            old=flip.old,
            new=str(flip.said.label),
            old_rule=recorded.rule,
            new_rule=flip.said.rule,
            edits=flip.edits,
            facts=self.columns.facts_at(place),
        )


class _Tally:
    """Adds kinds of cases up."""

    def __init__(self) -> None:
        self.matrix: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, old: str | None, said: KindSaid, cases: int) -> None:
        if said.label is None or old is None:
            self.reasons[str(said.reason)] += cases
        else:
            self.matrix[old, said.label] += cases

    @property
    def unchanged(self) -> int:
        return sum(cases for (old, new), cases in self.matrix.items() if old == new != "indeterminate")

    @property
    def indeterminate(self) -> int:
        return self.matrix["indeterminate", "indeterminate"]


class _Found(NamedTuple):
    """What was found about all kinds of cases."""

    tally: _Tally
    flipped: Mapping[_Kind, _Flipped]
    refused: Collection[_Kind]
    counts: Mapping[_Kind, int]
    fails: list[int]
    undoing: Undoing | None


def _words(undoing: Undoing | None, old_fails: int, new_fails: int, said: KindSaid) -> tuple[str, ...]:
    if undoing is None:
        return ("the rules that were added, removed or moved",)
    edits = undoing.edits if said.over_gaps else undoing.which(old_fails, new_fails)
    return tuple(each.words for each in edits)


def _transitions(
    flipped: Mapping[_Kind, _Flipped],
    counts: Mapping[_Kind, int],
    examples: Mapping[tuple[str, str], Sequence[str]],
) -> list[Transition]:
    cases: Counter[tuple[str, str]] = Counter()
    for kind, flip in flipped.items():
        cases[flip.old, str(flip.said.label)] += counts[kind]
    found = [
        Transition(old=old, new=new, cases=count, examples=tuple(examples[old, new]))
        for (old, new), count in cases.items()
    ]
    return sorted(found, key=lambda each: (-each.loosens, -each.cases, each.old, each.new))
