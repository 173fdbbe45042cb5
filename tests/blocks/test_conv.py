"""Convolution blocks: padding, weight norms, what reaches the norm."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from munit_zoo.blocks import ConvBlock, LegacySpectralConv2d, Padding, conv2d
from munit_zoo.blocks.activations import ReLU
from munit_zoo.blocks.conv import by_columns
from munit_zoo.blocks.norms import AdaIN, InstanceNorm
from munit_zoo.errors import GraphError


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("pad_type", "mode"), [("reflect", "reflect"), ("replicate", "replicate"), ("zero", "constant")]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_block_is_pad_conv_norm_activation(pad_type, mode, stride):
    block = ConvBlock(
        3, 5, 4, stride=stride, padding=1, pad_type=pad_type, norm=InstanceNorm, activation=ReLU
    ).double()
    x = image(2, 3, 9, 8)
    y = F.conv2d(
        F.pad(x, (1, 1, 1, 1), mode=mode), block.conv.weight, block.conv.bias, stride=stride
    )
    torch.testing.assert_close(block(x), InstanceNorm(5)(y).relu())


@pytest.mark.parametrize("pad_type", ["reflect", "replicate", "zero"])
def test_names_do_not_depend_on_the_padding(pad_type):
    names = list(ConvBlock(3, 5, 3, pad_type=pad_type).state_dict())
    assert names == ["conv.weight", "conv.bias"]


def test_default_padding_keeps_the_size():
    for kernel in (1, 3, 5, 7):
        assert ConvBlock(3, 5, kernel)(torch.zeros(1, 3, 8, 10)).shape == (1, 5, 8, 10)


def test_no_bias():
    assert list(ConvBlock(3, 5, 3, bias=False).state_dict()) == ["conv.weight"]


def test_parameters_reach_only_a_norm_that_takes_them():
    x, parameters = image(2, 3, 6, 6), image(2, 10)
    steered = ConvBlock(3, 5, 3, norm=AdaIN).double()
    assert steered.num_parameters == 10
    expected = AdaIN(5)(steered.conv(steered.pad(x)), parameters)
    torch.testing.assert_close(steered(x, parameters), expected)
    plain = ConvBlock(3, 5, 3, norm=InstanceNorm).double()
    assert plain.num_parameters == 0
    torch.testing.assert_close(plain(x, parameters), plain(x))


def test_reflection_that_needs_more_than_there_is():
    assert Padding(3, "reflect")(torch.zeros(1, 1, 4, 4)).shape == (1, 1, 10, 10)
    with pytest.raises(GraphError, match=r"3×8 is too small to be padded by 3"):
        Padding(3, "reflect")(torch.zeros(1, 1, 3, 8))
    assert Padding(3, "replicate")(torch.zeros(1, 1, 3, 8)).shape == (1, 1, 9, 14)


# Weight norms


def power_iteration(weight: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, ...]:
    matrix = weight.flatten(1)
    v = matrix.T @ u
    v = v / (v.norm() + 1e-12)
    u = matrix @ v
    u = u / (u.norm() + 1e-12)
    return u, v, u @ matrix @ v


@pytest.mark.parametrize("training", [True, False])
def test_legacy_spectral_norm_iterates_at_every_forward(training):
    layer = LegacySpectralConv2d(3, 6, 3).double().train(training)
    assert list(layer.state_dict()) == ["weight", "bias", "u", "v"]
    x, u = image(1, 3, 8, 8), layer.u.clone()
    for _ in range(3):
        u, v, sigma = power_iteration(layer.weight, u)
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight / sigma, layer.bias))
        torch.testing.assert_close((layer.u, layer.v), (u, v))


def test_legacy_spectral_norm_holds_its_vectors_constant():
    layer = LegacySpectralConv2d(3, 6, 3).double()
    x = image(1, 3, 8, 8)
    weight = layer.weight.detach().clone().requires_grad_()
    with torch.no_grad():
        u, v, _ = power_iteration(weight, layer.u)
    sigma = u @ weight.flatten(1) @ v
    F.conv2d(x, weight / sigma, layer.bias).square().sum().backward()
    layer(x).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)


def test_legacy_spectral_norm_two_forwards_before_one_backward():
    layer = LegacySpectralConv2d(3, 6, 3).double()
    twin = copy.deepcopy(layer)
    x, y = image(1, 3, 8, 8), image(1, 3, 8, 8)
    (layer(x).square().sum() + layer(y).square().sum()).backward()
    twin(x).square().sum().backward()
    twin(y).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, twin.weight.grad)


def test_legacy_spectral_norm_without_gradient():
    layer = LegacySpectralConv2d(3, 6, 3)
    before = layer.u.clone()
    with torch.no_grad():
        layer(torch.zeros(1, 3, 8, 8))
    assert not torch.equal(layer.u, before)


def test_legacy_spectral_norm_iterates_in_full_precision_under_autocast():
    layer = LegacySpectralConv2d(3, 6, 3)
    u, _, _ = power_iteration(layer.weight, layer.u)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        layer(torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(layer.u, u, atol=1e-6, rtol=1e-5)


def test_hook_spectral_norm_is_torchs_older_one():
    layer = conv2d(3, 6, 3, weight_norm="spectral_hook").double()
    theirs = nn.utils.spectral_norm(nn.Conv2d(3, 6, 3).double())
    names = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v", "bias": "bias"}
    state = layer.state_dict()
    theirs.load_state_dict({names[name]: state[name].clone() for name in state}, strict=False)
    for training in (True, False, True):
        layer.train(training)
        theirs.train(training)
        x = image(1, 3, 8, 8)
        found, expected = layer(x), theirs(x)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        found.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(layer.weight.grad, theirs.weight_orig.grad)
        torch.testing.assert_close((layer.u, layer.v), (theirs.weight_u, theirs.weight_v))


def test_vectors_of_zeros_mean_a_weight_as_it_is():
    layer = conv2d(3, 6, 3, weight_norm="spectral_hook").double().eval()
    layer.u.zero_()
    layer.v.zero_()
    x = image(1, 3, 8, 8)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias))
    torch.testing.assert_close(layer.averaged()["weight"], layer.weight)
    layer.train()
    for _ in range(50):
        found = layer(x)
    sigma = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    torch.testing.assert_close(found, F.conv2d(x, layer.weight / sigma, layer.bias))


def test_noise_follows_the_convolution_at_a_learned_scale():
    block = ConvBlock(3, 4, 3, noise=True).double()
    x = image(2, 3, 8, 8)
    plain = block(x)
    torch.testing.assert_close(
        plain, F.conv2d(F.pad(x, (1,) * 4, "reflect"), *block.conv.parameters())
    )
    with torch.no_grad():
        block.noise.scale.fill_(2)
        added = (block(x) - plain) / 2
    assert (added[:, :1] - added).abs().max() < 1e-12
    assert 0.5 < float(added.std()) < 1.5


def test_torchs_weight_norms():
    spectral = conv2d(8, 8, 3, weight_norm="spectral").eval()
    norm = torch.linalg.matrix_norm(spectral.weight.flatten(1), 2)
    assert float(norm.detach()) == pytest.approx(1, abs=0.1)
    weight = conv2d(8, 8, 3, weight_norm="weight")
    assert "parametrizations.weight.original0" in dict(weight.named_parameters())
    assert type(conv2d(8, 8, 3)) is nn.Conv2d


@pytest.mark.parametrize("weight_norm", ["none", "spectral", "spectral_legacy", "weight"])
def test_compiles_as_one_graph(weight_norm):
    block = ConvBlock(3, 4, 3, norm=InstanceNorm, activation=ReLU, weight_norm=weight_norm).eval()
    twin = copy.deepcopy(block)
    x = torch.randn(1, 3, 8, 8)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), twin(x))
    if weight_norm == "spectral_legacy":
        torch.testing.assert_close(block.conv.u, twin.conv.u)


# A few channels out


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pad_type", ["reflect", "replicate", "zero"])
@pytest.mark.parametrize("weight_norm", ["none", "spectral_legacy", "weight"])
def test_convolving_by_columns_has_the_plain_values_and_gradients(pad_type, weight_norm, bias):
    torch.manual_seed(0)
    options = {"pad_type": pad_type, "weight_norm": weight_norm, "bias": bias}
    folded = ConvBlock(4, 3, 7, **options, fold=True).double()
    plain = ConvBlock(4, 3, 7, **options).double()
    assert (folded.fold, plain.fold) == (True, False)
    plain.load_state_dict(copy.deepcopy(folded.state_dict()))
    x, target = image(2, 4, 9, 12), image(2, 3, 9, 12)
    found = []
    for block in (folded, plain):
        leaf = x.clone().requires_grad_()
        y = block(leaf)
        (y * target).sum().backward()
        found.append([y, leaf.grad, *[p.grad for p in block.parameters()]])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)


def test_only_few_channels_at_stride_1_are_convolved_by_columns():
    assert not ConvBlock(4, 8, 7, fold=True).fold
    assert not ConvBlock(4, 3, 3, fold=True).fold
    assert not ConvBlock(4, 3, 7, stride=2, fold=True).fold


def test_columns_are_added_up_in_full_precision():
    """256 and six times 1 are 262; added one by one in bf16, where 258 is the next number, 256."""
    weight = torch.zeros(1, 1, 7, 7)
    weight[..., 3, :] = 1
    x = torch.ones(1, 1, 7, 7)
    x[..., 0] = 256
    ours = by_columns(x.bfloat16(), weight.bfloat16(), None)
    assert ours.dtype == torch.bfloat16
    assert float(ours) == 262


@pytest.mark.parametrize("pad_type", ["reflect", "replicate", "zero"])
def test_padding_keeps_half_precision_under_autocast(pad_type):
    x = torch.randn(1, 2, 5, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        padded = Padding(2, pad_type)(x)
    assert padded.dtype == torch.bfloat16
    torch.testing.assert_close(padded, Padding(2, pad_type)(x))
