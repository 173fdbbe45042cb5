"""A batch in parts is the whole batch: ENGINE.ACCUMULATE."""

from __future__ import annotations

import pytest
import torch
from _recipes import inputs_of
from _training import CYCLEGAN, MUNIT, STARGAN_V2, Training

from munit_zoo.config import load_config
from munit_zoo.errors import UsageError

CASES = {"munit": (MUNIT, 16), "pools": (CYCLEGAN, 16), "K domains, R1": (STARGAN_V2, 32)}


@pytest.fixture
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "case", ["pools", *(pytest.param(c, marks=pytest.mark.slow) for c in CASES if c != "pools")]
)
def test_parts_of_a_batch_are_the_batch(in_float64, tiny, case: str):
    (name, *overrides), side = CASES[case]
    overrides = [*tiny, *overrides] if case == "munit" else overrides
    config = load_config(name, *overrides, "ENGINE.BATCH_SIZE=6")
    sizes = {domain.lower(): (side, side) for domain in config.DOMAINS}
    found = []
    for parts in (1, 3):
        torch.manual_seed(0)
        training = Training(config.plain(), sizes, f"ENGINE.ACCUMULATE={parts}")
        losses = []
        for iteration in range(3):
            torch.manual_seed(iteration)
            inputs = inputs_of(training.objective, side, 6)
            losses.append(training.step(inputs, iteration))
        found.append((losses, training.model.state_dict()))
    (whole, weights), (sums, others) = found
    for one, other in zip(whole, sums, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=1e-9, atol=1e-11, msg=key)
    for key, value in weights.items():
        # of a bias that a norm removes again, Adam scales up the rounding
        loose = key.endswith("bias") and "discriminator" not in key
        torch.testing.assert_close(
            others[key], value, rtol=0, atol=1e-8 if loose else 1e-10, msg=key
        )


def test_a_batch_that_cannot_be_parted(tiny):
    config = load_config("munit/shapes", *tiny, "ENGINE.BATCH_SIZE=4", "ENGINE.ACCUMULATE=3")
    training = Training(config.plain(), {"a": (16, 16), "b": (16, 16)})
    with pytest.raises(UsageError, match="a batch of 4 cannot be computed in 3 equal parts"):
        training.step(inputs_of(training.objective, 16, 4), 0)
