"""What if: recorded decisions as columns in memory, judged again each time that a cell of a table is edited."""

from __future__ import annotations

from loom.replay.what_if.columns import Columns, load_columns
from loom.replay.what_if.edits import Edit
from loom.replay.what_if.process import WhatIfProcess
from loom.replay.what_if.results import CellFlips, Flip, Sweep, SweepPoint, TrialResult
from loom.replay.what_if.sweeping import sweep
from loom.replay.what_if.trial import Dropped, Trial

__all__ = [
    "CellFlips",
    "Columns",
    "Dropped",
    "Edit",
    "Flip",
    "Sweep",
    "SweepPoint",
    "Trial",
    "TrialResult",
    "WhatIfProcess",
    "load_columns",
    "sweep",
]
