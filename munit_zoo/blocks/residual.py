"""Residual blocks."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd
from munit_zoo.blocks.conv import ConvBlock, Make, PadType, WeightNorm

__all__ = ["BlockForm", "ResidualBlock", "ResidualTrunk"]

BlockForm = Literal["resnet", "activated", "pre_activation"]


class ResidualBlock(nn.Module):
    """shortcut(x) + conv(conv(x)), both normalised (He et al. 2016).

    out_channels: those of the input by default; where they differ, the narrower are those in
        between, and the shortcut is a 1×1 convolution with its norm, in the order of the others.
    form: `resnet`, only the first convolution activated; `activated`, the second, too, before the
        sum; `pre_activation`, norm and activation before each convolution.
    dropout: share of units that are dropped between the two. noise: after each (`ScaledNoise`).
    `num_parameters`: what the norms take together, the first's first.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        *,
        norm: Make,
        activation: Make,
        out_channels: int | None = None,
        form: BlockForm = "resnet",
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        bias: bool = True,
        dropout: float = 0.0,
        noise: bool = False,
    ) -> None:
        super().__init__()
        odd(block_kernel_size=kernel_size)
        out = channels if out_channels is None else out_channels
        hidden, first = min(channels, out), form == "pre_activation"
        make: dict[str, Any] = {"norm": norm, "weight_norm": weight_norm, "bias": bias}
        make |= {"first": first, "pad_type": pad_type, "noise": noise}
        self.first = ConvBlock(channels, hidden, kernel_size, activation=activation, **make)
        self.dropout = nn.Dropout(dropout) if dropout else None
        last = None if form == "resnet" else activation
        self.second = ConvBlock(hidden, out, kernel_size, activation=last, **make)
        self.shortcut = ConvBlock(channels, out, 1, **make) if channels != out else None
        self.sizes = [self.first.num_parameters, self.second.num_parameters]
        self.sizes.append(0 if self.shortcut is None else self.shortcut.num_parameters)
        self.num_parameters = sum(self.sizes)

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        first: Tensor | None = None
        second: Tensor | None = None
        third: Tensor | None = None
        if parameters is not None:
            first, second, third = torch.split(parameters, self.sizes, dim=1)
        residual = self.first(x, first)
        if self.dropout is not None:
            residual = self.dropout(residual)
        residual = self.second(residual, second)
        summed: Tensor = residual + (x if self.shortcut is None else self.shortcut(x, third))
        return summed


class ResidualTrunk(nn.Module):
    """Several residual blocks; parameters (N, num_parameters) are handed out in order.

    `sizes`: what each block's norms take; `norm_sizes`: what each norm takes.
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        kernel_size: int = 3,
        *,
        norm: Make,
        activation: Make,
        form: BlockForm = "resnet",
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        noise: bool = False,
    ) -> None:
        super().__init__()
        at_least(0, blocks=blocks)
        made = [
            ResidualBlock(
                channels,
                kernel_size,
                norm=norm,
                activation=activation,
                form=form,
                pad_type=pad_type,
                weight_norm=weight_norm,
                noise=noise,
            )
            for _ in range(blocks)
        ]
        self.blocks = nn.ModuleList(made)
        self.sizes = [block.num_parameters for block in made]
        self.norm_sizes = [
            part.num_parameters for block in made for part in (block.first, block.second)
        ]
        self.num_parameters = sum(self.sizes)

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        if parameters is None or not self.num_parameters:
            for block in self.blocks:
                x = block(x)
            return x
        parts = torch.split(parameters, self.sizes, dim=1)
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, part)
        return x
