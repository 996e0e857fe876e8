"""`loom demo`: the discount-approval story, played on the terminal with a real journal and a real kill."""

from __future__ import annotations
