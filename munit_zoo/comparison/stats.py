"""Intervals: of paired differences, and of shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from munit_zoo.metrics.report import spread_of

__all__ = ["Difference", "paired_difference", "student_quantile", "wilson"]

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval; NaN where fewer than two pairs leave it open."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def holds_zero(self) -> bool:
        """Whether the interval holds 0; of an open one, yes."""
        return not (self.low > 0 or self.high < 0)


def paired_difference(pairs: Sequence[tuple[float, float]], level: float = LEVEL) -> Difference:
    """Mean of the differences (first minus second), with Student's interval.

    Pairs in which a number is missing (NaN) are left out.
    """
    found = [one - other for one, other in pairs if not math.isnan(one - other)]
    if not found:
        return Difference(math.nan, math.nan, math.nan, 0)
    mean, deviation = spread_of(found)
    if len(found) < 2:
        return Difference(mean, math.nan, math.nan, len(found))
    half = student_quantile((1 + level) / 2, len(found) - 1) * deviation / math.sqrt(len(found))
    return Difference(mean, mean - half, mean + half, len(found))


def student_quantile(share: float, freedom: int) -> float:
    """The number below which a share (above one half) of Student's distribution lies.

    By bisection of the distribution in its closed form for whole degrees of freedom (Abramowitz
    and Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < 2 * share - 1:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if _within(middle, freedom) < 2 * share - 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Share of Student's distribution between -t and t."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(freedom // 2):
        total += term
        step = 2 * k + 1 + odd
        term *= cosine * cosine * step / (step + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def wilson(successes: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval (1927) of a share; (0, 1) of nothing."""
    if not total:
        return 0.0, 1.0
    z = _normal_quantile((1 + level) / 2)
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = share * (1 - share) / total + z * z / (4 * total * total)
    half = z / (1 + z * z / total) * math.sqrt(spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def _normal_quantile(share: float) -> float:
    low, high = 0.0, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        if (1 + math.erf(middle / math.sqrt(2))) / 2 < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
