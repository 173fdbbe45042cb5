"""Initialisations: the spread of what they draw, and what they leave alone."""

from __future__ import annotations

import math
import typing

import pytest
import torch
from torch import nn

from munit_zoo.blocks import conv2d, initialise
from munit_zoo.blocks.init import Init

WAYS = typing.get_args(Init)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("how", "spread"),
    [
        ("kaiming", math.sqrt(2 / (32 * 9))),
        ("xavier", math.sqrt(2) * math.sqrt(2 / ((32 + 64) * 9))),
        ("gaussian", 0.02),
        ("gaussian_convs", 0.02),
    ],
)
def test_spread_of_a_convolution(how, spread):
    layer = nn.Conv2d(32, 64, 3)
    initialise(layer, how)
    assert float(layer.weight.detach().std()) == pytest.approx(spread, rel=0.03)
    assert float(layer.weight.mean()) == pytest.approx(0, abs=spread / 20)
    assert bool(layer.bias.any()) == (how == "gaussian_convs")


def test_gaussian_convs_leave_linear_layers_as_they_are():
    layer = nn.Linear(8, 8)
    before = layer.weight.detach().clone()
    initialise(layer, "gaussian_convs")
    assert torch.equal(layer.weight, before)
    initialise(layer, "gaussian")
    assert not torch.equal(layer.weight, before)


def test_orthogonal_has_gain_sqrt_2():
    layer = nn.Linear(64, 32)
    initialise(layer, "orthogonal")
    torch.testing.assert_close(
        layer.weight @ layer.weight.T, 2 * torch.eye(32), atol=1e-5, rtol=1e-5
    )
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("how", "spread"),
    [
        ("kaiming", math.sqrt(2 / (32 * 9))),  # whatever the gain
        ("xavier", 0.1 * math.sqrt(2 / ((32 + 64) * 9))),
        ("gaussian", 0.1),
        ("orthogonal", 0.1 / math.sqrt(64 * 9)),
    ],
)
def test_gain_of_a_transposed_convolution(how, spread):
    layer = nn.ConvTranspose2d(64, 32, 3) if how != "orthogonal" else nn.Conv2d(64, 32, 3)
    initialise(layer, how, gain=0.1)
    assert float(layer.weight.detach().std()) == pytest.approx(spread, rel=0.03)
    assert not layer.bias.any()


def test_weights_of_batch_norms_are_drawn_where_asked():
    layer = nn.Sequential(nn.BatchNorm2d(4000), nn.BatchNorm2d(2, affine=False))
    initialise(layer, "gaussian", gain=0.1)
    assert (layer[0].weight == 1).all()
    initialise(layer, "gaussian", gain=0.1, norms=True)
    assert float(layer[0].weight.detach().std()) == pytest.approx(0.1, rel=0.05)
    assert float(layer[0].weight.detach().mean()) == pytest.approx(1, abs=0.01)
    initialise(layer, "xavier", norms=True)
    assert float(layer[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_default_changes_nothing():
    layer = nn.Conv2d(4, 4, 3)
    before = layer.weight.clone(), layer.bias.clone()
    initialise(layer, "default")
    torch.testing.assert_close((layer.weight, layer.bias), before, rtol=0, atol=0)


def test_legacy_spectral_convolutions_are_skipped_bias_included():
    layer = conv2d(4, 4, 3, weight_norm="spectral_legacy")
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    initialise(nn.Sequential(layer, nn.Conv2d(4, 4, 1)), "gaussian")
    torch.testing.assert_close(dict(layer.state_dict()), before, rtol=0, atol=0)
    assert layer.bias.any()


@pytest.mark.parametrize("training", [True, False])
def test_spectral_norm_fits_the_weight_that_was_drawn(training):
    """With vectors of the weight it was built on, σ came out 17 times too small."""
    layer = conv2d(64, 64, 3, weight_norm="spectral").train(training)
    initialise(layer, "gaussian")
    assert layer.training is training
    assert float(layer.parametrizations.weight.original.std()) == pytest.approx(0.02, rel=0.03)
    norm = torch.linalg.matrix_norm(layer.eval().weight.flatten(1), 2)
    assert float(norm) == pytest.approx(1, abs=0.05)
    assert not layer.bias.any()


def test_weight_norm_starts_at_the_weight_that_was_drawn():
    layer = conv2d(32, 64, 3, weight_norm="weight")
    initialise(layer, "gaussian")
    assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    magnitude = layer.parametrizations.weight.original0.flatten()
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), magnitude)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("weight_norm", ["none", "spectral", "spectral_legacy", "weight"])
def test_on_meta(how, weight_norm):
    with torch.device("meta"):
        layer = conv2d(4, 8, 3, weight_norm=weight_norm)
        initialise(layer, how)
        assert layer(torch.empty(1, 4, 5, 5)).shape == (1, 8, 3, 3)
    assert layer.weight.is_meta
