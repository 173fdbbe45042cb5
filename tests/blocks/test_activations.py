"""Activations against torch's functions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from munit_zoo.blocks import activations
from munit_zoo.registry import ACTIVATIONS

X = torch.linspace(-3, 3, 25, dtype=torch.float64)

EXPECTED = {
    "relu": lambda x: x.clamp_min(0),
    "lrelu": lambda x: torch.where(x > 0, x, 0.2 * x),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "selu": F.selu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "silu": lambda x: x * torch.sigmoid(x),
    "none": lambda x: x,
}


def test_all_are_tested():
    assert set(ACTIVATIONS.list()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_activation_is_its_formula(name):
    activation = ACTIVATIONS.factory(name)().double()
    torch.testing.assert_close(activation(X), EXPECTED[name](X))


def test_settings():
    torch.testing.assert_close(activations.LeakyReLU(negative_slope=0.5)(X)[0], X[0] / 2)
    torch.testing.assert_close(
        activations.GELU(approximate="tanh")(X), F.gelu(X, approximate="tanh")
    )
    prelu = activations.PReLU(init=0.1)
    assert [name for name, _ in prelu.named_parameters()] == ["weight"]
    assert prelu.weight.tolist() == pytest.approx([0.1])
