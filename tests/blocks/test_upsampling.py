"""Upsampling convolutions: folded, they are what upsampling and then convolving is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from munit_zoo.blocks import UpsampleConv
from munit_zoo.blocks.activations import ReLU
from munit_zoo.blocks.norms import AdaIN, InstanceNorm, LayerNorm
from munit_zoo.blocks.upsampling import folded_conv2d


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double)


def plainly(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pad_type: str):
    reach = weight.shape[-1] // 2
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    mode = "constant" if pad_type == "zero" else pad_type
    return F.conv2d(F.pad(doubled, (reach,) * 4, mode=mode), weight, bias)


FORMS = [
    (kernel, pad_type)
    for pad_type in ("reflect", "replicate", "zero")
    for kernel in (3, 5, 7, 9)
    if pad_type != "reflect" or kernel <= 5
]


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (7, 3), (8, 8)])
@pytest.mark.parametrize(("kernel", "pad_type"), FORMS)
def test_the_folded_form_has_the_plain_ones_values_and_gradients(kernel, pad_type, size):
    torch.manual_seed(kernel)
    inputs = [image(2, 3, *size), image(4, 3, kernel, kernel), image(4)]
    found = []
    for form in (plainly, folded_conv2d):
        leaves = [value.clone().requires_grad_() for value in inputs]
        output = form(*leaves, pad_type)
        chosen = torch.linspace(-1, 1, output.numel(), dtype=torch.double).view_as(output)
        (output * chosen).sum().backward()
        found.append([output.detach(), *[leaf.grad for leaf in leaves]])
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight_norm", ["none", "spectral", "spectral_legacy", "weight"])
@pytest.mark.parametrize("norm", [AdaIN, InstanceNorm, LayerNorm])
def test_folding_can_be_turned_off_and_changes_nothing(norm, weight_norm):
    torch.manual_seed(0)
    folded = UpsampleConv(4, 2, 5, norm=norm, activation=ReLU, weight_norm=weight_norm).double()
    plain = UpsampleConv(
        4, 2, 5, norm=norm, activation=ReLU, weight_norm=weight_norm, fold=False
    ).double()
    assert (folded.fold, plain.fold) == (True, False)
    plain.load_state_dict(copy.deepcopy(folded.state_dict()))
    x = image(2, 4, 6, 7)
    parameters = image(2, folded.num_parameters) if folded.num_parameters else None
    torch.testing.assert_close(folded(x, parameters), plain(x, parameters))
    torch.testing.assert_close(folded.state_dict(), plain.state_dict())


def test_no_folded_form_is_computed_plainly():
    up = UpsampleConv(2, 3, 7)
    assert not up.fold
    assert up(torch.zeros(1, 2, 4, 5)).shape == (1, 3, 8, 10)
    assert UpsampleConv(2, 3, 5, pad_type="zero")(torch.zeros(1, 2, 1, 4)).shape == (1, 3, 2, 8)


def test_half_precision_weights_are_added_up_in_full():
    """1 - 1.003 is -0.003; rounded to bf16 before they are added, the two are 1 and -1."""
    up = UpsampleConv(1, 1, 3, pad_type="zero")
    with torch.no_grad():
        up.block.conv.weight.zero_()
        up.block.conv.weight[0, 0, 1] = torch.tensor([0.0, 1.0, -1.003])
        up.block.conv.bias.zero_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ours = up(torch.ones(1, 1, 4, 4))
    assert ours.dtype == torch.bfloat16
    # a pixel's first copy sees its second, too: both taps fall on the pixel
    assert float(ours[0, 0, 2, 2]) == pytest.approx(-0.003, rel=0.01)


def test_upsampling_doubles_then_convolves():
    up = UpsampleConv(4, 2, 5, norm=InstanceNorm, activation=ReLU).double()
    x = image(1, 4, 6, 7)
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(up(x), up.block(doubled))
    assert up(x).shape == (1, 2, 12, 14)


def test_upsampling_hands_parameters_on():
    up = UpsampleConv(4, 2, 5, norm=AdaIN).double()
    assert up.num_parameters == 4
    x = image(1, 4, 6, 6)
    assert not torch.equal(up(x, image(1, 4)), up(x, image(1, 4)))
