"""DRIT's decoders: the style beside features, or mixed into them (Lee et al. 2018, 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd, unsteered
from munit_zoo.blocks.conv import ConvBlock, PadType, conv2d
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.residual import ResidualTrunk
from munit_zoo.errors import ContractError
from munit_zoo.registry import (
    ACTIVATIONS,
    MAPPINGS,
    NORMS,
    Activation,
    Norm,
    Slot,
    StyleMapping,
    slot,
)
from munit_zoo.registry.ranges import Layers, Odd, Positive

__all__ = ["DritDecoder", "DritFeaturewiseDecoder"]


class _Doubling(nn.Module):
    """A transposed convolution to a map twice as large, a norm, an activation."""

    def __init__(self, in_channels: int, out_channels: int, norm: Any, activation: Any) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, 3, stride=2, padding=1, output_padding=1
        )
        self.norm, self.activation = norm(out_channels), activation()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.activation(self.norm(self.conv(x)))
        return made


def _doublings(scale_factor: int) -> int:
    steps = scale_factor.bit_length() - 1
    if scale_factor < 1 or scale_factor != 2**steps:
        raise ContractError(
            f"a decoder enlarges by a power of two, the content encoder's stride is {scale_factor}:"
            " choose another content encoder"
        )
    return steps


def _beside(x: Tensor, style: Tensor) -> Tensor:
    """A map (N, C, H, W) with a code (N, S) as S further channels, the same everywhere."""
    return torch.cat([x, style[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


class DritDecoder(nn.Module):
    """Decoder that is told the style as further channels, at every stage (Lee et al. 2018).

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor) in [-1, 1]. The style is appended before the residual blocks,
    before each transposed convolution, which halves what it is given (rounded down), and before
    the last convolution, 1×1. scale_factor is a power of two.

    norm: of the residual blocks. upsample_norm: of the transposed convolutions; `group` of one
    group is the layer norm of the original.

    Raises ContractError for settings out of range and for a norm that a style steers.
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        blocks: Layers = 3,
        block_kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("instance"),
        upsample_norm: Slot[Norm] = slot("group", groups=1),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        pad_type: PadType = "reflect",
        init: Init = "gaussian_convs",
    ) -> None:
        super().__init__()
        steps = _doublings(scale_factor)
        make_activation = ACTIVATIONS.factory(activation)
        make_norm = unsteered(NORMS.factory(upsample_norm), "the decoder drit")
        channels = content_channels + style_dim
        self.trunk = ResidualTrunk(
            channels,
            blocks,
            block_kernel_size,
            norm=unsteered(NORMS.factory(norm), "the decoder drit"),
            activation=make_activation,
            pad_type=pad_type,
        )
        self.ups = nn.ModuleList()
        for _ in range(steps):
            given = channels + style_dim
            channels = given // 2
            self.ups.append(_Doubling(given, channels, make_norm, make_activation))
        self.out = nn.ConvTranspose2d(channels + style_dim, out_channels, 1)
        self.output_activation = ACTIVATIONS.factory(output_activation)()
        initialise(self, init)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        x = self.trunk(_beside(content, style))
        for up in self.ups:
            x = up(_beside(x, style))
        image: Tensor = self.output_activation(self.out(_beside(x, style)))
        return image


class _FeaturewiseBlock(nn.Module):
    """A residual block in which a code is mixed in, pixel by pixel, after each of its two norms."""

    def __init__(
        self, channels: int, code: int, kernel_size: int, norm: Any, activation: Any, pad: PadType
    ) -> None:
        super().__init__()

        def mix() -> nn.Sequential:
            wide = channels + code
            return nn.Sequential(
                conv2d(wide, wide, 1), activation(), conv2d(wide, channels, 1), activation()
            )

        self.first = ConvBlock(channels, channels, kernel_size, norm=norm, pad_type=pad)
        self.first_mix = mix()
        self.second = ConvBlock(channels, channels, kernel_size, norm=norm, pad_type=pad)
        self.second_mix = mix()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y = self.first_mix(_beside(self.first(x), code))
        mixed: Tensor = self.second_mix(_beside(self.second(y), code))
        return x + mixed


class DritFeaturewiseDecoder(nn.Module):
    """Decoder into whose residual blocks the style is mixed, feature by feature (Lee et al. 2020).

    Shapes as `drit`'s. A mapping makes of the style a code for each residual block, of as many
    numbers as there are channels, which convolutions 1×1 mix with the features. Advised where
    shapes are to change (cats and dogs, portraits).

    Settings and errors as those of `drit`; mapping: from the style to all codes together.
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        blocks: Positive = 4,
        block_kernel_size: Odd = 3,
        norm: Slot[Norm] = slot("instance"),
        upsample_norm: Slot[Norm] = slot("group", groups=1),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp", dim=256, layers=3, init="default"),
        pad_type: PadType = "reflect",
        init: Init = "gaussian_convs",
    ) -> None:
        super().__init__()
        at_least(1, blocks=blocks)
        odd(block_kernel_size=block_kernel_size)
        steps = _doublings(scale_factor)
        if content_channels % scale_factor:
            raise ContractError(
                f"each of {steps} upsamplings halves the channels, the content code has "
                f"{content_channels}: its channels must be a multiple of {scale_factor} (DIM of "
                "the content encoder)"
            )
        make_activation = ACTIVATIONS.factory(activation)
        make_norm = unsteered(NORMS.factory(upsample_norm), "the decoder drit_featurewise")
        block_norm = unsteered(NORMS.factory(norm), "the decoder drit_featurewise")
        channels = content_channels
        self.blocks = nn.ModuleList(
            _FeaturewiseBlock(
                channels, channels, block_kernel_size, block_norm, make_activation, pad_type
            )
            for _ in range(blocks)
        )
        self.ups = nn.ModuleList()
        for _ in range(steps):
            self.ups.append(_Doubling(channels, channels // 2, make_norm, make_activation))
            channels //= 2
        self.out = nn.ConvTranspose2d(channels, out_channels, 1)
        self.output_activation = ACTIVATIONS.factory(output_activation)()
        initialise(self, init)
        self.mapping = MAPPINGS.factory(mapping)(style_dim, blocks * content_channels)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        x = content
        codes = self.mapping(style).chunk(len(self.blocks), dim=1)
        for block, code in zip(self.blocks, codes, strict=True):
            x = block(x, code)
        for up in self.ups:
            x = up(x)
        image: Tensor = self.output_activation(self.out(x))
        return image
