"""The factor on the learning rate."""

from __future__ import annotations

import pytest

from munit_zoo.engine.schedules import Constant, Cosine, Linear, Step


def test_step_is_the_references():
    """lr(i) = lr · 0.5^floor(i / 100000) with i from 1: the first update is i = 1."""
    schedule = Step(every=100_000, gamma=0.5)
    for iteration in (0, 99_998, 99_999, 199_999, 999_999):
        assert schedule.factor(iteration, 10**6) == 0.5 ** ((iteration + 1) // 100_000)


def test_constant():
    assert {Constant().factor(i, 10) for i in range(10)} == {1.0}


def test_linear_falls_over_the_last_part():
    schedule = Linear(start=0.6, final=0.1)
    assert schedule.factor(59, 100) == schedule.factor(60, 100) == 1.0
    assert schedule.factor(80, 100) == pytest.approx(0.55)
    assert schedule.factor(100, 100) == schedule.factor(120, 100) == pytest.approx(0.1)


def test_cosine_warms_up_and_falls():
    schedule = Cosine(warmup=10, final=0.0)
    assert [schedule.factor(i, 110) for i in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule.factor(10, 110) == 1.0
    assert schedule.factor(60, 110) == pytest.approx(0.5)
    assert schedule.factor(110, 110) == pytest.approx(0.0)
