"""A content code with skips: U-Net's two halves as content encoder and decoder.

The code is one map, as every content code. Each level's features, half as many as the level has,
are laid out over the code's channels (a block of pixels becomes one), so that recipes compare and
share it like any other. Of a code of C channels at stride 2^n, C / 2^n are the deepest map's; the
j-th level above it has C · 2^(j-1) / 2^n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munit_zoo.blocks._checks import odd, unsteered
from munit_zoo.blocks.content_encoders import ResnetContentEncoder
from munit_zoo.blocks.conv import ConvBlock, PadType, WeightNorm
from munit_zoo.blocks.downsampling import Downsampling
from munit_zoo.blocks.heads import doublings
from munit_zoo.blocks.init import Init, initialise
from munit_zoo.blocks.mappings import Projection, style_mapping
from munit_zoo.blocks.residual import ResidualTrunk
from munit_zoo.blocks.upsampling import UpsampleConv, Upsampling
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
from munit_zoo.registry.ranges import Halvings, Kernel, Layers, Odd, Width

__all__ = ["UnetContentEncoder", "UnetDecoder"]


class UnetContentEncoder(nn.Module):
    """The encoder `resnet` with its larger maps in the code: the way down of a U-Net.

    Image (N, in_channels, H, W) to content code (N, dim·4^downsamples, H/2^downsamples, …), for the
    decoder `unet` (Ronneberger et al. 2015). Of each level above the deepest, a 1×1 convolution and
    `norm` keep half the channels; a norm there that removes each sample's statistics, as instance
    norm, keeps the style out of them.

    Keys and errors as those of `resnet`; dim is even.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: Width = 64,
        downsamples: Halvings = 2,
        blocks: Layers = 4,
        kernel_size: Odd = 7,
        down_kernel_size: Kernel = 4,
        block_kernel_size: Odd = 3,
        downsample: Downsampling = "strided",
        norm: Slot[Norm] = slot("instance"),
        activation: Slot[Activation] = slot("relu"),
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        if dim % 2:
            raise ContractError(f"DIM is {dim}: the code holds half of it, so it is even")
        self.down = ResnetContentEncoder(
            in_channels,
            dim=dim,
            downsamples=downsamples,
            blocks=blocks,
            kernel_size=kernel_size,
            down_kernel_size=down_kernel_size,
            block_kernel_size=block_kernel_size,
            downsample=downsample,
            norm=norm,
            activation=activation,
            pad_type=pad_type,
            weight_norm=weight_norm,
            init=init,
        )
        make_norm = unsteered(NORMS.factory(norm), "a content encoder")
        self.across = nn.ModuleList()
        for level in reversed(range(downsamples)):
            width = dim * 2**level
            block = ConvBlock(width, width // 2, 1, norm=make_norm, weight_norm=weight_norm)
            self.across.append(block)
        initialise(self.across, init)
        self.stride = self.down.stride
        self.out_channels = self.down.out_channels * self.stride

    def forward(self, x: Tensor) -> Tensor:
        *larger, _, deepest = self.down.stages(x)
        parts = [deepest]
        for level, (across, found) in enumerate(zip(self.across, larger[::-1], strict=True), 1):
            parts.append(F.pixel_unshuffle(across(found), 2**level))
        return torch.cat(parts, dim=1)


class UnetDecoder(nn.Module):
    """Residual blocks, then upsampling that sees the code's larger maps: the way up of a U-Net.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor), in [-1, 1]. The content code is the encoder `unet`'s, or any
    other that divides as that does. Each level doubles the map and convolves it with what went
    across; the style steers the norms of all of them.

    norm: of the residual blocks. upsample_norm: of the two convolutions of each level.
    block_kernel_size: of the residual blocks and of the levels' second convolutions.
    Other keys and errors as those of `adain_resnet`; further, ContractError for content_channels
    that are no multiple of 2·scale_factor².
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        blocks: Layers = 4,
        kernel_size: Odd = 7,
        upsample_kernel_size: Odd = 5,
        block_kernel_size: Odd = 3,
        upsample: Upsampling = "nearest",
        norm: Slot[Norm] = slot("adain"),
        upsample_norm: Slot[Norm] = slot("adain"),
        activation: Slot[Activation] = slot("relu"),
        output_activation: Slot[Activation] = slot("tanh"),
        mapping: Slot[StyleMapping] = slot("mlp"),
        projection: Projection = "shared",
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        fold: bool = True,
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        odd(kernel_size=kernel_size, upsample_kernel_size=upsample_kernel_size)
        steps = doublings(content_channels, scale_factor)
        if steps and content_channels % (2 * scale_factor**2):
            raise ContractError(
                f"the decoder unet finds no larger maps in a code of {content_channels} channels "
                f"at stride {scale_factor}: choose the content encoder unet, or a multiple of "
                f"{2 * scale_factor**2} channels"
            )
        width = content_channels // scale_factor
        self._parts = [width, *(width * 2**level for level in range(steps))]
        make: dict[str, Any] = {
            "norm": NORMS.factory(upsample_norm),
            "activation": ACTIVATIONS.factory(activation),
            "pad_type": pad_type,
            "weight_norm": weight_norm,
        }
        self.trunk = ResidualTrunk(
            width, blocks, block_kernel_size, **{**make, "norm": NORMS.factory(norm)}
        )
        self.ups, self.joins = nn.ModuleList(), nn.ModuleList()
        sizes = list(self.trunk.norm_sizes)
        for _ in range(steps):
            up = UpsampleConv(
                width, width // 2, upsample_kernel_size, upsample=upsample, fold=fold, **make
            )
            width //= 2
            join = ConvBlock(width + width // 2, width, block_kernel_size, **make)
            self.ups.append(up)
            self.joins.append(join)
            sizes += [up.num_parameters, join.num_parameters]
        self.out = ConvBlock(
            width,
            out_channels,
            kernel_size,
            activation=ACTIVATIONS.factory(output_activation),
            pad_type=pad_type,
            weight_norm=weight_norm,
            fold=fold,
        )
        if not sum(sizes):
            raise ContractError(
                "the decoder's norms take no parameters, so no style would reach the image: choose "
                "NORM: {NAME: adain}"
            )
        initialise(self, init)
        self._sizes = [self.trunk.num_parameters, *sizes[len(self.trunk.norm_sizes) :]]
        self.mapping = style_mapping(MAPPINGS.factory(mapping), style_dim, sizes, projection)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        x, *across = torch.split(content, self._parts, dim=1)
        trunk, *parameters = torch.split(self.mapping(style), self._sizes, dim=1)
        x = self.trunk(x, trunk)
        for level, (up, join) in enumerate(zip(self.ups, self.joins, strict=True)):
            x = up(x, parameters[2 * level])
            kept = F.pixel_shuffle(across[level], 2 ** (level + 1))
            x = join(torch.cat([x, kept], dim=1), parameters[2 * level + 1])
        image: Tensor = self.out(x)
        return image
