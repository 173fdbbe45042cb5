"""Discriminators: image to a list of logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks._layers import outputs
from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm, biased, conv2d
from munit_zoo.blocks.filters import BlurDownsample
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.errors import GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Kernel, PositiveFloat, Scales, Width

__all__ = ["MultiscalePatchDiscriminator", "PatchDiscriminator", "PixelDiscriminator"]


class MultiscalePatchDiscriminator(nn.Module):
    """Patch discriminators (Isola et al. 2017) on an image pyramid (Wang et al. 2018).

    Image (N, in_channels, H, W) to a list of logits, one map (N, 1, h, w) a scale, the finest
    first. Between scales the image is averaged down by 2 (3×3 windows, borders not counted).

    layers: strided convolutions a scale; each after the first doubles the channels.
    norm, weight_norm: of all convolutions but the first and the last (1×1) of a scale;
        weight_norm_ends: of these too (as spectral normalisation is published).

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images smaller than `smallest_input()`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        layers: Scales = 4,
        scales: Scales = 3,
        kernel_size: Kernel = 4,
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        weight_norm_ends: bool = False,
        init: Init = "gaussian",
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, layers=layers, scales=scales, kernel_size=kernel_size)
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make_activation = ACTIVATIONS.factory(activation)
        ends: WeightNorm = weight_norm if weight_norm_ends else "none"
        self.scales = nn.ModuleList()
        for _ in range(scales):
            convolutions: list[nn.Module] = []
            channels, wider = in_channels, dim
            for index in range(layers):
                convolutions.append(
                    ConvBlock(
                        channels,
                        wider,
                        kernel_size,
                        stride=2,
                        padding=(kernel_size - 1) // 2,
                        norm=make_norm if index else None,
                        activation=make_activation,
                        pad_type=pad_type,
                        weight_norm=weight_norm if index else ends,
                    )
                )
                channels, wider = wider, 2 * wider
            convolutions.append(conv2d(channels, 1, 1, weight_norm=ends, full_precision=True))
            self.scales.append(nn.Sequential(*convolutions))
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self._layers, self._kernel_size, self._pad_type = layers, kernel_size, pad_type
        self._smallest = self.smallest_input()
        initialise(self, init)

    def smallest_input(self) -> int:
        """Side of the smallest square image that leaves something to convolve at every scale."""
        side = 1
        while not self._takes(side):
            side += 1
        return side

    def _takes(self, side: int) -> bool:
        amount = (self._kernel_size - 1) // 2
        for index in range(len(self.scales)):
            if index:
                side = (side + 1) // 2  # the pooling
            map_side = side
            for _ in range(self._layers):
                if self._pad_type == "reflect" and map_side <= amount:
                    return False
                map_side = (map_side + 2 * amount - self._kernel_size) // 2 + 1
                if map_side < 1:
                    return False
        return True

    def forward(self, x: Tensor) -> list[Tensor]:
        return [scale(seen) for scale, seen in self._pyramid(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """Per scale what each convolution gives, activated; the logits last."""
        return [outputs(seen, scale) for scale, seen in self._pyramid(x)]

    def _pyramid(self, x: Tensor) -> Iterator[tuple[nn.Sequential, Tensor]]:
        """The networks of the scales, each with the image that it sees."""
        if min(x.shape[2:]) < self._smallest:
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]} are too small for a discriminator of "
                f"{len(self.scales)} SCALES and {self._layers} LAYERS, which needs "
                f"{self._smallest}×{self._smallest}: use larger images, or fewer of either"
            )
        for index, scale in enumerate(self.scales):
            if index:
                x = self.pool(x)
            yield cast(nn.Sequential, scale), x


class PatchDiscriminator(nn.Module):
    """PatchGAN: a few convolutions, each logit a judgement of one patch (Isola et al. 2017).

    Image (N, in_channels, H, W) to one map of logits, a list of one (N, 1, h, w). All convolutions
    are 4×4, padded by one zero: `layers` that halve the map, then two at stride 1. The published
    one has three layers and patches of 70×70.

    dim: channels of the first convolution; they double up to 8·dim.
    norm: of all convolutions but the first and the last. weight_norm: of all.
    downsample: `strided` convolutions, or convolutions and then a `blur` that halves (CUT).
    bias: of convolutions before norms; null for only before instance norms, as published.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images smaller than `smallest_input()`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        layers: Scales = 3,
        downsample: Literal["strided", "blur"] = "strided",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        bias: bool | None = None,
        init: Init = "gaussian",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, layers=layers)
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make_activation = ACTIVATIONS.factory(activation)
        bias = biased(bias, make_norm, dim)
        halved = 2 if downsample == "strided" else 1
        found: list[nn.Module] = []
        self._shown: list[int] = []  # the activations, and the logits
        channels = in_channels
        for index in range(layers + 1):
            wider = dim * min(2**index, 8)
            found += [
                conv2d(
                    channels,
                    wider,
                    4,
                    stride=halved if index < layers else 1,
                    padding=1,
                    weight_norm=weight_norm,
                    bias=bias if index else True,
                )
            ]
            if index:
                found += [make_norm(wider)]
            self._shown.append(len(found))
            found += [make_activation()]
            if downsample == "blur" and index < layers:
                found += [BlurDownsample()]
            channels = wider
        self._shown.append(len(found))
        found += [conv2d(channels, 1, 4, padding=1, weight_norm=weight_norm, full_precision=True)]
        self.layers = nn.Sequential(*found)
        self._smallest = self.smallest_input()
        initialise(self, init, gain=init_gain, norms=True)

    def smallest_input(self) -> int:
        """Side of the smallest square image that leaves a logit."""
        side = 1
        while not self._takes(side):
            side += 1
        return side

    def _takes(self, side: int) -> bool:
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                side = (side - 2) // layer.stride[0] + 1
            elif isinstance(layer, BlurDownsample):
                side = (side + 1) // 2 if side > 1 else 0
            if side < 1:
                return False
        return True

    def forward(self, x: Tensor) -> list[Tensor]:
        self._check(x)
        return [self.layers(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """What each convolution gives, activated; the logits last. Of the one scale."""
        self._check(x)
        found = outputs(x, self.layers)
        return [[found[index] for index in self._shown]]

    def _check(self, x: Tensor) -> None:
        if min(x.shape[2:]) < self._smallest:
            raise GraphError(
                f"images of {x.shape[2]}×{x.shape[3]} are too small for this patch discriminator, "
                f"which needs {self._smallest}×{self._smallest}: use larger images or fewer LAYERS"
            )


class PixelDiscriminator(nn.Module):
    """PixelGAN: each pixel judged by itself, by 1×1 convolutions (Isola et al. 2017).

    Image (N, in_channels, H, W) to a list of one map of logits (N, 1, H, W).

    dim: channels of the first convolution; the second has twice as many.
    bias: of the second and third convolution; null for only with instance norms, as published.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        bias: bool | None = None,
        init: Init = "gaussian",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim)
        make_norm = unsteered(NORMS.factory(norm), "a discriminator")
        make_activation = ACTIVATIONS.factory(activation)
        bias = biased(bias, make_norm, dim)
        self.layers = nn.Sequential(
            conv2d(in_channels, dim, 1, weight_norm=weight_norm),
            make_activation(),
            conv2d(dim, 2 * dim, 1, weight_norm=weight_norm, bias=bias),
            make_norm(2 * dim),
            make_activation(),
            conv2d(2 * dim, 1, 1, weight_norm=weight_norm, bias=bias, full_precision=True),
        )
        initialise(self, init, gain=init_gain, norms=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layers(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """What the first two convolutions give, activated; the logits last. Of the one scale."""
        found = outputs(x, self.layers)
        return [[found[1], found[4], found[5]]]
