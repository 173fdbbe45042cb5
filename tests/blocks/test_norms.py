"""Norms against their formulas."""

from __future__ import annotations

import pytest
import torch

from munit_zoo.blocks.norms import AdaIN, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm
from munit_zoo.errors import ContractError

UNSTEERED = (BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1


def test_instance_norm_is_its_formula():
    x = images(2, 4, 5, 6)
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), keepdim=True, unbiased=False)
    norm = InstanceNorm(4)
    torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-5).sqrt())
    assert not norm.state_dict()
    torch.testing.assert_close(norm.eval()(x), norm.train()(x), rtol=0, atol=0)


def test_instance_norm_with_affine():
    x, norm = images(2, 4, 5, 6), InstanceNorm(4, affine=True).double()
    with torch.no_grad():
        norm.weight.copy_(torch.arange(4.0))
        norm.bias.fill_(7)
    plain = InstanceNorm(4)(x)
    torch.testing.assert_close(norm(x), plain * torch.arange(4.0)[:, None, None] + 7)


def test_adain_takes_biases_first_and_uses_weights_as_they_are():
    x, norm = images(2, 3, 5, 6), AdaIN(3)
    assert norm.num_parameters == 6
    parameters = images(2, 6, seed=1)
    bias, weight = parameters[:, :3], parameters[:, 3:]
    expected = InstanceNorm(3)(x) * weight[:, :, None, None] + bias[:, :, None, None]
    torch.testing.assert_close(norm(x, parameters), expected)
    assert not norm.state_dict()


def test_adain_keeps_no_state_between_calls():
    x, norm = images(1, 3, 4, 4), AdaIN(3)
    first, second = images(1, 6, seed=1), images(1, 6, seed=2)
    alone = norm(x, first)
    norm(x, second)
    torch.testing.assert_close(norm(x, first), alone, rtol=0, atol=0)


def test_layer_norm_is_its_formula():
    x = images(3, 4, 5, 6)
    norm = LayerNorm(4).double()
    flat = x.flatten(1)
    std = flat.std(1, unbiased=True)[:, None, None, None]
    mean = flat.mean(1)[:, None, None, None]
    weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), (x - mean) / (std + 1e-5) * weight + bias)
    plain = LayerNorm(4, affine=False)
    assert not list(plain.parameters())
    torch.testing.assert_close(plain(x), (x - mean) / (std + 1e-5))


def test_layer_norm_gradient():
    norm = LayerNorm(3).double()
    assert torch.autograd.gradcheck(norm, images(2, 3, 3, 2).requires_grad_())


def test_layer_norm_starts_as_the_reference_does():
    torch.manual_seed(0)
    norm = LayerNorm(4096)
    assert set(dict(norm.named_parameters())) == {"weight", "bias"}
    assert float(norm.weight.min()) >= 0
    assert float(norm.weight.max()) < 1
    assert float(norm.weight.mean()) == pytest.approx(0.5, abs=0.03)
    assert not norm.bias.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1000.0])
def test_layer_norm_is_finite_on_flat_images(level, dtype):
    norm = LayerNorm(3).to(dtype)
    x = torch.full((1, 3, 8, 8), level, dtype=dtype, requires_grad=True)
    norm(x).square().sum().backward()
    assert norm(x).isfinite().all()
    assert x.grad.isfinite().all()


def test_layer_norm_of_half_precision_keeps_its_digits():
    x = images(1, 4, 32, 32).float() + 30
    norm = LayerNorm(4)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float() - norm(x.bfloat16().float())).abs().max()) < 0.02


@pytest.mark.parametrize("norm", [InstanceNorm(3), AdaIN(3)])
def test_instance_norm_of_a_single_pixel_is_defined(norm):
    x, parameters = images(2, 3, 1, 1), images(2, 6)
    steered = isinstance(norm, AdaIN)
    y = norm(x, parameters) if steered else norm(x)
    expected = parameters[:, :3, None, None] if steered else torch.zeros_like(x)
    torch.testing.assert_close(y, expected)


def test_batch_norm_has_torchs_defaults():
    ours, theirs = BatchNorm(4).double(), torch.nn.BatchNorm2d(4).double()
    x = images(3, 4, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_group_norm_names_the_groups_that_fit():
    x = images(2, 64, 3, 3)
    theirs = torch.nn.GroupNorm(32, 64).double()
    torch.testing.assert_close(GroupNorm(64).double()(x), theirs(x))
    with pytest.raises(ContractError, match=r"GROUPS 32 .* 1, 2, 4, 8, 16 would"):
        GroupNorm(16)
    with pytest.raises(ContractError, match="GROUPS is 0"):
        GroupNorm(16, groups=0)


def test_no_norm_changes_nothing():
    x = images(1, 3, 2, 2)
    assert NoNorm(3)(x) is x


@pytest.mark.parametrize("norm", UNSTEERED, ids=lambda norm: norm.__name__)
def test_only_adain_takes_parameters(norm):
    assert norm.num_parameters == 0


@pytest.mark.parametrize("norm", [*UNSTEERED, AdaIN], ids=lambda norm: norm.__name__)
def test_norms_build_on_meta(norm):
    with torch.device("meta"):
        built, x, parameters = norm(32), torch.empty(2, 32, 4, 4), torch.empty(2, 64)
        y = built(x, parameters) if built.num_parameters else built(x)
    assert y.is_meta
    assert y.shape == x.shape
