"""BicycleGAN's networks: a U-Net that takes a code, encoders, a discriminator of several scales."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks._checks import at_least, unsteered
from munit_zoo.blocks.conv import Make, PadType, WeightNorm, conv2d
from munit_zoo.blocks.discriminators import PatchDiscriminator
from munit_zoo.blocks.downsampling import Downsampling
from munit_zoo.blocks.generators import level_up
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.upsampling import Upsampling
from munit_zoo.errors import ContractError, GraphError
from munit_zoo.registry import ACTIVATIONS, NORMS, Activation, Norm, Slot, slot
from munit_zoo.registry.ranges import Count, OpenFraction, Positive, PositiveFloat

__all__ = [
    "BicycleConvEncoder",
    "BicycleResnetEncoder",
    "MultiscalePatchGAN",
    "StyledUnetGenerator",
]


class StyledUnetGenerator(nn.Module):
    """A U-Net that takes a code: image and code to image (Zhu et al. 2017, section 3.4).

    (x (N, in_channels, H, W), code (N, style_dim)) to (N, out_channels, H, W) in [-1, 1], H and W
    multiples of 2^levels. Each level halves the map by a convolution 4×4 and doubles it again; the
    way up sees what the way down made. `smallest`: the least side, 2^levels.

    levels, dim, dropout, norm: as those of `unet`; every convolution has a bias.
    inject: the code, tiled over the map, is appended to what enters `all` levels or, at the
        `input`, to the image. With `input` the way up sees what the way down made *activated*, as
        in the original, where that activation works in place (all the same with ReLU on the way
        up).
    upsample: `transposed` convolutions 4×4 or, 3×3, behind `nearest` or `bilinear` interpolation,
        `blur` or `pixel_shuffle`. fold: upsampling and convolution in one: the same result for less
        work.
    activation: on the way up; down_activation: on the way down.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style_dim: int,
        *,
        levels: Positive = 8,
        dim: Positive = 64,
        inject: Literal["all", "input"] = "all",
        upsample: Upsampling = "transposed",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("relu"),
        down_activation: Slot[Activation] = slot("lrelu"),
        output_activation: Slot[Activation] = slot("tanh"),
        dropout: OpenFraction = 0.0,
        fold: bool = True,
        init: Init = "xavier",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        at_least(2, levels=levels)
        at_least(1, dim=dim)
        make_norm = unsteered(NORMS.factory(norm), "the way down and up of styled_unet")
        activate_up = ACTIVATIONS.factory(activation)
        activate_down = ACTIVATIONS.factory(down_activation)
        widths = [in_channels, *(dim * min(2**level, 8) for level in range(levels))]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(1, levels + 1):
            outermost, innermost = level == 1, level == levels
            before, width = widths[level - 1], widths[level]
            coded = style_dim if outermost or inject == "all" else 0
            self.downs.append(
                _Down(
                    None if outermost else activate_down(),
                    conv2d(before + coded, width, 4, stride=2, padding=1),
                    None if outermost or innermost else make_norm(width),
                )
            )
            received = width if innermost else 2 * width
            made = out_channels if outermost else before
            up: list[nn.Module] = [activate_up(), level_up(received, made, upsample, fold=fold)]
            up += [ACTIVATIONS.factory(output_activation)()] if outermost else [make_norm(made)]
            if dropout and 5 <= level < levels:
                up += [nn.Dropout(dropout)]
            self.ups.append(nn.Sequential(*up))
        self.everywhere = inject == "all"
        self.stride = self.smallest = 2**levels
        initialise(self, init, gain=init_gain, norms=True)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        ways: list[Tensor] = []
        for level, down in enumerate(self.downs):
            if level == 0 or self.everywhere:
                tiled = style[:, :, None, None].expand(-1, -1, *x.shape[2:])
                x = torch.cat([x, tiled], dim=1)
            activated, x = down(x)
            if level and not self.everywhere:
                ways[-1] = activated
            ways.append(x)
        for level in reversed(range(len(ways))):
            x = self.ups[level](x)
            if level:
                x = torch.cat([x, ways[level - 1]], dim=1)
        return x


class _Down(nn.Module):
    """The way down of one level: what it activated, and what it made of it."""

    def __init__(
        self, activation: nn.Module | None, conv: nn.Module, norm: nn.Module | None
    ) -> None:
        super().__init__()
        self.activation, self.conv, self.norm = activation, conv, norm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        activated = x if self.activation is None else self.activation(x)
        made = self.conv(activated)
        return activated, made if self.norm is None else self.norm(made)


class _Encoder(nn.Module):
    """Layers that halve `halvings` times, a mean of features, linear layers."""

    def __init__(
        self,
        layers: nn.Module,
        channels: int,
        style_dim: int,
        parts: int,
        mean: Literal["8x8", "all"] = "8x8",
    ) -> None:
        super().__init__()
        self.mean = mean
        if style_dim % parts:
            raise ContractError(
                f"PARTS {parts} do not divide the style's length {style_dim} (of which a recipe "
                "may make mean and log-variance, one part each)"
            )
        self.layers = layers
        self.heads = nn.ModuleList(nn.Linear(channels, style_dim // parts) for _ in range(parts))

    def forward(self, x: Tensor) -> Tensor:
        features = self.layers(x)
        if self.mean == "all":
            vector = features.mean(dim=(2, 3))
            return torch.cat([head(vector) for head in self.heads], dim=1)
        height, width = features.shape[2:]
        if not (8 <= height < 16 and 8 <= width < 16):
            scale = x.shape[2] // max(height, 1)
            raise GraphError(
                f"this encoder takes images of {8 * scale} to {16 * scale - 1} pixels a side, not "
                f"{x.shape[2]}×{x.shape[3]}: change its HALVINGS or the images' size"
            )
        vector = F.avg_pool2d(features, 8).flatten(1)
        return torch.cat([head(vector) for head in self.heads], dim=1)


class BicycleResnetEncoder(_Encoder):
    """Residual encoder of an image to a code (Zhu et al. 2017, section 4): (N, C, H, W) to (N, S).

    A convolution 4×4 at stride 2, residual blocks that halve, the mean of 8×8 features, a linear
    layer. H and W from 8·2^halvings to just below twice that; beyond 8·2^halvings, the features at
    the top left alone are averaged, as in the original. `input_size`: the smallest side.

    halvings: the first convolution's and the blocks' (4 for 128 pixels, 5 for 256).
    dim: channels of the first convolution; those of block i are dim · min(i + 1, 4).
    parts: linear layers, which make an equal part of the code each: 2 for mean and log-variance.
    mean: of 8×8 features, or of `all`, whatever the image's size, as DRIT has it.
    init_gain: of `init`; of `gaussian`, the deviation.

    Raises ContractError for settings out of range and for a norm that a style steers; the forward,
    GraphError for images of another size.
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        *,
        halvings: Positive = 5,
        dim: Positive = 64,
        parts: Positive = 1,
        mean: Literal["8x8", "all"] = "8x8",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        pad_type: PadType = "zero",
        init: Init = "xavier",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        at_least(1, halvings=halvings, dim=dim, parts=parts)
        make_norm = unsteered(NORMS.factory(norm), "a style encoder")
        make_activation = ACTIVATIONS.factory(activation)
        layers: list[nn.Module] = [
            conv2d(in_channels, dim, 4, stride=2, padding=1, pad_type=pad_type)
        ]
        channels = dim
        for index in range(1, halvings):
            wider = dim * min(4, index + 1)
            layers += [_HalvingBlock(channels, wider, make_norm, make_activation, pad_type)]
            channels = wider
        layers += [make_activation()]
        super().__init__(nn.Sequential(*layers), channels, style_dim, parts, mean)
        if mean == "8x8":
            self.input_size = 8 * 2**halvings
        initialise(self, init, gain=init_gain, norms=True)


class _HalvingBlock(nn.Module):
    """Two convolutions behind norms and activations, and a shortcut, both averaged by 2."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: Make, activation: Make, pad: PadType
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            norm(in_channels),
            activation(),
            conv2d(in_channels, in_channels, 3, padding=1, pad_type=pad),
            norm(in_channels),
            activation(),
            conv2d(in_channels, out_channels, 3, padding=1, pad_type=pad),
            nn.AvgPool2d(2),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), conv2d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.residual(x) + self.shortcut(x)
        return total


class BicycleConvEncoder(_Encoder):
    """Convolutional encoder of an image to a code (Zhu et al. 2017, section 4).

    Convolutions 4×4 at stride 2, the mean of 8×8 features, a linear layer. Shapes, settings and
    errors as those of `bicyclegan_resnet`; channels double up to 4·dim.
    """

    def __init__(
        self,
        in_channels: int,
        style_dim: int,
        *,
        halvings: Positive = 5,
        dim: Positive = 64,
        parts: Positive = 1,
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        init: Init = "xavier",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        at_least(1, halvings=halvings, dim=dim, parts=parts)
        make_norm = unsteered(NORMS.factory(norm), "a style encoder")
        make_activation = ACTIVATIONS.factory(activation)
        layers: list[nn.Module] = [conv2d(in_channels, dim, 4, stride=2, padding=1)]
        layers += [make_activation()]
        channels = dim
        for index in range(1, halvings):
            wider = dim * min(4, 2**index)
            layers += [conv2d(channels, wider, 4, stride=2, padding=1)]
            layers += [make_norm(wider), make_activation()]
            channels = wider
        super().__init__(nn.Sequential(*layers), channels, style_dim, parts)
        self.input_size = 8 * 2**halvings
        initialise(self, init, gain=init_gain, norms=True)


class MultiscalePatchGAN(nn.Module):
    """PatchGANs on an image pyramid, narrower at each scale (Zhu et al. 2017, section 4).

    Image (N, in_channels, H, W) to a list of logits, one map (N, 1, h, w) a scale, the finest
    first. Between scales the image is averaged down by 2 (3×3 windows, borders not counted). Scale
    i is `patch` with dim / 2^i channels, rounded.

    Other keys as those of `patch`; errors, too.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Positive = 64,
        layers: Positive = 3,
        scales: Positive = 2,
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("lrelu"),
        weight_norm: WeightNorm = "none",
        bias: bool | None = True,
        minibatch_std: Count = 0,
        init: Init = "xavier",
        init_gain: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, scales=scales)
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                in_channels,
                dim=max(1, round(dim / 2**scale)),
                layers=layers,
                downsample=downsample,
                norm=norm,
                activation=activation,
                weight_norm=weight_norm,
                bias=bias,
                minibatch_std=minibatch_std,
                init=init,
                init_gain=init_gain,
            )
            for scale in range(scales)
        )
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        logits: list[Tensor] = []
        for index, scale in enumerate(self.scales):
            if index:
                x = self.pool(x)
            logits += scale(x)
        return logits

    def activations(self, x: Tensor) -> list[list[Tensor]]:
        """Per scale what each convolution gives, activated; the logits last."""
        found: list[list[Tensor]] = []
        for index, scale in enumerate(self.scales):
            if index:
                x = self.pool(x)
            found += scale.activations(x)  # type: ignore[operator]  # a PatchDiscriminator
        return found
