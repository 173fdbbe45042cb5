"""Residual blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from munit_zoo.blocks._checks import at_least, odd
from munit_zoo.blocks.conv import ConvBlock, Make, PadType, WeightNorm

__all__ = ["ResidualBlock", "ResidualTrunk"]


class ResidualBlock(nn.Module):
    """x + conv(conv(x)), both normalised, only the first activated (He et al. 2016).

    dropout: share of units that are dropped between the two.
    `num_parameters`: what the two norms take together, the first's first.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        *,
        norm: Make,
        activation: Make,
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        odd(block_kernel_size=kernel_size)
        self.first = ConvBlock(
            channels,
            channels,
            kernel_size,
            norm=norm,
            activation=activation,
            pad_type=pad_type,
            weight_norm=weight_norm,
            bias=bias,
        )
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.second = ConvBlock(
            channels,
            channels,
            kernel_size,
            norm=norm,
            pad_type=pad_type,
            weight_norm=weight_norm,
            bias=bias,
        )
        self.num_parameters = self.first.num_parameters + self.second.num_parameters

    def forward(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        if parameters is None:
            first = second = None
        else:
            sizes = [self.first.num_parameters, self.second.num_parameters]
            first, second = torch.split(parameters, sizes, dim=1)
        residual = self.first(x, first)
        if self.dropout is not None:
            residual = self.dropout(residual)
        summed: Tensor = x + self.second(residual, second)
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
        pad_type: PadType = "reflect",
        weight_norm: WeightNorm = "none",
    ) -> None:
        super().__init__()
        at_least(0, blocks=blocks)
        made = [
            ResidualBlock(
                channels,
                kernel_size,
                norm=norm,
                activation=activation,
                pad_type=pad_type,
                weight_norm=weight_norm,
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
