"""The factor on learning rates and weights."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.errors import ContractError
from munit_zoo.optim.schedules import Constant, Cosine, Linear, Step


def test_step_is_the_references():
    """lr(i) = lr · 0.5^floor(i / 100000) with i from 1: the first update is i = 1."""
    schedule = Step(every=100_000, gamma=0.5)
    for iteration in (0, 99_998, 99_999, 199_999, 999_999):
        assert schedule.factor(iteration, 10**6) == 0.5 ** ((iteration + 1) // 100_000)


def test_step_as_torch_counts():
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    schedule = Step(every=3, gamma=0.5, early=False)
    for iteration in range(10):
        assert schedule.factor(iteration, 10) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        theirs.step()


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


def test_linear_between_two_iterations():
    """A weight that falls to nothing over a number of iterations, however long training is."""
    schedule = Linear(start=0.0, stop=100_000.0)
    for iteration in (0, 1, 25_000, 99_999, 100_000, 500_000):
        assert schedule.factor(iteration, 10**6) == pytest.approx(max(0, 1 - iteration / 100_000))


def test_linear_may_rise():
    schedule = Linear(start=0.0, stop=0.5, initial=0.0, final=1.0)
    assert [schedule.factor(i, 100) for i in (0, 25, 50, 99)] == [0.0, 0.5, 1.0, 1.0]


def test_linear_in_steps_is_a_schedule_by_epochs():
    """1 - max(0, epoch + 1 - 100) / 101 for 0-based epochs of 7 iterations, 200 of them."""
    per_epoch = 7
    schedule = Linear(start=99 * 7.0, stop=200 * 7.0, every=per_epoch)
    for epoch in (0, 98, 99, 100, 150, 199):
        for iteration in (epoch * per_epoch, epoch * per_epoch + 6):
            expected = 1 - max(0, epoch + 1 - 100) / 101
            assert schedule.factor(iteration, 200 * per_epoch) == pytest.approx(expected)


def test_cosine_may_end_before_training():
    schedule = Cosine(stop=0.5, final=0.1)
    assert schedule.factor(25, 100) == pytest.approx(0.55)
    assert schedule.factor(50, 100) == schedule.factor(99, 100) == pytest.approx(0.1)


@pytest.mark.parametrize(("start", "stop"), [(0.5, 0.5), (0.6, 0.2), (20.0, 10.0)])
def test_a_line_that_ends_before_it_begins_is_refused(start: float, stop: float):
    with pytest.raises(ContractError, match="it comes after START"):
        Linear(start=start, stop=stop)


def test_counting_in_epochs_is_the_published_rule():
    """1 - max(0, epoch + 1 - 100) / 101 (CycleGAN), whatever the length of an epoch."""
    schedule = Linear(start=99.0, stop=200.0, unit="epochs")
    for per_epoch in (1, 7, 134):
        for epoch in (0, 98, 99, 100, 150, 199):
            for iteration in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
                expected = 1 - max(0, epoch + 1 - 100) / 101
                found = schedule.factor(iteration, 200 * per_epoch, per_epoch)
                assert found == pytest.approx(expected)


def test_steps_and_cosines_by_epochs():
    step = Step(every=50, gamma=0.1, unit="epochs")  # torch's StepLR, an epoch at a time
    factors = [step.factor(i, 2000, 10) for i in (0, 499, 500, 999, 1000)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = Cosine(unit="epochs")
    by_epoch = [cosine.factor(10 * e + 3, 1000, 10) for e in (0, 50, 99)]
    assert by_epoch == pytest.approx([Cosine().factor(e, 100) for e in (0, 50, 99)])
