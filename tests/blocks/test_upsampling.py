"""Convolutions to a map twice as large: folded, they are what upsampling and then convolving is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from munit_zoo.blocks import UpsampleConv, initialise
from munit_zoo.blocks.activations import ReLU
from munit_zoo.blocks.bicyclegan import StyledUnetGenerator
from munit_zoo.blocks.folding import folded_conv2d
from munit_zoo.blocks.generators import ResnetGenerator, UnetGenerator
from munit_zoo.blocks.norms import AdaIN, InstanceNorm, LayerNorm
from munit_zoo.blocks.stargan import StarGANGenerator
from munit_zoo.blocks.starganv2 import StarGANv2Generator
from munit_zoo.blocks.upsampling import doubling_conv2d
from munit_zoo.errors import ContractError

UPSAMPLE = ["nearest", "bilinear", "blur", "pixel_shuffle", "transposed"]


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
    assert (folded.block.conv.fold, plain.block.conv.fold) == (True, False)
    plain.load_state_dict(copy.deepcopy(folded.state_dict()))
    x = image(2, 4, 6, 7)
    parameters = image(2, folded.num_parameters) if folded.num_parameters else None
    torch.testing.assert_close(folded(x, parameters), plain(x, parameters))
    torch.testing.assert_close(folded.state_dict(), plain.state_dict())


def test_no_folded_form_is_computed_plainly():
    up = UpsampleConv(2, 3, 7)
    assert not up.block.conv.fold
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
    convolution = up.block.conv
    convolved = plainly(x, convolution.weight, convolution.bias, "reflect")
    torch.testing.assert_close(up(x), up.block.finish(convolved))
    assert up(x).shape == (1, 2, 12, 14)


def test_upsampling_hands_parameters_on():
    up = UpsampleConv(4, 2, 5, norm=AdaIN).double()
    assert up.num_parameters == 4
    x = image(1, 4, 6, 6)
    assert not torch.equal(up(x, image(1, 4)), up(x, image(1, 4)))


# Other ways to upsample


@pytest.mark.parametrize("size", [(3, 3), (4, 7)])
@pytest.mark.parametrize("pad_type", ["reflect", "replicate", "zero"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_bilinear_folded_form_has_the_plain_ones_values_and_gradients(kernel, pad_type, size):
    torch.manual_seed(kernel)
    up = doubling_conv2d(3, 4, kernel, upsample="bilinear", pad_type=pad_type).double()
    chosen, found = image(2, 4, 2 * size[0], 2 * size[1]), []
    x = image(2, 3, *size)
    for up.fold in (True, False):
        leaf = x.clone().requires_grad_()
        y = up(leaf)
        found.append(
            [y.detach(), *torch.autograd.grad((y * chosen).sum(), [leaf, *up.parameters()])]
        )
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_a_bilinear_folded_form_upsamples_less_than_it_convolves():
    """It is not the plain form under another name: nothing of the large map's channels is made."""
    up = doubling_conv2d(16, 2, 3, upsample="bilinear")
    made: list[tuple[int, ...]] = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            made.append(tuple(found.shape))
            return found

    for up.fold, expected in ((True, False), (False, True)):
        made.clear()
        with torch.no_grad(), Sizes():
            up(torch.zeros(1, 16, 32, 32))
        assert any(shape[:2] == (1, 16) and min(shape[2:]) > 40 for shape in made) == expected


def test_blur_is_zeros_between_the_pixels_a_convolution_and_a_low_pass():
    up = doubling_conv2d(2, 3, 3, upsample="blur", pad_type="zero").double()
    x = image(1, 2, 5, 6)
    spread = x.new_zeros(1, 2, 10, 12)
    spread[:, :, ::2, ::2] = x
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.double)
    low_pass = (line[:, None] * line / 16).expand(3, 1, 4, 4)
    convolved = F.conv2d(F.pad(spread, (3,) * 4), up.weight)
    expected = F.conv2d(convolved, low_pass, groups=3)[:, :, :10, :12]
    torch.testing.assert_close(up(x), expected + up.bias[:, None, None])


@pytest.mark.parametrize("weight_norm", ["none", "spectral", "weight"])
@pytest.mark.parametrize("init", ["default", "kaiming", "orthogonal"])
def test_a_pixel_shuffle_starts_as_nearest(init, weight_norm):
    up = doubling_conv2d(3, 8, 3, upsample="pixel_shuffle", weight_norm=weight_norm)
    initialise(up, init)
    blocks = up(torch.randn(1, 3, 4, 5)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    torch.testing.assert_close(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
    assert blocks.std() > 0


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_transposed_convolutions_double(kernel):
    up = doubling_conv2d(2, 3, kernel, upsample="transposed", weight_norm="weight")
    assert up(torch.zeros(1, 2, 5, 6)).shape == (1, 3, 10, 12)
    # weight norm is of each output, whose axis is the second
    assert up.parametrizations.weight.original0.shape == (1, 3, 1, 1)


def test_what_transposed_convolutions_cannot_be():
    with pytest.raises(ContractError, match="kernel 1×1 leaves three pixels of four empty"):
        doubling_conv2d(2, 3, 1, upsample="transposed")
    with pytest.raises(ContractError, match="spectral_legacy is of plain convolutions alone"):
        doubling_conv2d(2, 3, 3, upsample="transposed", weight_norm="spectral_legacy")


@pytest.mark.parametrize("weight_norm", ["spectral", "spectral_legacy", "weight"])
@pytest.mark.parametrize("upsample", ["bilinear", "blur", "pixel_shuffle"])
def test_weight_norms_reach_every_upsampling(upsample, weight_norm):
    torch.manual_seed(0)
    up = doubling_conv2d(2, 3, 3, upsample=upsample, weight_norm=weight_norm).double().eval()
    if weight_norm == "spectral_legacy":
        up.normalised_weight = lambda: up.weight / 2
        expected = up.weight / 2
    else:
        expected = up.weight
    plain = doubling_conv2d(2, 3, 3, upsample=upsample).double()
    with torch.no_grad():
        plain.weight.copy_(expected)
        plain.bias.copy_(up.bias)
    x = image(1, 2, 5, 6)
    torch.testing.assert_close(up(x), plain(x))


GENERATORS = {
    "resnet": lambda **k: ResnetGenerator(3, 3, dim=4, blocks=1, **k),
    "unet": lambda **k: UnetGenerator(3, 3, dim=2, levels=3, norm="instance", **k),
    "styled_unet": lambda **k: StyledUnetGenerator(3, 3, 5, dim=2, levels=3, **k),
    "stargan": lambda **k: StarGANGenerator(3, 3, 5, dim=4, blocks=1, **k),
    "starganv2": lambda **k: StarGANv2Generator(
        3, 3, 5, size=32, channel_budget=128, max_dim=8, **k
    ),
}


@pytest.mark.parametrize("upsample", UPSAMPLE)
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_upsample_in_every_way(name, upsample):
    torch.manual_seed(0)
    generator = GENERATORS[name](upsample=upsample).double()
    plain = GENERATORS[name](upsample=upsample, fold=False).double()
    plain.load_state_dict(generator.state_dict())
    given = (image(2, 3, 32, 16), image(2, 5))[: 1 + (name not in ("resnet", "unet"))]
    made = generator(*given)
    assert made.shape == given[0].shape
    torch.testing.assert_close(made, plain(*given), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_features_show_the_large_map_that_a_fold_leaves_out(upsample):
    torch.manual_seed(0)
    generator = GENERATORS["resnet"](upsample=upsample).double()
    x = image(1, 3, 16, 16)
    index = next(i for i, layer in enumerate(generator.layers) if hasattr(layer, "upsample"))
    before, large, after = generator.features(x, (index - 1, index, index + 1))
    torch.testing.assert_close(large, F.interpolate(before, scale_factor=2.0, mode=upsample))
    assert after.shape[2:] == large.shape[2:]
    *_, last = generator.features(x, range(len(generator.layers)))
    torch.testing.assert_close(last, generator(x))
    channels = generator.feature_channels(range(len(generator.layers)))
    assert channels == [f.shape[1] for f in generator.features(x, range(len(generator.layers)))]
