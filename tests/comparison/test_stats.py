"""Intervals against published tables."""

from __future__ import annotations

import math

import pytest

from munit_zoo.comparison.stats import paired_difference, student_quantile, wilson


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # Student's t, 97.5 %, as tables of it have it
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)],
)
def test_student(freedom: int, quantile: float):
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-5)


def test_paired_differences():
    found = paired_difference([(1.0, 0.0), (3.0, 1.0), (5.0, 2.0)])
    half = 4.30265 * 1.0 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half), rel=1e-5)
    assert found.holds_zero
    assert not paired_difference([(1.0, 0.0), (1.1, 0.0), (0.9, 0.0)]).holds_zero
    assert not paired_difference([(0.0, 1.0), (0.0, 1.1), (0.0, 0.9)]).holds_zero
    alone = paired_difference([(1.0, 0.5), (math.nan, 0.0)])
    assert (alone.mean, alone.count) == (0.5, 1)
    assert math.isnan(alone.low)
    assert alone.holds_zero
    assert paired_difference([]).count == 0


def test_wilson():
    # Wilson's interval of 8 of 10 at 95 %, as Newcombe (1998) computes it: .4902 to .9433
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(0, 0) == (0, 1)
