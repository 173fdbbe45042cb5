"""Discriminators: image to a list of logits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks._layers import outputs
from munit_zoo.blocks.conv import Make, PadType, WeightNorm, biased, conv2d
from munit_zoo.blocks.downsampling import Downsampling, halving_block
from munit_zoo.blocks.filters import BlurDownsample
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.minibatch import MinibatchStd, compared
from munit_zoo.errors import GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Count, Kernel, PositiveFloat, Scales, Width

__all__ = [
    "MultiscalePatchDiscriminator",
    "PatchClassDiscriminator",
    "PatchDiscriminator",
    "PixelDiscriminator",
]


class MultiscalePatchDiscriminator(nn.Module):
    """Patch discriminators (Isola et al. 2017) on an image pyramid (Wang et al. 2018).

    Image (N, in_channels, H, W) to a list of logits, one map (N, 1, h, w) a scale, the finest
    first. Between scales the image is averaged down by 2 (3×3 windows, borders not counted).

    layers: strided convolutions a scale; each after the first doubles the channels.
    downsample: `strided` convolutions, or convolutions and then a `blur` that halves without
        aliases (Zhang 2019).
    norm, weight_norm: of all convolutions but the first and the last (1×1) of a scale;
        weight_norm_ends: of these too (as spectral normalisation is published).
    minibatch_std: so many samples are compared at a time, before the last convolution; 0 for none
        (`MinibatchStd`).

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
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("none"),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        weight_norm_ends: bool = False,
        minibatch_std: Count = 0,
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
                    halving_block(
                        channels,
                        wider,
                        kernel_size,
                        downsample,
                        norm=make_norm if index else None,
                        activation=make_activation,
                        pad_type=pad_type,
                        weight_norm=weight_norm if index else ends,
                    )
                )
                channels, wider = wider, 2 * wider
            convolutions += compared(minibatch_std)
            channels += minibatch_std > 0
            convolutions.append(conv2d(channels, 1, 1, weight_norm=ends, full_precision=True))
            self.scales.append(nn.Sequential(*convolutions))
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self._layers, self._kernel_size, self._pad_type = layers, kernel_size, pad_type
        self._blurs = downsample == "blur"
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
                map_side += 2 * amount - self._kernel_size
                if map_side < (1 if self._blurs else 0):  # one pixel reflects nothing to blur
                    return False
                map_side = map_side // 2 + 1
        return True

    def forward(self, x: Tensor) -> list[Tensor]:
        return [scale(seen) for scale, seen in self._pyramid(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """Per scale what each convolution gives, activated; the logits last."""
        return [
            [
                y
                for y, layer in zip(outputs(seen, scale), scale, strict=True)
                if not isinstance(layer, MinibatchStd)
            ]
            for scale, seen in self._pyramid(x)
        ]

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
    minibatch_std: so many samples are compared at a time, before the last convolution; 0 for none
        (`MinibatchStd`).
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
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        bias: bool | None = None,
        minibatch_std: Count = 0,
        init: Init = "gaussian",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        self.layers = _patches(
            in_channels,
            1,
            dim=dim,
            layers=layers,
            downsample=downsample,
            norm=unsteered(NORMS.factory(norm), "a discriminator"),
            activation=ACTIVATIONS.factory(activation),
            weight_norm=weight_norm,
            bias=bias,
            minibatch_std=minibatch_std,
        )
        self._smallest = self.smallest_input()
        initialise(self, init, gain=init_gain, norms=True)

    def smallest_input(self) -> int:
        """Side of the smallest square image that leaves a logit."""
        return _smallest_side(self.layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        _check_side(x, self._smallest)
        return [self.layers(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """What each convolution gives, activated; the logits last. Of the one scale."""
        _check_side(x, self._smallest)
        return [_activated(x, self.layers)]


class PatchClassDiscriminator(nn.Module):
    """`patch` with a map of logits for each class, that of `y` taken: D(x, y).

    (x (N, in_channels, H, W), y (N,), whole numbers below num_domains) to a list of one map of
    logits (N, 1, h, w). `features(x)` gives what the last convolution sees, and
    `logits(features, y)` what it makes of that.

    Keys and errors as those of `patch`.
    """

    def __init__(
        self,
        in_channels: int,
        num_domains: int,
        *,
        dim: Width = 64,
        layers: Scales = 3,
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        bias: bool | None = None,
        minibatch_std: Count = 0,
        init: Init = "gaussian",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        self.layers = _patches(
            in_channels,
            num_domains,
            dim=dim,
            layers=layers,
            downsample=downsample,
            norm=unsteered(NORMS.factory(norm), "a discriminator"),
            activation=ACTIVATIONS.factory(activation),
            weight_norm=weight_norm,
            bias=bias,
            minibatch_std=minibatch_std,
        )
        self._smallest = _smallest_side(self.layers)
        initialise(self, init, gain=init_gain, norms=True)

    def features(self, x: Tensor) -> Tensor:
        """The last map (N, C, h, w), activated."""
        _check_side(x, self._smallest)
        found: Tensor = self.layers[:-1](x)
        return found

    def logits(self, features: Tensor, y: Tensor) -> list[Tensor]:
        """Those of each sample's class."""
        return _of_class(self.layers[-1](features), y)

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return self.logits(self.features(x), y)

    def activations(self, x: Tensor, y: Tensor) -> list[list[Tensor]]:
        """What each convolution gives, activated; the logits of its class last."""
        _check_side(x, self._smallest)
        *found, maps = _activated(x, self.layers)
        return [[*found, *_of_class(maps, y)]]


def _of_class(maps: Tensor, y: Tensor) -> list[Tensor]:
    """Of a map for each class, that of each sample's."""
    return [maps.gather(1, y[:, None, None, None].expand(-1, 1, *maps.shape[2:]))]


def _activated(x: Tensor, layers: nn.Sequential) -> list[Tensor]:
    """What each convolution of a PatchGAN gives behind norm and activation; the last map last."""
    found = outputs(x, layers)
    first, *inner, last = (i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
    return [found[index] for index in (first + 1, *(i + 2 for i in inner), last)]


def _patches(
    in_channels: int,
    outputs: int,
    *,
    dim: int,
    layers: int,
    downsample: Downsampling,
    norm: Make,
    activation: Make,
    weight_norm: WeightNorm,
    bias: bool | None,
    minibatch_std: int,
) -> nn.Sequential:
    """The layers of a PatchGAN, to maps of `outputs` channels."""
    at_least(1, dim=dim, layers=layers)
    bias = biased(bias, norm, dim)
    halved = 2 if downsample == "strided" else 1
    found: list[nn.Module] = []
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
            found += [norm(wider)]
        found += [activation()]
        if downsample == "blur" and index < layers:
            found += [BlurDownsample()]
        channels = wider
    found += compared(minibatch_std)
    channels += minibatch_std > 0
    found += [conv2d(channels, outputs, 4, padding=1, weight_norm=weight_norm, full_precision=True)]
    return nn.Sequential(*found)


def _smallest_side(layers: nn.Sequential) -> int:
    """Side of the smallest square image of which a PatchGAN's layers leave a logit."""

    def takes(side: int) -> bool:
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                side = (side - 2) // layer.stride[0] + 1
            elif isinstance(layer, BlurDownsample):
                side = (side + 1) // 2 if side > 1 else 0
            if side < 1:
                return False
        return True

    return next(side for side in itertools.count(1) if takes(side))


def _check_side(x: Tensor, smallest: int) -> None:
    if min(x.shape[2:]) < smallest:
        raise GraphError(
            f"images of {x.shape[2]}×{x.shape[3]} are too small for this patch discriminator, "
            f"which needs {smallest}×{smallest}: use larger images or fewer LAYERS"
        )


class PixelDiscriminator(nn.Module):
    """PixelGAN: each pixel judged by itself, by 1×1 convolutions (Isola et al. 2017).

    Image (N, in_channels, H, W) to a list of one map of logits (N, 1, H, W).

    dim: channels of the first convolution; the second has twice as many.
    bias: of the second and third convolution; null for only with instance norms, as published.
    minibatch_std: so many samples are compared at a time, before the last convolution; 0 for none
        (`MinibatchStd`).
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
        minibatch_std: Count = 0,
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
            *compared(minibatch_std),
            conv2d(
                2 * dim + (minibatch_std > 0),
                1,
                1,
                weight_norm=weight_norm,
                bias=bias,
                full_precision=True,
            ),
        )
        initialise(self, init, gain=init_gain, norms=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layers(x)]

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """What the first two convolutions give, activated; the logits last. Of the one scale."""
        found = outputs(x, self.layers)
        return [[found[1], found[4], found[-1]]]
