"""Evidence that a yes-or-no thing happens to a person's answers more often than is tolerated.

A Shiryaev-Roberts e-detector (Shin, Ramdas, Rinaldo: "E-detectors", 2023): a sum of likelihood ratios, one for each
answer from which on the thing may happen more often. Where its chance is at most the tolerated share at each answer,
given the answers before, the statistic grows by one an answer on average, so that it reaches `n / alpha` within `n`
answers with a chance of at most `alpha` (Doob). No table, no simulation and no normal distribution is needed for that.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["evidence_in"]

_MOST = 1e12


def evidence_in(happened: Iterable[bool], *, tolerated: float, suspected: float) -> float:
    """Return the highest value that the statistic reached, at most 10¹²; 0 without an answer.

    `tolerated` and `suspected` are shares of the answers, 0 < tolerated < suspected < 1.
    """
    yes, no = suspected / tolerated, (1 - suspected) / (1 - tolerated)
    now = highest = 0.0
    for each in happened:
        now = min((1 + now) * (yes if each else no), _MOST)
        highest = max(highest, now)
    return highest
