"""Generators: image to image, in one network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, unsteered
from munit_zoo.blocks.conv import Padding, PadType, biased, conv2d
from munit_zoo.blocks.filters import BlurDownsample
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.norms import NoNorm
from munit_zoo.blocks.residual import ResidualBlock
from munit_zoo.blocks.upsampling import Upsampling, doubling_conv2d, enlarged
from munit_zoo.errors import ContractError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import (
    Halvings,
    Layers,
    Odd,
    OpenFraction,
    PositiveFloat,
    Scales,
    Width,
)

__all__ = ["Ones", "ResnetGenerator", "UnetGenerator", "level_up"]


class Ones(nn.Module):
    """Ones everywhere, (N, out_channels, H, W): as a mask, one that keeps everything."""

    stride = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        ones = 0 * x[:, :1] + 1  # with a gradient, of zero, as every generator has one
        return ones.expand(-1, self.out_channels, -1, -1)


class ResnetGenerator(nn.Module):
    """Downsampling, residual blocks, upsampling: CycleGAN's and, without aliases, CUT's.

    Image (N, in_channels, H, W) to image (N, out_channels, H, W) in [-1, 1], H and W multiples of
    2^downsamples (Johnson et al. 2016; Zhu et al. 2017, appendix 7.2; Park et al. 2020). A
    convolution k×k, `downsamples` convolutions that double the channels, `blocks` residual blocks,
    as many upsampling convolutions, a convolution k×k and `output_activation`.

    dim: channels after the first convolution. kernel_size: of the first and the last one; those
        between are 3×3.
    downsample: `strided` convolutions, or convolutions and then a `blur` that halves (CUT).
    upsample: `transposed` convolutions, or convolutions behind `nearest` or `bilinear` (CUT)
        interpolation, `blur` or `pixel_shuffle`.
    dropout: share of units dropped inside the residual blocks.
    pad_type: of the residual blocks and of the first and last convolution.
    bias: of convolutions before norms; null for only before instance norms, as published.
    fold: upsampling and convolution in one: the same result for less work.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dim: Width = 64,
        blocks: Layers = 9,
        downsamples: Halvings = 2,
        kernel_size: Odd = 7,
        downsample: Literal["strided", "blur"] = "strided",
        upsample: Upsampling = "transposed",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        dropout: OpenFraction = 0.0,
        pad_type: PadType = "reflect",
        bias: bool | None = None,
        fold: bool = True,
        init: Init = "gaussian",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim)
        at_least(0, blocks=blocks, downsamples=downsamples)
        odd(kernel_size=kernel_size)
        make_norm = unsteered(NORMS.factory(norm), "the generator resnet")
        make_activation = ACTIVATIONS.factory(activation)
        bias = biased(bias, make_norm, dim)
        border = (kernel_size - 1) // 2
        layers: list[nn.Module] = [Padding(border, pad_type)]
        layers += [conv2d(in_channels, dim, kernel_size, bias=bias)]
        layers += [make_norm(dim), make_activation()]
        for _ in range(downsamples):
            stride = 2 if downsample == "strided" else 1
            layers += [conv2d(dim, 2 * dim, 3, stride=stride, padding=1, bias=bias)]
            dim *= 2
            layers += [make_norm(dim), make_activation()]
            if downsample == "blur":
                layers += [BlurDownsample()]
        for _ in range(blocks):
            layers += [
                ResidualBlock(
                    dim,
                    norm=make_norm,
                    activation=make_activation,
                    pad_type=pad_type,
                    bias=bias,
                    dropout=dropout,
                )
            ]
        for _ in range(downsamples):
            if upsample in ("nearest", "bilinear"):
                layers += [_Enlarged(upsample)]
            layers += [doubling_conv2d(dim, dim // 2, 3, upsample=upsample, bias=bias, fold=fold)]
            dim //= 2
            layers += [make_norm(dim), make_activation()]
        layers += [Padding(border, pad_type), conv2d(dim, out_channels, kernel_size)]
        layers += [ACTIVATIONS.factory(output_activation)()]
        self.layers = nn.Sequential(*layers)
        self._activation = type(make_activation())
        self.in_channels = in_channels
        self.stride = 2**downsamples
        initialise(self, init, gain=init_gain, norms=True)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x if isinstance(layer, _Enlarged) else layer(x)
        return x

    def features(self, x: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """What comes out of some layers, in the order of the network, which runs up to the last.

        layers: numbers of `layers` as CUT's `nce_layers` counts them: every padding, convolution,
        norm, activation, resampling and residual block is one. Of a layer whose output goes
        straight into an activation, the activated values, as in CUT's implementation (where the
        activation works in place).

        Raises ContractError for numbers that are no layer's.
        """
        wanted = self._known(layers)
        found = []
        for index, layer in enumerate(self.layers[: wanted[-1] + 1]):
            y = layer(x)
            if index in wanted:
                activation = self._activation_after(index)
                found.append(y if activation is None else activation(y))
            x = x if isinstance(layer, _Enlarged) else y
        return found

    def feature_channels(self, layers: Sequence[int]) -> list[int]:
        """Channels of each of these layers' `features`."""
        wanted, channels, found = self._known(layers), self.in_channels, []
        for index, layer in enumerate(self.layers):
            channels = getattr(layer, "out_channels", channels) // getattr(layer, "copies", 1)
            if index in wanted:
                found.append(channels)
        return found

    def _known(self, layers: Sequence[int]) -> list[int]:
        wanted = sorted(set(layers))
        if not wanted or wanted[0] < 0 or wanted[-1] >= len(self.layers):
            raise ContractError(
                f"the layers {tuple(layers)}: the generator's are 0 to {len(self.layers) - 1}"
            )
        return wanted

    def _activation_after(self, index: int) -> nn.Module | None:
        """The activation that a layer's output goes straight into."""
        for layer in self.layers[index + 1 :]:
            if isinstance(layer, self._activation):
                found: nn.Module = layer
                return found
            if not isinstance(layer, NoNorm):
                return None
        return None


class _Enlarged(nn.Module):
    """A map twice as large: a layer that is counted and shown; the convolution behind it, which
    takes the small map, does its work."""

    def __init__(self, upsample: Upsampling) -> None:
        super().__init__()
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(x, self.upsample)


Chance = Sequence[torch.Generator] | None
"""What dropout draws from where it is to drop in evaluation mode, too: one for each sample."""


class SeededDropout(nn.Dropout):
    """Dropout; in evaluation mode, too, where it is given what to draw from."""

    def forward(self, input: Tensor, drawn: Chance = None) -> Tensor:
        if self.training or drawn is None:
            return super().forward(input)
        shape = input.shape[1:]
        kept = torch.stack(
            [torch.rand(shape, generator=generator) >= self.p for generator in drawn]
        )
        return input * kept.to(input) / (1 - self.p)


def seeded(x: Tensor) -> Chance:
    """A generator of random numbers for each sample, seeded by what the sample is."""
    if x.device.type == "meta":
        return None
    rows = x.detach().to("cpu", torch.float32).flatten(1)
    digests = [hashlib.blake2b(row.numpy().tobytes(), digest_size=7).digest() for row in rows]
    return [torch.Generator().manual_seed(int.from_bytes(d, "little")) for d in digests]


class UnetGenerator(nn.Module):
    """A U-Net: convolutions down to a few pixels and up again, each level handed across.

    Image (N, in_channels, H, W) to image (N, out_channels, H, W) in [-1, 1], H and W multiples of
    2^levels (Ronneberger et al. 2015; Isola et al. 2017, appendix 6.1.1). Convolutions down are 4×4
    with stride 2; the way up sees, at each level, what the way down made of it. `smallest`: the
    least side, 2^levels.

    levels: downsamplings, 2 or more; with 8, images of 256×256 end in one pixel. dim: channels of
        the first level; they double up to 8·dim.
    dropout: share of units dropped on the way up at the levels of 8·dim channels, save the
        innermost (pix2pix: 0.5). dropout_in_tests: drop in evaluation mode, too; which units then
        is drawn for each sample under a seed made of its input, so that the image remains a
        function of that (of an image and noise beside it: as long as neither changes).
    norm: of all convolutions but the outermost and the innermost on the way down.
    activation: on the way up; down_activation: on the way down.
    upsample, fold: as those of `resnet`; `transposed` convolutions are 4×4, others 3×3.
    bias: of convolutions but the last; null for only with instance norms, as published.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        levels: Scales = 8,
        dim: Width = 64,
        norm: Slot[Norm] = slot("batch"),
        activation: Slot[Activation] = slot("relu"),
        down_activation: Slot[Activation] = slot("lrelu"),
        output_activation: Slot[Activation] = slot("tanh"),
        dropout: OpenFraction = 0.0,
        upsample: Upsampling = "transposed",
        dropout_in_tests: bool = False,
        bias: bool | None = None,
        fold: bool = True,
        init: Init = "gaussian",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        at_least(2, levels=levels)
        at_least(1, dim=dim)
        make_norm = unsteered(NORMS.factory(norm), "the generator unet")
        up_activation = ACTIVATIONS.factory(activation)
        activate_down = ACTIVATIONS.factory(down_activation)
        bias = biased(bias, make_norm, dim)
        widths = [in_channels, *(dim * min(2**level, 8) for level in range(levels))]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        self.dropout_in_tests = dropout_in_tests
        for level in range(1, levels + 1):
            outermost, innermost = level == 1, level == levels
            before, width = widths[level - 1], widths[level]
            self.downs.append(
                _Level(
                    None if outermost else activate_down(),
                    conv2d(before, width, 4, stride=2, padding=1, bias=bias),
                    None if outermost or innermost else make_norm(width),
                )
            )
            received = width if innermost else 2 * width
            if outermost:
                last = level_up(received, out_channels, upsample, bias=True, fold=fold)
                end = ACTIVATIONS.factory(output_activation)()
                self.ups.append(_Level(up_activation(), last, None, end))
                continue
            drops = dropout and 5 <= level < levels
            self.ups.append(
                _Level(
                    up_activation(),
                    level_up(received, before, upsample, bias=bias, fold=fold),
                    make_norm(before),
                    SeededDropout(dropout) if drops else None,
                )
            )
        self.stride = self.smallest = 2**levels
        initialise(self, init, gain=init_gain, norms=True)

    def forward(self, x: Tensor) -> Tensor:
        drawn = seeded(x) if self.dropout_in_tests and not self.training else None
        ways = []
        for down in self.downs:
            x = down(x)
            ways.append(x)
        x = self.ups[-1](x, drawn)
        for way, up in zip(ways[-2::-1], self.ups[-2::-1], strict=True):
            x = up(torch.cat([way, x], dim=1), drawn)
        return x


class _Level(nn.Module):
    """One way of one level of a U-Net: activate, convolve, normalise, and what comes last."""

    def __init__(
        self,
        activation: nn.Module | None,
        conv: nn.Module,
        norm: nn.Module | None,
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.conv, self.norm, self.last = activation, conv, norm, last

    def forward(self, x: Tensor, drawn: Chance = None) -> Tensor:
        for layer in (self.activation, self.conv, self.norm, self.last):
            if isinstance(layer, SeededDropout):
                x = layer(x, drawn)
            elif layer is not None:
                x = layer(x)
        return x


def level_up(
    in_channels: int, out_channels: int, upsample: Upsampling, *, bias: bool = True, fold: bool
) -> nn.Module:
    """The convolution up of a U-Net's level, to a map twice as large: 4×4 transposed, else 3×3."""
    # the innermost map may be one pixel, which reflects nothing
    on_large = upsample in ("nearest", "bilinear")
    return doubling_conv2d(
        in_channels,
        out_channels,
        4 if upsample == "transposed" else 3,
        upsample=upsample,
        pad_type="reflect" if on_large else "replicate",
        bias=bias,
        fold=fold,
    )
